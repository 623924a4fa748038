"""Pure heart of Visavis: the same inputs, times and entropy give the same bytes.

Five words used everywhere:

* **frame**: `core.avatar.frame.AnimationFrame`, 52 ARKit weights and the joint rotations at one instant.
* **access unit** (AU): everything one 20 ms tick needs as one valid Opus packet; the frame rides in its padding.
* **track**: the access units of one session in order, on 48 kHz media timestamps.
* **session**: one viewer's conversation with one character, owned by one POP and one origin worker at a time.
* **fabric**: the message bus and key-value store that POPs and origin share (`core.fabric`).
"""

__version__ = "0.1.0"

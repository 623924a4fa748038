"""Who speaks when, in benchmarks: the same for every run, uneven between sessions."""

from __future__ import annotations

from typing import Final

__all__ = ["DTX_EVERY_TICKS", "PERIOD_TICKS", "SPEAKING_TICKS", "microphone_packet", "speaks"]

PERIOD_TICKS: Final = 500
"""10 s, of which a microphone's owner speaks SPEAKING_TICKS in one piece."""
SPEAKING_TICKS: Final = 150
DTX_EVERY_TICKS: Final = 5
"""A silent microphone with discontinuous transmission sends this seldom (its comfort noise; browsers: 400 ms)."""
_STRIDE: Final = 193
_SPEECH: Final = bytes([0x78]) + bytes(range(1, 80))
"""As long as 20 ms of speech at 32 kbit/s; nobody decodes it where only transports are measured."""
_SILENCE: Final = b"\xf8\xff\xfe"


def speaks(session: int, tick: int) -> int | None:
    """Position in what the session's user says now, in ticks; None: silent."""
    position = (tick + session * _STRIDE) % PERIOD_TICKS
    return position if position < SPEAKING_TICKS else None


def microphone_packet(session: int, tick: int) -> tuple[bytes, int] | None:
    """What a microphone sends: 50 packets a second of speech, else 10; with the audio level byte of RFC 6464."""
    if speaks(session, tick) is not None:
        return _SPEECH, 0x80 | 30
    return (_SILENCE, 127) if (tick + session) % DTX_EVERY_TICKS == 0 else None

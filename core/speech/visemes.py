"""What each sound wants of the mouth: a target per articulator, how much it insists, and what it shuts.

Targets are ARKit weights at a normal voice. `dominance` follows Cohen & Massaro (1993): a sound with a strong hold on
an articulator keeps its target whatever its neighbours do (the jaw of /s/, the lips of /w/); one with a weak hold is
shaped by them (/h/, /k/, schwa).
Sources: Cohen & Massaro, "Modeling coarticulation in synthetic visual speech" (1993); Löfqvist, "Speech as audible
gestures" (1990); jaw heights after Keating et al. (1994): lowest variance and highest jaw for /s ʃ t d/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["ARTICULATORS", "GROUPS", "GROUP_OF", "REST_DOMINANCE", "Viseme", "viseme"]

ARTICULATORS: Final[tuple[str, ...]] = (
    "jaw", "funnel", "pucker", "stretch", "smile", "lower_down", "upper_up", "roll_lower", "tongue", "puff", "voice",
)  # fmt: skip
"""Columns of a mouth curve, left and right together; "puff": air behind the lips, "voice": any sound but a pause."""

GROUPS: Final[tuple[str, ...]] = ("jaw", "rounding", "lips", "tongue")
"""Articulators that a sound holds together."""

GROUP_OF: Final[NDArray[np.intp]] = np.array([0, 1, 1, 2, 2, 2, 2, 2, 3, 2, 0], dtype=np.intp)
"""intp[11]: group of each articulator."""

REST_DOMINANCE: Final = 0.06
"""How strongly the closed mouth pulls at all times; it wins where no sound is near."""


@dataclass(frozen=True, slots=True, eq=False)
class Viseme:
    """A sound's wish.

    Attributes:
        targets: float32[11], in the order of ARTICULATORS, in [0, 1].
        dominance: float32[4], in the order of GROUPS, > 0.
        seal: "lips" (p b m), "teeth" (f v: lower lip to the upper teeth) or "".
        hold: where the seal is shut: seconds before the sound's start, and fraction of its duration after it.
    """

    targets: NDArray[np.float32]
    dominance: NDArray[np.float32]
    seal: str = ""
    hold: tuple[float, float] = (0.0, 0.0)


def _make(
    targets: tuple[float, ...], dominance: tuple[float, float, float, float], seal: str = "", *,
    hold: tuple[float, float] = (0.0, 0.0), puff: float = 0.0, voice: float = 1.0,
) -> Viseme:  # fmt: skip
    padded = np.zeros(len(ARTICULATORS), dtype=np.float32)
    padded[: len(targets)] = targets
    padded[-2:] = puff, voice
    return Viseme(padded, np.array(dominance, dtype=np.float32), seal, hold)


_OPEN = (1.0, 0.8, 0.8, 0.5)
_ROUND = (0.9, 1.2, 0.8, 0.5)
#                    jaw   funl  puck  strt  smil  lowr  uppr  roll  tong
_TABLE: Final[dict[str, Viseme]] = {
    "i": _make((0.10, 0.00, 0.00, 0.10, 0.26, 0.22, 0.08), (0.7, 0.9, 1.0, 0.5)),
    "ɪ": _make((0.17, 0.00, 0.00, 0.06, 0.14, 0.20, 0.07), (0.7, 0.6, 0.7, 0.5)),
    "e": _make((0.25, 0.00, 0.00, 0.08, 0.16, 0.24, 0.10), (0.9, 0.7, 0.8, 0.5)),
    "ɛ": _make((0.32, 0.00, 0.00, 0.08, 0.10, 0.25, 0.10), _OPEN),
    "æ": _make((0.44, 0.00, 0.00, 0.12, 0.10, 0.26, 0.14), (1.1, 0.9, 0.9, 0.5)),
    "a": _make((0.50, 0.00, 0.00, 0.06, 0.04, 0.24, 0.12), (1.1, 0.9, 0.9, 0.5)),
    "ɑ": _make((0.54, 0.05, 0.00, 0.00, 0.00, 0.22, 0.10), (1.2, 0.8, 0.8, 0.5)),
    "ɒ": _make((0.42, 0.30, 0.08, 0.00, 0.00, 0.16, 0.06), (1.0, 1.0, 0.8, 0.5)),
    "ɔ": _make((0.36, 0.40, 0.20, 0.00, 0.00, 0.14, 0.05), _ROUND),
    "o": _make((0.27, 0.32, 0.40, 0.00, 0.00, 0.08, 0.02), _ROUND),
    "ʊ": _make((0.17, 0.24, 0.36, 0.00, 0.00, 0.08, 0.02), (0.7, 1.0, 0.7, 0.5)),
    "u": _make((0.12, 0.22, 0.62, 0.00, 0.00, 0.04, 0.00), (0.8, 1.4, 0.9, 0.5)),
    "ʌ": _make((0.36, 0.02, 0.00, 0.02, 0.00, 0.20, 0.08), _OPEN),
    "ɐ": _make((0.27, 0.02, 0.00, 0.00, 0.00, 0.17, 0.06), (0.6, 0.4, 0.4, 0.3)),
    "ə": _make((0.19, 0.05, 0.03, 0.00, 0.00, 0.14, 0.04), (0.45, 0.3, 0.35, 0.3)),
    "ɜ": _make((0.24, 0.20, 0.14, 0.00, 0.00, 0.14, 0.05), (0.9, 0.8, 0.7, 0.5)),
    "y": _make((0.10, 0.26, 0.58, 0.00, 0.00, 0.06, 0.00), (0.8, 1.4, 0.9, 0.5)),
    "ø": _make((0.24, 0.32, 0.40, 0.00, 0.00, 0.10, 0.02), _ROUND),
    "p": _make((0.07,), (0.6, 0.15, 0.5, 0.3), "lips", hold=(0.040, 0.45), puff=1.0),
    "b": _make((0.07,), (0.6, 0.15, 0.5, 0.3), "lips", hold=(0.008, 0.60), puff=1.0),
    "m": _make((0.07,), (0.6, 0.15, 0.5, 0.3), "lips", hold=(0.005, 0.80)),
    "f": _make((0.09, 0, 0, 0, 0, 0, 0.16, 0.40), (0.9, 0.4, 1.2, 0.3), "teeth", hold=(0.0, 0.80)),
    "θ": _make((0.13, 0.00, 0.00, 0.04, 0.00, 0.16, 0.06, 0.00, 0.34), (0.9, 0.3, 0.6, 1.4)),
    "t": _make((0.08, 0.00, 0.00, 0.04, 0.00, 0.17, 0.06, 0.00, 0.00), (0.9, 0.2, 0.4, 0.8)),
    "n": _make((0.10, 0.00, 0.00, 0.03, 0.00, 0.16, 0.05, 0.00, 0.00), (0.7, 0.2, 0.35, 0.8)),
    "l": _make((0.17, 0.00, 0.00, 0.00, 0.00, 0.16, 0.05, 0.00, 0.10), (0.6, 0.2, 0.35, 0.9)),
    "s": _make((0.04, 0.00, 0.00, 0.16, 0.05, 0.24, 0.10, 0.00, 0.00), (1.5, 0.4, 0.9, 0.9)),
    "ʃ": _make((0.06, 0.46, 0.20, 0.00, 0.00, 0.18, 0.14, 0.00, 0.00), (1.4, 1.3, 0.9, 0.8)),
    "ɹ": _make((0.12, 0.30, 0.20, 0.00, 0.00, 0.10, 0.04, 0.00, 0.00), (0.6, 0.8, 0.6, 0.6)),
    "k": _make((0.15, 0.00, 0.00, 0.00, 0.00, 0.14, 0.04, 0.00, 0.00), (0.5, 0.12, 0.2, 0.7)),
    "h": _make((0.22, 0.00, 0.00, 0.00, 0.00, 0.14, 0.04, 0.00, 0.00), (0.15, 0.06, 0.1, 0.2)),
    "j": _make((0.09, 0.00, 0.00, 0.08, 0.20, 0.18, 0.05, 0.00, 0.00), (0.6, 0.5, 0.7, 0.6)),
    "w": _make((0.09, 0.22, 0.70, 0.00, 0.00, 0.04, 0.00, 0.00, 0.00), (0.8, 1.8, 1.2, 0.4)),
    "ʔ": _make((0.15,), (0.12, 0.04, 0.06, 0.2)),
    "_": _make((0.00,), (0.7, 0.5, 0.6, 0.7), voice=0.0),
}

_SAME: Final[dict[str, str]] = {
    **dict.fromkeys("ɨᵻɯ", "ɪ"), **dict.fromkeys("ɤɞ", "ʌ"), **dict.fromkeys("ɵᵿ", "ʊ"), **dict.fromkeys("ʉ", "u"),
    **dict.fromkeys("ʏ", "y"), **dict.fromkeys("œɶ", "ø"), **dict.fromkeys("vɱʋ", "f"), **dict.fromkeys("ð", "θ"),
    **dict.fromkeys("dɾʈɖɟcɺɽ", "t"), **dict.fromkeys("ɳɲ", "n"), **dict.fromkeys("ɬɫɭʎr", "l"),
    **dict.fromkeys("zʂʐ", "s"), **dict.fromkeys("ʒɕʑ", "ʃ"), **dict.fromkeys("ɻ", "ɹ"),
    **dict.fromkeys("gɡŋxçɣqɢχʁɰɴʀ", "k"),
    **dict.fromkeys("ħʕɦ", "h"), **dict.fromkeys("ʍɥ", "w"), **dict.fromkeys("ɸβʙ", "b"),
}  # fmt: skip
"""Sounds that look the same."""


def viseme(sound: str) -> Viseme:
    """The wish of one sound from `core.speech.phonemes`; schwa's for a letter that is not in the table."""
    return _TABLE.get(_SAME.get(sound, sound)) or _TABLE["ə"]

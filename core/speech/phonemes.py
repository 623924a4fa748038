"""IPA symbols as espeak-ng writes them, taken apart into the sounds the face can show.

A symbol may be one sound (`p`), a diphthong (`aɪ`), a triphthong (`aɪə`), an affricate (`tʃ`) or a vowel with its r
(`ɔːɹ`); stress marks, length marks and diacritics may be attached. Each becomes a short sequence of `Segment`s that
share the symbol's time: a diphthong is a glide between two targets because its two segments overlap when they are
coarticulated.

Sources: Handbook of the IPA (1999); symbols counted from espeak-ng 1.52's voices en-gb and en-us.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["PAUSE", "Segment", "split_symbol"]

PAUSE: Final = "_"
"""The sound of silence."""

NEUTRAL: Final = "ə"
"""What an unknown sound looks like: a mouth that is about to say anything."""

_VOWELS: Final = frozenset("iɪeɛæaɐəɜɚɝʌɑɒɔoʊuyøœɯɨʉᵻɵɤʏɞɶᵿ")
_CONSONANTS: Final = frozenset("pbmfvθðtdnlszʃʒɹrɾkgɡŋhjwʍʔxçɲʋβɸɣɬɫɭɻɽʈɖɳʂʐcɟqɢχʁħʕɦɥɰʎɴʙʀɱɕʑɺ")
_STRESS: Final = {"ˈ": 2, "ˌ": 1}
_RHOTIC: Final = {"ɚ": "əɹ", "ɝ": "ɜɹ"}
_SYMBOL_CHARS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Segment:
    """One sound of a symbol.

    Attributes:
        sound: one IPA letter, or `PAUSE`.
        share: its part of the symbol's duration; the shares of a symbol sum to 1.
        vowel: whether it carries stress and loudness.
        long: whether a length mark follows.
    """

    sound: str
    share: float
    vowel: bool
    long: bool


@lru_cache(maxsize=1024)
def split_symbol(symbol: str) -> tuple[tuple[Segment, ...], int, int]:
    """Take one espeak-ng symbol apart.

    Args:
        symbol: as in `PhonemeSpan.symbol`; "" and "_" are pauses. Anything is accepted.
    Returns: the segments (at least one), the stress marked in the symbol itself (0, 1 or 2), and how many letters were
        unknown (an unknown letter looks neutral).
    """
    stress, unknown = 0, 0
    letters: list[tuple[str, bool]] = []
    for char in symbol[:_SYMBOL_CHARS_MAX]:
        if char in _STRESS:
            stress = max(stress, _STRESS[char])
        elif char in ("ː", "ˑ"):
            if letters:
                letters[-1] = (letters[-1][0], True)
        elif char in _RHOTIC:
            letters.extend((part, False) for part in _RHOTIC[char])
        elif char in _VOWELS or char in _CONSONANTS:
            letters.append((char, False))
        elif char.isalpha() and not _is_modifier(char):
            unknown += 1
            letters.append((NEUTRAL, False))
    if not letters:
        unreadable = bool(symbol) and symbol != PAUSE and not any(char in _STRESS for char in symbol)
        sound = NEUTRAL if unreadable else PAUSE
        return (Segment(sound=sound, share=1.0, vowel=False, long=False),), stress, int(unreadable)
    return _shared(letters), stress, unknown


def _is_modifier(char: str) -> bool:
    """Superscript letters and the like (ʲ ʷ ʰ ˞ …) colour a sound without being one."""
    return "ʰ" <= char <= "˿" or char in "ⁿˡᵊ"


def _shared(letters: list[tuple[str, bool]]) -> tuple[Segment, ...]:
    """Durations inside a symbol: the nucleus leads, an affricate is one third stop, an r is a quarter."""
    weights: list[float] = []
    for index, (sound, long) in enumerate(letters):
        weight = 1.0
        if sound in _VOWELS:
            weight = (1.8 if long else 1.25) if index == 0 else 1.0
        elif sound in "tdʈɖ" and len(letters) > 1:
            weight = 0.5
        elif sound == "ɹ" and len(letters) > 1:
            weight = 0.6
        weights.append(weight)
    total = sum(weights)
    return tuple(
        Segment(sound=sound, share=weight / total, vowel=sound in _VOWELS, long=long)
        for (sound, long), weight in zip(letters, weights, strict=True)
    )

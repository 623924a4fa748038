"""The recogniser's alphabet of sounds and ours: ARPABET as PocketSphinx writes it, IPA as espeak-ng writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import PhonemeSpan
from core.speech.phonemes import PAUSE, split_symbol

__all__ = ["ARPABET", "arpabet_of", "phones_in", "phones_of", "spans_of", "with_bursts"]

_FRAME_S: Final = 0.01
_LATE_S: Final = 0.012
"""The recogniser's frames are named after the beginning of their window: against espeak-ng's own times its sounds are
12 ms early (median of 665 sounds, half of them within 10 ms)."""
_BURST_S: Final = 0.036
"""A voiceless stop begins with its closure here and with its burst in espeak-ng, whose times the visemes expect."""
_STRESSED_S: Final = 0.085
"""Longer vowels count as stressed."""

ARPABET: Final[dict[str, str]] = {
    "AA": "ɑː", "AE": "æ", "AH": "ʌ", "AO": "ɔː", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ", "D": "d", "DH": "ð",
    "EH": "ɛ", "ER": "ɜː", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "iː", "JH": "dʒ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t",
    "TH": "θ", "UH": "ʊ", "UW": "uː", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ", "AX": "ə",
}  # fmt: skip
"""The recogniser's sounds as espeak-ng writes them; AX is flite's."""
_VOWELS: Final = frozenset(["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"])
_VOICELESS_STOPS: Final = frozenset({"P", "T", "K", "CH"})
_LETTER: Final[dict[str, str]] = {
    **{ipa: phone for phone, ipa in ARPABET.items() if len(ipa) == 1}, "i": "IY", "e": "EY", "a": "AA", "ɑ": "AA",
    "ɒ": "AA", "ɔ": "AO", "o": "OW", "u": "UW", "ɐ": "AH", "ə": "AH", "ɜ": "ER", "ᵻ": "IH", "g": "G", "ɾ": "D",
    "ɬ": "L", "ʔ": "T", "r": "R",
}  # fmt: skip
_WHOLE: Final[dict[str, str]] = {
    **{ipa: phone for phone, ipa in ARPABET.items() if phone != "AX"}, "ɜːɹ": "ER", "ɚ": "ER", "ɝ": "ER",
}  # fmt: skip
"""Symbols of several letters that are one sound to the recogniser."""


def arpabet_of(sound: str) -> str:
    """The recogniser's name of one IPA letter (`core.speech.phonemes.Segment.sound`); SIL for a pause."""
    return "SIL" if sound == "_" else _LETTER.get(sound, "AH")


def phones_of(symbol: str) -> tuple[str, ...]:
    """The sounds that the recogniser hears in one of espeak-ng's symbols; none in a pause."""
    whole = _WHOLE.get(symbol)
    if whole is not None:
        return (whole,)
    parts, _, _ = split_symbol(symbol)
    names = (arpabet_of(part.sound) for part in parts if part.sound != PAUSE)
    return tuple("AH" if name == "AX" else name for name in names)


def spans_of(phones: Iterable[tuple[str, float, float]]) -> list[PhonemeSpan]:
    """Sounds as the recogniser's alphabet names them, as the face reads them.

    Args:
        phones: name, start and end in seconds, in order; a name that `ARPABET` lacks is a pause.
    Returns: spans in 48 kHz ticks. A voiceless stop begins with its burst, its closure goes to the sound before it;
        vowels of 85 ms and more carry stress 2, as no dictionary of stress comes with the recogniser.
    """
    phones = list(phones)
    long = [end - begin > _STRESSED_S for _, begin, end in phones]
    return [
        PhonemeSpan(
            ARPABET.get(name, ""),
            round(start * MEDIA_CLOCK_HZ),
            round(end * MEDIA_CLOCK_HZ),
            2 if name in _VOWELS and stressed else 0,
        )
        for (name, start, end), stressed in zip(with_bursts(phones), long, strict=True)
    ]


def with_bursts(phones: Iterable[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """The same sounds, but a voiceless stop begins with its burst: its closure goes to the sound before it."""
    found: list[tuple[str, float, float]] = []
    for name, begin, end in phones:
        start = begin
        if name in _VOICELESS_STOPS and found:
            start += min(_BURST_S, 0.6 * (end - begin))
            found[-1] = (*found[-1][:2], start)
        found.append((name, start, end))
    return found


def phones_in(decoder: Any) -> Iterator[tuple[str, float, float]]:
    """Name, start and end in seconds of every sound that a PocketSphinx decoder has just aligned."""
    for word in decoder.get_alignment():
        for phone in word:
            start = phone.start * _FRAME_S + _LATE_S
            yield phone.name, start, start + phone.duration * _FRAME_S

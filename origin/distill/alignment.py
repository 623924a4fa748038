"""Which sound is when, in a recording whose words are known: forced alignment with PocketSphinx.

Right to about 20 ms, which is as good as a reference for natural speech gets without hands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import soxr
from msgspec.structs import replace
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import PhonemeSpan

__all__ = ["ARPABET", "align", "arpabet_of", "spans_of"]

_RATE_HZ: Final = 16_000
_FRAME_S: Final = 0.01
_LATE_S: Final = 0.012
"""The recogniser's frames are named after the beginning of their window: against espeak-ng's own times its sounds are
12 ms early (median of 665 sounds, half of them within 10 ms)."""
_BURST_S: Final = 0.036
"""A voiceless stop begins with its closure here and with its burst in espeak-ng, whose times the visemes expect."""
_BEAMS: Final = (1e-48, 1e-64, 1e-80, 1e-120)
"""How far the search may stray: narrow first, wider where nothing was found."""
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


def arpabet_of(sound: str) -> str:
    """The recogniser's name of one IPA letter (`core.speech.phonemes.Segment.sound`); SIL for a pause."""
    return "SIL" if sound == "_" else _LETTER.get(sound, "AH")


def align(pcm: NDArray[np.float32], sample_rate_hz: int, text: str, *, name: str = "recording") -> list[PhonemeSpan]:
    """Find the phonemes.

    Args:
        pcm: float32[n], mono.
        text: exactly what is said; words that no dictionary knows are refused.
    Returns: spans in 48 kHz ticks from the first sample on; vowels of longer duration than their neighbours' carry
        stress 2, as no dictionary of stress comes with the recogniser.
    Raises: ConfigError: a word is unknown, or the text does not fit the sound.
    """
    from pocketsphinx import Decoder, get_model_path

    model = Path(get_model_path()) / "en-us"
    sound = soxr.resample(pcm, sample_rate_hz, _RATE_HZ, quality="HQ") if sample_rate_hz != _RATE_HZ else pcm
    data = (np.clip(sound, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()
    for beam in _BEAMS:
        decoder = Decoder(
            hmm=str(model / "en-us"), dict=str(model / "cmudict-en-us.dict"), lm=None, loglevel="FATAL", bestpath=False,
            beam=beam, wbeam=beam, pbeam=beam,
        )  # fmt: skip
        words = re.sub(r"[^a-z' ]+", " ", text.lower()).split()
        unknown = [word for word in words if decoder.lookup_word(word) is None]
        if not words or unknown:
            raise ConfigError(f"{name}: {', '.join(unknown) or 'an empty text'} cannot be aligned")
        decoder.set_align_text(" ".join(words))
        try:
            _decode(decoder, data)  # words, with their pronunciations
            decoder.set_alignment()
            _decode(decoder, data)  # their sounds
        except RuntimeError:
            continue
        return spans_of(_phones(decoder))
    raise ConfigError(f"{name}: the text does not fit the sound")


def spans_of(phones: Iterable[tuple[str, float, float]]) -> list[PhonemeSpan]:
    """Sounds as the recogniser's alphabet names them, as the face reads them.

    Args:
        phones: name, start and end in seconds, in order; a name that `ARPABET` lacks is a pause.
    Returns: spans in 48 kHz ticks. A voiceless stop begins with its burst, its closure goes to the sound before it;
        vowels of 85 ms and more carry stress 2, as no dictionary of stress comes with the recogniser.
    """
    spans: list[PhonemeSpan] = []
    for name, begin, end in phones:
        start = begin
        if name in _VOICELESS_STOPS and spans:
            start += min(_BURST_S, 0.6 * (end - start))
            spans[-1] = replace(spans[-1], end=round(start * MEDIA_CLOCK_HZ))
        stress = 2 if name in _VOWELS and end - begin > _STRESSED_S else 0
        spans.append(
            PhonemeSpan(ARPABET.get(name, ""), round(start * MEDIA_CLOCK_HZ), round(end * MEDIA_CLOCK_HZ), stress)
        )
    return spans


def _phones(decoder: Any) -> Iterator[tuple[str, float, float]]:
    for word in decoder.get_alignment():
        for phone in word:
            start = phone.start * _FRAME_S + _LATE_S
            yield phone.name, start, start + phone.duration * _FRAME_S


def _decode(decoder: Any, data: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()

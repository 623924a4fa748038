"""When the phonemes and words of a clause sound, in a voice that does not tell: from how another voice says it.

Known are the phonemes in espeak-ng's mouth, where the sound begins, and later where it ends; a recogniser may know
where the first phonemes are. What nobody knows is stretched evenly over what is left. Times are 48 kHz ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import PhonemeSpan, WordSpan

__all__ = ["Pronounced", "first_sound", "last_sound", "pronounced", "times"]

_FRAME_S: Final = 0.01
_AUDIBLE: Final = 10 ** (-50 / 20)
"""Quieter is silence: noise of a 16-bit voice lies below."""
_DECAY: Final = 10 ** (-34 / 20)
"""Of the loudest frame: what is quieter at the end of a clause is breath, reverb and dither."""
_REST_TICKS_MIN: Final = MEDIA_CLOCK_HZ * 3 // 100
"""A shorter gap between words is no rest of the mouth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pronounced:
    """How another voice says a clause.

    Attributes:
        sounds: its phonemes without pauses, in order, on its own clock.
        words: the text's words, in order, punctuation included.
        word_of: the word of each sound, never decreasing.
    """

    sounds: tuple[PhonemeSpan, ...]
    words: tuple[str, ...]
    word_of: tuple[int, ...]

    @property
    def length(self) -> int:
        """Ticks from its first sound to its last."""
        return self.sounds[-1].end - self.sounds[0].start if self.sounds else 0

    def spelled(self) -> list[tuple[int, tuple[str, ...]]]:
        """The words that make a sound: number and symbols."""
        spelled: dict[int, list[str]] = {}
        for sound, word in zip(self.sounds, self.word_of, strict=True):
            spelled.setdefault(word, []).append(sound.symbol)
        return [(word, tuple(symbols)) for word, symbols in spelled.items()]


def pronounced(phonemes: Sequence[PhonemeSpan], words: Sequence[WordSpan]) -> Pronounced:
    """Take a clause as the other voice spoke it; a phoneme outside of all words belongs to the one before it."""
    sounds = tuple(span for span in phonemes if span.symbol.strip("_"))
    word_of: list[int] = []
    word = 0
    for sound in sounds:
        middle = (sound.start + sound.end) // 2
        while word + 1 < len(words) and words[word + 1].start <= middle:
            word += 1
        word_of.append(word)
    return Pronounced(
        sounds=sounds if words else (), words=tuple(one.text for one in words), word_of=tuple(word_of if words else ())
    )


def times(
    said: Pronounced, known: Sequence[tuple[int, int]], start: int, end: int | None, pace: float
) -> tuple[tuple[WordSpan, ...], tuple[PhonemeSpan, ...]]:
    """The best that can be said now.

    Args:
        known: where the first of its sounds are, in order.
        start, end: where its sound begins and ends; None: not known yet.
        pace: ticks of this voice per tick of the other one, used while the end is not known.

    Returns: words and phonemes; all sounds of `said` in their order, and rests ("") between words that do not touch.
    """
    placed = list(known[: len(said.sounds)])
    rest = said.sounds[len(placed) :]
    if rest:
        begin = placed[-1][1] if placed else start
        origin = said.sounds[len(placed) - 1].end if placed else rest[0].start
        span = max(1, rest[-1].end - origin)
        length = round(span * pace) if end is None else max(0, end - begin)
        placed += [
            (begin + (sound.start - origin) * length // span, begin + (sound.end - origin) * length // span)
            for sound in rest
        ]
    return _words(said, placed, start), _phonemes(said, placed)


def _phonemes(said: Pronounced, placed: list[tuple[int, int]]) -> tuple[PhonemeSpan, ...]:
    spans: list[PhonemeSpan] = []
    for sound, (begin, end) in zip(said.sounds, placed, strict=True):
        if spans and begin - spans[-1].end >= _REST_TICKS_MIN:
            spans.append(PhonemeSpan("", spans[-1].end, begin))
        spans.append(PhonemeSpan(sound.symbol, begin, max(end, begin), sound.stress))
    return tuple(spans)


def _words(said: Pronounced, placed: list[tuple[int, int]], start: int) -> tuple[WordSpan, ...]:
    parts: dict[int, tuple[int, int]] = {}
    for word, (begin, end) in zip(said.word_of, placed, strict=True):
        parts[word] = (parts[word][0] if word in parts else begin, end)
    words: list[WordSpan] = []
    last = start
    for number, text in enumerate(said.words):
        begin, last = parts.get(number, (last, last))
        words.append(WordSpan(text, begin, last))
    return tuple(words)


def first_sound(pcm: NDArray[np.float32], rate_hz: int) -> int | None:
    """The tick at which anything is to be heard; None: nowhere.

    Args:
        pcm: float32[n] in [-1, 1], mono.
    """
    loud = np.flatnonzero(_loudness(pcm, rate_hz) > _AUDIBLE)
    return None if not len(loud) else round(int(loud[0]) * _FRAME_S * MEDIA_CLOCK_HZ)


def last_sound(pcm: NDArray[np.float32], rate_hz: int) -> int:
    """The tick after the last of it that belongs to speech, 0 where there is none; see `first_sound`."""
    loudness = _loudness(pcm, rate_hz)
    if not len(loudness):
        return 0
    loud = np.flatnonzero(loudness > max(_AUDIBLE, _DECAY * float(loudness.max())))
    return 0 if not len(loud) else round((int(loud[-1]) + 1) * _FRAME_S * MEDIA_CLOCK_HZ)


def _loudness(pcm: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """RMS of each 10 ms, float32[n // frame]."""
    frame = max(1, round(rate_hz * _FRAME_S))
    whole = pcm[: len(pcm) - len(pcm) % frame].reshape(-1, frame)
    return np.asarray(np.sqrt(np.mean(np.square(whole), axis=1)), np.float32)

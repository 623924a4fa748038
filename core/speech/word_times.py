"""Phonemes that fit a voice nobody knows: espeak-ng's, stretched onto the times of the words or of the whole sound."""

from __future__ import annotations

from collections.abc import Sequence

from core.speech.messages import PhonemeSpan, WordSpan

__all__ = ["fit_to_length", "fit_to_words"]


def fit_to_words(
    phonemes: Sequence[PhonemeSpan], spoken: Sequence[WordSpan], words: Sequence[WordSpan]
) -> tuple[PhonemeSpan, ...]:
    """Move each word's phonemes to where the word sounds; between words that do not touch the mouth rests.

    Args:
        phonemes, spoken: as one voice speaks the text, on its clock, in order; `spoken`: the words between blanks.
        words: as another voice speaks the same text, on its clock; one may hold several of `spoken`.

    Returns: spans on the clock of `words`, in order, none overlapping another; a word that makes no sound in the first
        voice, or lies before the end of the word before it, has none.
    """
    spans: list[PhonemeSpan] = []
    done = words[0].start if words else 0
    first = 0
    for word in words:
        count = len(word.text.split())
        parts = spoken[first : first + count]
        first += count
        start = max(word.start, done)
        if not parts or word.end <= start:
            continue
        begin, end = parts[0].start, parts[-1].end
        inside = [span for span in phonemes if begin <= (span.start + span.end) // 2 < end]
        fitted = fit_to_length(inside, start, word.end)
        if fitted:
            if start > done and spans:
                spans.append(PhonemeSpan("", done, start))
            spans.extend(fitted)
            done = word.end
    return tuple(spans)


def fit_to_length(phonemes: Sequence[PhonemeSpan], start: int, end: int) -> tuple[PhonemeSpan, ...]:
    """Stretch phonemes evenly over the ticks from `start` to `end`; pauses before and after them are left out."""
    sounds = [index for index, span in enumerate(phonemes) if span.symbol.strip("_")]
    if not sounds:
        return ()
    sounding = phonemes[sounds[0] : sounds[-1] + 1]
    return tuple(_stretched(sounding, sounding[0].start, sounding[-1].end, start, end))


def _stretched(phonemes: Sequence[PhonemeSpan], begin: int, end: int, start: int, until: int) -> list[PhonemeSpan]:
    def tick(at: int) -> int:
        return start + (min(max(at, begin), end) - begin) * (until - start) // max(1, end - begin)

    moved = (PhonemeSpan(span.symbol, tick(span.start), tick(span.end), span.stress) for span in phonemes)
    return [span for span in moved if span.end > span.start]

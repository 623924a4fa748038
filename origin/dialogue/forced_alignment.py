"""Where the sounds of a known text are in a voice: forced alignment with PocketSphinx, in espeak-ng's pronunciation.

Every word is given to the recogniser as the sounds that espeak-ng says, so that no dictionary has to know it, numbers
and names are no exceptions, and what comes back are espeak-ng's own phonemes. English, as the recogniser's model of
sounds is; it blocks, and is run by `aligner_worker.py` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from core.limits import MEDIA_CLOCK_HZ
from origin.dialogue.arpabet import phones_in, phones_of, with_bursts

__all__ = ["RATE_HZ", "align_words"]

RATE_HZ: Final = 16_000
"""Of the sound it hears."""
_BEAMS: Final = (1e-64, 1e-120)
"""How far the search may stray: narrow first, wider where nothing was found."""

_FRAME_S: Final = 0.01
_FILLERS: Final = frozenset({"SIL", "+NSN+", "+SPN+"})

Times = list[tuple[int, int]]


def align_words(pcm: bytes, words: Sequence[Sequence[str]], *, complete: bool) -> list[Times]:
    """Find the phonemes of words in their sound.

    Args:
        pcm: 16 kHz mono 16-bit.
        words: the phonemes of each, as espeak-ng writes them, without pauses; none of them is empty.
        complete: all of the words' sound is there; else it may break off anywhere, and the word in which it does is
            left out with those after it.

    Returns: per word from the first on, start and end of each phoneme in 48 kHz ticks; nothing when they do not fit.
    """
    sounds = [[phones_of(symbol) for symbol in word] for word in words]
    phones = [[phone for symbol in word for phone in symbol] for word in sounds]
    for beam in _BEAMS:
        heard, until = (phones, pcm) if complete else _begun(pcm, phones, beam)
        found = _search(until, heard, beam) if heard else []
        if found:
            return [_symbols(symbols, word) for symbols, word in zip(sounds, _burst(found), strict=False)]
    return []


def _decoder(words: list[list[str]], beam: float) -> Any:
    """A recogniser that expects exactly these words; pauses are welcome anywhere."""
    from pocketsphinx import Decoder, get_model_path

    model = Path(get_model_path()) / "en-us" / "en-us"
    decoder = Decoder(
        hmm=str(model), dict=None, lm=None, loglevel="FATAL", bestpath=False, beam=beam, wbeam=beam, pbeam=beam
    )
    names = {tuple(word): f"w{number}" for number, word in enumerate(words)}
    for phones, name in names.items():
        decoder.add_word(name, " ".join(phones), True)
    decoder.set_align_text(" ".join(names[tuple(word)] for word in words))
    return decoder


def _begun(pcm: bytes, words: list[list[str]], beam: float) -> tuple[list[list[str]], bytes]:
    """The words that have been said when the sound breaks off, and the sound up to there."""
    decoder = _decoder(words, beam)
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=False)
    ends = [segment.end_frame + 1 for segment in decoder.seg() or () if segment.word[0] == "w"][:-1]
    decoder.end_utt()
    return words[: len(ends)], pcm[: 2 * round(ends[-1] * _FRAME_S * RATE_HZ)] if ends else b""


def _search(pcm: bytes, words: list[list[str]], beam: float) -> list[list[tuple[str, float, float]]]:
    """The phones of the words, in seconds; nothing when they do not fit."""
    decoder = _decoder(words, beam)
    try:
        _decode(decoder, pcm)  # words
        decoder.set_alignment()
        _decode(decoder, pcm)  # their sounds
    except RuntimeError:
        return []
    phones = [phone for phone in phones_in(decoder) if phone[0] not in _FILLERS]
    if [name for name, _, _ in phones] != [phone for word in words for phone in word]:
        return []
    rest = iter(phones)
    return [[next(rest) for _ in word] for word in words]


def _decode(decoder: Any, data: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()


def _burst(words: list[list[tuple[str, float, float]]]) -> list[list[tuple[str, float, float]]]:
    phones = iter(with_bursts(phone for word in words for phone in word))
    return [[next(phones) for _ in word] for word in words]


def _symbols(symbols: list[tuple[str, ...]], phones: list[tuple[str, float, float]]) -> Times:
    """From the recogniser's sounds back to phonemes; one that it cannot hear takes no time."""
    times: Times = []
    at = 0
    for symbol in symbols:
        part = phones[at : at + len(symbol)]
        at += len(symbol)
        end = times[-1][1] if times else round(phones[0][1] * MEDIA_CLOCK_HZ)
        times.append((round(part[0][1] * MEDIA_CLOCK_HZ), round(part[-1][2] * MEDIA_CLOCK_HZ)) if part else (end, end))
    return times

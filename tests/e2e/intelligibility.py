"""Are the words still there? The origin's recogniser hears what was played, as a listener in a rhyme test would.

Free dictation of a synthetic voice misses a third of the words even of a clean recording, and differently each time.
So each word of the reply is put to the choice against foreign ones, as in a closed-set intelligibility test (ANSI
S3.2): a clean recording comes back nearly whole, and where sound is missing the choice becomes a guess.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from pocketsphinx import Decoder, get_model_path

from loadtests.signals import end_of_speech, start_of_speech
from origin.dialogue.grammar import normalise

__all__ = ["heard_words", "words_alike"]

_RATE_HZ = 16_000
_CHOICES = 8
_DRAWS = 3
_FOREIGN = (
    "apple river seven garden window yellow paper music doctor silver ocean table hammer pencil ticket morning soldier "
    "monkey blanket forest bread chair finger jump kitchen lamp market nose orange pocket queen rabbit shoulder train "
    "umbrella violin whisper"
)


def words_alike(first: NDArray[np.float32], second: NDArray[np.float32], text: str) -> float:
    """Share of the words that are made out alike in two recordings of one reply, 0 to 1.

    A draw with which the recogniser finds no way through a recording at all tells nothing; if it finds none with any,
    nothing is made out.

    Args:
        first, second: float32[n], 48 kHz.
        text: what the reply says.
    """
    shares = []
    for draw in range(_DRAWS):
        one, other = heard_words(first, text, draw), heard_words(second, text, draw)
        same = sum(a == b for a, b in zip(one, other, strict=False))
        if one and other:
            shares.append(same / max(len(one), len(other)))
    return float(np.mean(shares)) if shares else 0.0


def heard_words(sound: NDArray[np.float32], text: str, draw: int = 0) -> list[str]:
    """One word for each word of the text, or nothing where the recording fits no choice of words.

    Args:
        draw: which foreign words there are to choose from.
    """
    model = Path(get_model_path()) / "en-us"
    decoder = Decoder(
        hmm=str(model / "en-us"), dict=str(model / "cmudict-en-us.dict"), lm=None, loglevel="FATAL", bestpath=False,
        beam=1e-100, wbeam=1e-80, pbeam=1e-100, maxhmmpf=-1, cmn="batch",
    )  # fmt: skip
    decoder.add_jsgf_string("reply", f"#JSGF V1.0;\ngrammar reply;\npublic <reply> = {_choices(text, draw)};\n")
    decoder.activate_search("reply")
    decoder.start_utt()
    decoder.process_raw(_pcm(sound), False, True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return [] if hypothesis is None else [word.split("(")[0] for word in hypothesis.hypstr.split()]


def _choices(text: str, draw: int) -> str:
    said, random_draw = normalise(text).split(), random.Random(draw)
    foreign = [word for word in _FOREIGN.split() if word not in said]
    return " ".join(f"({' | '.join([word, *random_draw.sample(foreign, _CHOICES)])})" for word in said)


def _pcm(sound: NDArray[np.float32]) -> bytes:
    """The reply alone, 16-bit at 16 kHz, in a room that is never digitally silent."""
    begin, end = start_of_speech(sound, 48_000), end_of_speech(sound, 48_000)
    if begin is not None and end is not None:
        sound = sound[max(0, round((begin - 0.1) * 48_000)) : round((end + 0.1) * 48_000)]
    pcm = np.concatenate([np.zeros(_RATE_HZ // 3), soxr.resample(sound, 48_000, _RATE_HZ), np.zeros(_RATE_HZ // 2)])
    pcm = pcm * 32_767 + np.random.default_rng(1).normal(scale=3.0, size=pcm.size)
    return bytes(np.clip(pcm, -32_768, 32_767).astype("<i2").tobytes())

"""How well phonemes are placed in a voice that gives none: estimated, stretched over its sound, and found in it.

The voices are people's statistics (flite's) and espeak-ng's own variants, whose true times are known; none of them is
the one that pronounces. Voices of the same synthesiser flatter the stretch: it pauses where the other one does.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Final

import numpy as np
import soxr
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ
from core.speech.clause_times import Pronounced, first_sound, last_sound, pronounced, times
from core.speech.messages import PhonemeSpan, WordSpan
from core.speech.phonemes import split_symbol
from loadtests.bench.harness import Result, percentile
from origin.dialogue.character import Voice
from origin.dialogue.clause_timer import Pace
from origin.dialogue.forced_alignment import RATE_HZ, align_words
from origin.dialogue.tts import VoiceWorker
from origin.distill.flite import FLITE_VOICES, FliteSpeaker

__all__ = ["DESCRIPTION", "add_arguments", "run"]

DESCRIPTION = "Phonemes of a voice that gives none: error in milliseconds, lip closures found, cost"

_TEXTS: Final = (
    "My mother made some marvellous marmalade, but please bring Bob a paper plate before eight.",
    "People may put a big map on the table.",
    "Hello, I'm Mira, and I am very happy to meet you.",
    "The museum opens at half past nine, and the last tour begins at four.",
    "Would you like to see the old harbour before the boats come back?",
    "Perhaps we could begin with the simplest problem.",
    "Maybe tomorrow, but I promise nothing.",
    "Three hundred and forty two people visited the lighthouse in 1984.",
    "A barred spiral galaxy is a pinwheel with a bright bar through the middle.",
    "Five brave men came by boat from Plymouth, and nobody believed them.",
)
_ESPEAK: Final = (("en-us+Annie", 200), ("en-gb-x-rp", 150))
_LIPS: Final = "pbm"
_NEAR_MS: Final = 40.0
_FIRST_S: Final = 1.0


@dataclass(slots=True)
class _Score:
    """Of one way to place phonemes."""

    errors_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    closures: int = 0
    shut: int = 0

    def add(self, true: list[PhonemeSpan], placed: Iterable[PhonemeSpan]) -> None:
        found = [span for span in placed if span.symbol]
        matcher = SequenceMatcher(None, [_sound(span) for span in true], [_sound(span) for span in found], False)
        for at, other, size in matcher.get_matching_blocks():
            for one, two in zip(true[at : at + size], found[other : other + size], strict=True):
                error_ms = abs(one.start - two.start) / MEDIA_CLOCK_HZ * 1e3
                self.errors_ms.append(error_ms)
                if one.start - true[0].start < _FIRST_S * MEDIA_CLOCK_HZ:
                    self.first_ms.append(error_ms)
        lips = [span.start for span in found if _sound(span) in _LIPS]
        for span in true:
            if _sound(span) in _LIPS:
                self.closures += 1
                self.shut += any(abs(span.start - lip) <= _NEAR_MS / 1e3 * MEDIA_CLOCK_HZ for lip in lips)

    def figures(self, name: str) -> dict[str, float]:
        return {
            f"{name}_error_ms_p50": round(percentile(self.errors_ms, 50), 1),
            f"{name}_error_ms_p90": round(percentile(self.errors_ms, 90), 1),
            f"{name}_first_second_error_ms_p50": round(percentile(self.first_ms, 50), 1),
            f"{name}_closures_found": round(self.shut / max(1, self.closures), 3),
        }


def _sound(span: PhonemeSpan) -> str:
    """Two synthesisers have other names for the same vowels, but begin them alike."""
    return split_symbol(span.symbol)[0][0].sound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark."""
    parser.add_argument("--no-people", action="store_true", help="espeak-ng's voices only: flite is not installed")


def run(options: argparse.Namespace) -> Result:
    """Measure. Raises: ConfigError: flite is missing."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> Result:
    texts = _TEXTS[:4] if options.quick else _TEXTS
    worker = VoiceWorker()
    await worker.start()
    try:
        said = {text: _pronounced(await worker.speak(text, Voice(name="en-us"), silent=True)) for text in texts}
        figures: dict[str, float] = {}
        cost_s, sound_s = 0.0, 0.0
        for name, wpm in _ESPEAK:
            clauses = [await worker.speak(text, Voice(name=name, rate_wpm=wpm)) for text in texts]
            spoken = [(_float(clause.pcm), _phonemes(clause)) for clause in clauses]
            figures |= _judge(f"espeak_{name.split('+')[-1]}".replace("-", "_"), texts, said, spoken)[0]
        if not options.no_people:
            flite = FliteSpeaker()
            for name in FLITE_VOICES:
                people = [_say(flite, text, name) for text in texts]
                found, spent = _judge(f"flite_{name}", texts, said, people)
                figures |= found
                cost_s += spent
                sound_s += sum(len(pcm) for pcm, _ in people) / MEDIA_CLOCK_HZ
            figures["seconds_per_second_of_sound"] = round(cost_s / sound_s, 3)
    finally:
        await worker.aclose()
    return Result(figures=figures, details={"texts": len(texts), "closures_within_ms": _NEAR_MS})


def _say(flite: FliteSpeaker, text: str, voice: str) -> tuple[NDArray[np.float32], list[PhonemeSpan]]:
    spoken = flite.say(text, voice=voice, rate_wpm=165)
    if spoken is None:
        raise ConfigError(f"flite says nothing to {text!r}")
    return spoken.pcm, [span for span in spoken.spans if span.symbol]


def _float(pcm: bytes) -> NDArray[np.float32]:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768.0)


def _pronounced(clause: Any) -> Pronounced:
    return pronounced([PhonemeSpan(*one) for one in clause.phonemes], [WordSpan(*one) for one in clause.words])


def _phonemes(clause: Any) -> list[PhonemeSpan]:
    return [PhonemeSpan(*one) for one in clause.phonemes if one[0]]


def _judge(
    voice: str,
    texts: Iterable[str],
    said: dict[str, Pronounced],
    spoken: Iterable[tuple[NDArray[np.float32], list[PhonemeSpan]]],
) -> tuple[dict[str, float], float]:
    """Figures of one voice, and what its alignments took."""
    estimate, stretch, aligned = _Score(), _Score(), _Score()
    pace = Pace()
    cost_s = 0.0
    for text, (pcm, true) in zip(texts, spoken, strict=True):
        sound = np.asarray(soxr.resample(pcm, MEDIA_CLOCK_HZ, RATE_HZ), np.float32)
        begin, end = first_sound(sound, RATE_HZ) or 0, last_sound(sound, RATE_HZ)
        one = said[text]
        began = time.perf_counter()
        words = [symbols for _, symbols in one.spelled()]
        found = align_words((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes(), words, complete=True)
        cost_s += time.perf_counter() - began
        estimate.add(true, times(one, [], begin, None, pace.now)[1])
        stretch.add(true, times(one, [], begin, end, 1.0)[1])
        aligned.add(true, times(one, [time for word in found for time in word], begin, end, 1.0)[1])
        pace.learn(end - begin, one.length)
    figures: dict[str, float] = {}
    for name, score in (("estimate", estimate), ("stretch", stretch), ("aligned", aligned)):
        figures |= score.figures(f"{voice}_{name}")
    return figures, cost_s

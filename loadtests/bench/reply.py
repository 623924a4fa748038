"""How quickly the character reacts and answers, and whether its lips fit: many spoken questions, each measured at the
viewer; and how that compares with a bare Pipecat bot (`_first_audio.py` says how, and with which settings)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from loadtests.audio import read_audio
from loadtests.bench._first_audio import bot, compare, summarise_first_audio
from loadtests.bench.harness import Result, percentile
from loadtests.questions import Question, render
from loadtests.signals import word_errors
from loadtests.stack import local_stack
from loadtests.turn import Turn, ask, settle
from loadtests.viewer import Viewer, ViewerError, find_origin

__all__ = [
    "DESCRIPTION",
    "Asked",
    "add_arguments",
    "edge_added_ms_p99",
    "guesses",
    "hit_ratio",
    "make_questions",
    "run",
    "summarise",
]

DESCRIPTION = "Spoken questions: first motion, first sound, what the edge adds, lip-sync offset, false reactions"

_QUICK_QUESTIONS: Final = 5
_QUESTIONS: Final = 30
_PER_SESSION: Final = 5
"""A new session after this many, so that setting one up is exercised too."""
_ANSWER_S_MAX: Final = 10.0
_PAIRS: Final = 12
_QUICK_PAIRS: Final = 2
"""Questions that are also asked of a Pipecat bot."""
_LISTEN_S: Final = 2.5
"""Of each answer, which is then interrupted: long enough to judge lips and packets by."""

_PHRASES: Final[tuple[tuple[str, ...], ...]] = (
    ("Hello, what is your name?",),
    ("Tell me about Mars.",),
    ("How far away is the moon?",),
    ("What is the biggest planet?",),
    ("Good evening. I would like to know", "how many planets there are."),
    ("Tell me a joke.",),
    ("When are you open?",),
    ("Could you please", "tell me about the Milky Way?"),
    ("How hot is the sun?",),
    ("What is a black hole, and what happens in a black hole when something falls into it?",),
    ("Why do stars twinkle?",),
    ("How much is a ticket?",),
    ("What are", "the rings of Saturn?"),
    ("Thank you very much.",),
    ("Which planets can I see tonight?",),
)
"""Short and long ones; a comma inside and a pause between two parts tempt a face to react too early."""
_VOICES: Final = ("en-us", "en-us+f2", "en-us+m3", "en-gb-x-rp+f4", "en-us+m7", "en-gb-x-rp")
_RATES_WPM: Final = (150, 170, 135, 185)
_PAUSES_S: Final = (0.25, 0.35, 0.5)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what it brought."""

    question: Question
    turn: Turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark."""
    parser.add_argument("--pop", metavar="URL", help="measure this POP instead of starting an origin and a POP")
    parser.add_argument("--origin", metavar="URL", help="its origin (default: what the POP says)")
    parser.add_argument("--questions", type=int, metavar="N", help=f"how many ({_QUESTIONS}; {_QUICK_QUESTIONS} quick)")
    parser.add_argument(
        "--pairs",
        type=int,
        metavar="N",
        help=f"questions that a bare Pipecat bot is asked too ({_PAIRS}; {_QUICK_PAIRS} quick; 0: none)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of voices, rates, pauses and noise (1)")


def run(options: argparse.Namespace) -> Result:
    """Ask everything and measure.

    Raises:
        ConfigError: nothing to measure: unreachable, or nothing was answered.
    """
    count = options.questions or (_QUICK_QUESTIONS if options.quick else _QUESTIONS)
    questions = make_questions(count, options.seed)
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        files = render(questions, Path(folder))
        sounds = {question.name: read_audio(files[question.name], length_s_max=60.0) for question in questions}
    with _target(options) as (pop, origin):
        try:
            before, guessed = _edge_histogram(pop), guesses(origin)
            asked = asyncio.run(_ask_all(questions, sounds, pop=pop, origin=origin))
            after, outcomes = _edge_histogram(pop), guesses(origin)
            compared = _compare(options, questions, sounds, pop=pop, origin=origin)
        except ViewerError as error:
            raise ConfigError(str(error)) from error
    result = summarise(asked, {bound: count - before.get(bound, 0.0) for bound, count in after.items()})
    outcomes = {name: count - guessed.get(name, 0.0) for name, count in outcomes.items()}
    extra, pairs = compared if compared is not None else ({}, [])
    return Result(
        figures={**result.figures, **hit_ratio(outcomes), **extra},
        details={**result.details, "guesses": outcomes, "pairs": pairs},
    )


def _compare(
    options: argparse.Namespace,
    questions: list[Question],
    sounds: dict[str, NDArray[np.float32]],
    *,
    pop: str,
    origin: str,
) -> tuple[dict[str, float], list[Any]] | None:
    count = options.pairs if options.pairs is not None else (_QUICK_PAIRS if options.quick else _PAIRS)
    if not count:
        return None
    names = [questions[index % len(questions)].name for index in range(count)]
    with bot() as other:
        found = asyncio.run(compare(names, sounds, origin=origin, pop=pop, other=other, timeout_s=_ANSWER_S_MAX))
    return summarise_first_audio(found)


def guesses(origin: str) -> dict[str, float]:
    """Outcome → answers that were begun at a pause, of the origin since it started (Prometheus)."""
    try:
        text = httpx.get(f"{origin}/metrics", timeout=5.0, trust_env=False).text
    except httpx.HTTPError:
        return {}
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("origin_guesses_total{"):
            labels, _, value = line.rpartition(" ")
            found[labels.partition('outcome="')[2].partition('"')[0]] = float(value)
    return found


def hit_ratio(outcomes: dict[str, float]) -> dict[str, float]:
    """Share of the guesses that were confirmed; nothing where nothing was guessed."""
    total = sum(outcomes.values())
    return {"speculation_hit_ratio": outcomes.get("confirmed", 0.0) / total, "guesses": total} if total else {}


def make_questions(count: int, seed: int) -> list[Question]:
    """The same questions for the same seed: phrases in turn, voices, rates and pauses drawn."""
    rng = np.random.default_rng(seed)
    return [
        Question(
            name=f"q{index:03d}",
            parts=_PHRASES[index % len(_PHRASES)],
            voice=_VOICES[index % len(_VOICES)],
            rate_wpm=int(rng.choice(_RATES_WPM)),
            pitch=int(rng.integers(40, 60)),
            pause_s=float(rng.choice(_PAUSES_S)),
            noise_dbfs=float(rng.uniform(-75.0, -60.0)),
            seed=seed * 1_000 + index,
        )
        for index in range(count)
    ]


@contextlib.contextmanager
def _target(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    if options.pop is None and options.origin is None:
        with local_stack() as stack:
            yield stack.pop_url, stack.origin_url
        return
    pop = options.pop or "http://127.0.0.1:8080"
    try:
        yield pop, options.origin or asyncio.run(find_origin(pop))
    except ViewerError as error:
        raise ConfigError(str(error)) from error


async def _ask_all(
    questions: list[Question], sounds: dict[str, NDArray[np.float32]], *, pop: str, origin: str
) -> list[Asked]:
    asked: list[Asked] = []
    for first in range(0, len(questions), _PER_SESSION):
        async with Viewer.connect(origin=origin, pop=pop) as viewer:
            if first == 0:
                await settle(viewer)  # hear the first greeting out; later ones are interrupted by the question
            for question in questions[first : first + _PER_SESSION]:
                await settle(viewer, quiet_s=0.3)
                turn = await ask(viewer, samples=sounds[question.name], timeout_s=_ANSWER_S_MAX, listen_s=_LISTEN_S)
                asked.append(Asked(question, turn))
    return asked


def _edge_histogram(pop: str) -> dict[float, float]:
    """Upper bound in ms → access units that took at most that, of the POP since it started (Prometheus)."""
    try:
        text = httpx.get(f"{pop}/metrics", timeout=5.0, trust_env=False).text
    except httpx.HTTPError:
        return {}
    buckets: dict[float, float] = {}
    for line in text.splitlines():
        if line.startswith("edge_stage_seconds_bucket") and 'stage="edge"' in line:
            labels, _, value = line.rpartition(" ")
            bound = labels.partition('le="')[2].partition('"')[0]
            buckets[float(bound) * 1e3] = float(value)
    return buckets


def edge_added_ms_p99(turns: list[Turn], histogram: dict[float, float]) -> float:
    """An upper bound of the 99th percentile over all access units with a voice.

    The POP gives a percentile per answer and a histogram over all its units, silent ones included. Every unit that was
    slower than a bucket's bound is taken for one with a voice, so the smallest bound that at most 1 % of those exceed
    is not below the percentile. The largest percentile of a single answer is not below it either.
    """
    largest = max((turn.edge_added_ms_p99 for turn in turns if turn.edge_added_ms_p99 is not None), default=math.nan)
    allowed = 0.01 * sum(turn.edge_units for turn in turns)
    total = max(histogram.values(), default=0.0)
    bounds = [bound for bound, count in histogram.items() if math.isfinite(bound) and total - count <= allowed]
    return min([largest, *bounds]) if total else largest


def summarise(asked: list[Asked], histogram: dict[float, float]) -> Result:
    """Figures of all questions. Raises: ConfigError: nothing was answered."""
    turns = [item.turn for item in asked]
    motion = [turn.first_motion_ms for turn in turns if turn.first_motion_ms is not None]
    audio = [turn.first_audio_ms for turn in turns if turn.first_audio_ms is not None]
    added = [turn.edge_added_ms_p99 for turn in turns if turn.edge_added_ms_p99 is not None]
    offsets = [abs(turn.av_offset_ms) for turn in turns if turn.av_offset_ms is not None]
    missing = [
        name
        for name, values in (("motion", motion), ("sound", audio), ("edge_added", added), ("offset", offsets))
        if not values
    ]
    if missing:
        raise ConfigError(f"none of {len(turns)} questions brought a measurement of {', '.join(missing)}")
    errors = [word_errors(item.question.text, item.turn.transcript) for item in asked]
    spoken_min = sum(turn.speech_s for turn in turns) / 60.0
    figures = {
        "first_motion_ms_p50": percentile(motion, 50),
        "first_motion_ms_p95": percentile(motion, 95),
        "first_audio_ms_p50": percentile(audio, 50),
        "first_audio_ms_p95": percentile(audio, 95),
        "edge_added_ms_p99": edge_added_ms_p99(turns, histogram),
        "av_offset_ms_p50": percentile(offsets, 50),
        "av_offset_ms_p95": percentile(offsets, 95),
        "false_reactions_per_min": sum(turn.false_reactions for turn in turns) / spoken_min,
        "word_error_rate": sum(e.errors for e in errors) / max(1, sum(e.words for e in errors)),
        "questions": len(turns),
        "unanswered": sum(not turn.answered for turn in turns),
    }
    details: dict[str, Any] = {
        "edge_added_ms_p99": "an upper bound, from the POP's histogram over all access units",
        "edge_units_with_voice": sum(turn.edge_units for turn in turns),
        "edge_histogram_ms": {f"{bound:g}": count for bound, count in histogram.items()},
        "user_speech_s": round(spoken_min * 60.0, 2),
        "per_question": [_detail(item) for item in asked],
    }
    return Result(figures=figures, details=details)


def _detail(item: Asked) -> dict[str, Any]:
    turn, question = item.turn, item.question
    return {
        "said": question.text,
        "heard": turn.transcript,
        "reply": turn.reply_text,
        "voice": question.voice,
        "rate_wpm": question.rate_wpm,
        "pause_s": question.pause_s if len(question.parts) > 1 else 0.0,
        "first_motion_ms": _rounded(turn.first_motion_ms),
        "first_audio_ms": _rounded(turn.first_audio_ms),
        "edge_added_ms_p99": _rounded(turn.edge_added_ms_p99),
        "av_offset_ms": _rounded(turn.av_offset_ms),
        "false_reactions": turn.false_reactions,
        "stages": {name: round(value, 1) for name, value in turn.stages.items()},
        "faults": list(turn.faults),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)

"""Marks and costs of everything that is shipped, on voices and sentences that were never trained on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.speech.student_layout import FIDELITIES
from origin.distill.corpus import Clip, build
from origin.distill.examine import Examined, answer, examine, lessons_of, open_model, rules
from origin.distill.teacher import Lesson, Style

__all__ = ["HEARD", "Measured", "Row", "cost_us", "exam", "measure", "measure_character"]

HEARD: Final = ("phonemes", "audio")
"""With the text's phonemes, and by ear alone."""
_ROUNDS: Final = 60


@dataclass(frozen=True, slots=True)
class Row:
    """One model.

    Attributes:
        examined: heard → marks.
        us_per_frame: batch → microseconds of the model alone, one thread.
        size_bytes: of its file.
    """

    examined: dict[str, Examined]
    us_per_frame: dict[int, float]
    size_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Everything measured at once.

    Attributes:
        clips, lessons: what was said and what the teacher showed.
        rules: marks of the rule tier.
        rows: file → row.
        answers: heard → the answers of the high fidelity's fp32 model.
    """

    clips: Sequence[Clip]
    lessons: Sequence[Lesson]
    rules: Examined
    rows: dict[str, Row]
    answers: dict[str, list[NDArray[np.float32]]]


def exam(minutes: float, *, seed: int) -> tuple[list[Clip], list[Lesson]]:
    """Unheard voices and sentences, and what the teacher makes of them. Raises: ConfigError: no espeak-ng."""
    clips = build(minutes, seed=seed, held_out=True, situations=1)
    return clips, lessons_of(clips)


def measure(
    folder: Path, models: Mapping[str, Mapping[str, str]], clips: Sequence[Clip], lessons: Sequence[Lesson],
    batches: Sequence[int] = (1, 64),
) -> Measured:  # fmt: skip
    """Let every model answer.

    Args:
        folder: of the models. models: precision → fidelity → file; fidelities may be missing.
        clips, lessons: from `exam`.
        batches: to take the time of.
    """
    plans = {"phonemes": [lesson.plan for lesson in lessons], "audio": None}
    rows, answers = {}, {}
    for precision, files in models.items():
        for fidelity in FIDELITIES:
            if fidelity not in files:
                continue
            model = open_model(folder / files[fidelity])
            examined = {}
            for heard in HEARD:
                said = answer(model, [clip.clean for clip in clips], plans[heard])
                examined[heard] = examine(said, lessons)
                if (precision, fidelity) == ("fp32", "high"):
                    answers[heard] = said
            costs = {batch: cost_us(model, batch) for batch in batches}
            rows[files[fidelity]] = Row(examined, costs, (folder / files[fidelity]).stat().st_size)
    return Measured(clips, lessons, examine(rules(lessons), lessons), rows, answers)


def measure_character(model: Path, style: Style, film: NDArray[np.float32], clips: Sequence[Clip]) -> Examined:
    """A character that the teacher knows, with phonemes."""
    lessons = lessons_of(clips, style)
    plans = [lesson.plan for lesson in lessons]
    return examine(answer(open_model(model), [clip.clean for clip in clips], plans, film), lessons)


def cost_us(model: Any, batch: int) -> float:
    """Median microseconds per frame of a model from `open_model`, nothing around it counted."""
    rng = np.random.default_rng(batch)
    feed = {
        value.name: rng.random((batch, *value.shape[1:]), dtype=np.float32) * np.float32(0.5)
        for value in model.get_inputs()
    }
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        model.run(None, feed)
        times.append(time.perf_counter() - began)
    return float(np.median(times[_ROUNDS // 10 :]) * 1e6 / batch)

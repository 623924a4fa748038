"""A corpus turned into what training reads: one long track of frames, every character's targets beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.speech.student_layout import LOOKAHEAD_FRAMES, MOOD, OUTPUTS, PLAN
from origin.distill.corpus import Clip
from origin.distill.teacher import Style, plan_of, teach

__all__ = ["Lessons", "prepare"]


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """All clips one after the other; every row is what goes in and comes out in one call.

    Attributes:
        mel: uint8[situations, frames, 40], the first situation is the clean sound.
        plan: float16[frames, len(PLAN)], of the answered frame (LOOKAHEAD_FRAMES before the heard one).
        mood: float16[frames, 2].
        targets: float16[styles, frames, len(OUTPUTS)], of the answered frame.
        starts: int64[clips], first frame of each clip.
    """

    mel: NDArray[np.uint8]
    plan: NDArray[np.float16]
    mood: NDArray[np.float16]
    targets: NDArray[np.float16]
    starts: NDArray[np.int64]


def prepare(
    clips: Sequence[Clip], styles: Sequence[Style], *, seed: int = 0, moods: bool = True,
    progress: Callable[[float], None] = lambda done: None,
) -> Lessons:  # fmt: skip
    """Let the teacher speak on every clip in every style.

    Args:
        seed: of the moods; about a third of the clips have one.
        moods: False: all neutral.
    """
    rng = np.random.default_rng((seed, 77))
    starts = np.cumsum([0, *(len(clip.clean) for clip in clips)])
    total = int(starts[-1])
    plan = np.zeros((total, len(PLAN)), np.float16)
    mood = np.zeros((total, len(MOOD)), np.float16)
    targets = np.zeros((len(styles), total, len(OUTPUTS)), np.float16)
    for index, clip in enumerate(clips):
        begin, end = int(starts[index]), int(starts[index + 1])
        feeling = (0.0, 0.0)
        if moods and rng.random() < 0.35:
            feeling = (float(rng.uniform(-1, 1)), float(rng.uniform(-1, 1)))
        asked = plan_of(clip.spans, len(clip.clean))
        plan[begin:end] = _later(asked)
        mood[begin:end] = feeling
        for number, style in enumerate(styles):
            lesson = teach(clip.spans, clip.clean, style=style, mood=feeling, plan=asked)
            targets[number, begin:end] = _later(lesson.targets)
        progress((index + 1) / len(clips))
    mel = np.concatenate([np.concatenate([clip.clean[None], clip.heard]) for clip in clips], axis=1)
    return Lessons(mel, plan, mood, targets, starts[:-1].astype(np.int64))


def _later(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row k is about frame k - LOOKAHEAD_FRAMES; before the first frame the first one stands."""
    return np.concatenate([rows[:1].repeat(LOOKAHEAD_FRAMES, axis=0), rows])[: len(rows)]

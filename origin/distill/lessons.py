"""A corpus turned into what training reads: one long track of frames, every character's targets beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.limits import TICK_SAMPLES
from core.speech.messages import PhonemeSpan
from core.speech.phonemes import split_symbol
from core.speech.student_layout import LOOKAHEAD_FRAMES, MOOD, OUTPUTS, PLAN
from origin.distill.alignment import ARPABET, arpabet_of
from origin.distill.corpus import Clip, by_people
from origin.distill.teacher import Style, plan_of, teach

__all__ = ["SOUNDS", "Lessons", "prepare", "sounds_of"]

SOUNDS: Final[tuple[str, ...]] = ("SIL", *sorted(set(ARPABET)))
"""What a frame may sound like."""
_Row = TypeVar("_Row", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """All clips one after the other; every row is what goes in and comes out in one call.

    Attributes:
        mel: uint8[situations, frames, 40], the first situation is the clean sound.
        plan: float16[frames, len(PLAN)], of the answered frame (LOOKAHEAD_FRAMES before the heard one).
        mood: float16[frames, 2].
        targets: float16[styles, frames, len(OUTPUTS)], of the answered frame.
        sounds: uint8[frames], index into SOUNDS, of the answered frame.
        starts: int64[clips], first frame of each clip.
        people: int64[n], which clips voices learnt from people say.
    """

    mel: NDArray[np.uint8]
    plan: NDArray[np.float16]
    mood: NDArray[np.float16]
    targets: NDArray[np.float16]
    sounds: NDArray[np.uint8]
    starts: NDArray[np.int64]
    people: NDArray[np.int64]


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
    sounds = np.zeros(total, np.uint8)
    for index, clip in enumerate(clips):
        begin, end = int(starts[index]), int(starts[index + 1])
        feeling = (0.0, 0.0)
        if moods and rng.random() < 0.35:
            feeling = (float(rng.uniform(-1, 1)), float(rng.uniform(-1, 1)))
        asked = plan_of(clip.spans, len(clip.clean))
        plan[begin:end] = _later(asked)
        mood[begin:end] = feeling
        sounds[begin:end] = _later(sounds_of(clip.spans, len(clip.clean)))
        for number, style in enumerate(styles):
            lesson = teach(clip.spans, clip.clean, style=style, mood=feeling, pitch=clip.pitch, plan=asked)
            targets[number, begin:end] = _later(lesson.targets)
        progress((index + 1) / len(clips))
    mel = np.concatenate([np.concatenate([clip.clean[None], clip.heard]) for clip in clips], axis=1)
    people = np.flatnonzero([by_people(clip) for clip in clips]).astype(np.int64)
    return Lessons(mel, plan, mood, targets, sounds, starts[:-1].astype(np.int64), people)


def sounds_of(spans: Sequence[PhonemeSpan], frames: int) -> NDArray[np.uint8]:
    """The sound in the middle of every frame: uint8[frames], index into SOUNDS."""
    labels = np.zeros(frames, np.uint8)
    middles = np.arange(frames) * TICK_SAMPLES + TICK_SAMPLES // 2
    for span in spans:
        begin = float(span.start)
        for segment in split_symbol(span.symbol)[0]:
            end = begin + segment.share * (span.end - span.start)
            labels[(middles >= begin) & (middles < end)] = SOUNDS.index(arpabet_of(segment.sound))
            begin = end
    return labels


def _later(rows: NDArray[_Row]) -> NDArray[_Row]:
    """Row k is about frame k - LOOKAHEAD_FRAMES; before the first frame the first one stands."""
    return np.concatenate([rows[:1].repeat(LOOKAHEAD_FRAMES, axis=0), rows])[: len(rows)]

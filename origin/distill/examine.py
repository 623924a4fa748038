"""Run a shipped model over whole utterances and mark what it says. Needs onnxruntime, not PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.limits import LOG_MEL_BANDS
from core.speech.student_layout import (
    DILATIONS,
    INPUTS,
    LOOKAHEAD_FRAMES,
    MOUTH,
    OUTPUTS,
    PLAN,
    RECALLED,
    STATE_ROWS,
    STYLE_WIDTH,
    TRUNK_WIDTH,
    state_row,
)
from origin.distill.corpus import Clip
from origin.distill.marks import ClosureMarks, Marks, closure_marks, mark
from origin.distill.teacher import NEUTRAL, Lesson, Style, teach

__all__ = ["Examined", "OpenModel", "answer", "examine", "lessons_of", "rules"]


@dataclass(frozen=True, slots=True)
class Examined:
    """One row of the report."""

    marks: Marks
    closures: ClosureMarks


class OpenModel:
    """An onnxruntime session of one thread, for who wants the whole state at hand."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def get_inputs(self) -> Any:
        """See onnxruntime.InferenceSession."""
        return self._session.get_inputs()

    def feed(self, feed: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """What the graph is given. Args: feed: "inputs", "style" and "state" float32[n, STATE_ROWS, TRUNK_WIDTH]."""
        if "state" not in feed:
            return dict(feed)
        state = feed["state"]
        whole = {"inputs": feed["inputs"], "style": feed["style"]}
        whole["ear_mean"] = state[:, 0, :LOG_MEL_BANDS]
        whole["ear_heard"] = state[:, 0, LOG_MEL_BANDS : LOG_MEL_BANDS + 1]
        for block, dilation in enumerate(DILATIONS):
            for name, row in zip(RECALLED[2 * block : 2 * block + 2], (0, dilation), strict=True):
                whole[name] = state[:, state_row(block, row)]
        return whole

    def run(self, names: None, feed: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Answers and the state after, float32[n, len(OUTPUTS)] and as it came. Args: feed: as for `feed`; without a
        state what comes back is the graph's own."""
        answers, ear, heard, *newest = given = self._session.run(names, self.feed(feed))
        if "state" not in feed:
            return list(given)
        after = np.array(feed["state"], dtype=np.float32)
        after[:, 0, :LOG_MEL_BANDS], after[:, 0, LOG_MEL_BANDS] = ear, heard[:, 0]
        for block, rows in enumerate(newest):
            first, last = state_row(block, 0), state_row(block, 2 * DILATIONS[block] - 1)
            after[:, first:last] = feed["state"][:, first + 1 : last + 1]
            after[:, last] = rows
        return [answers, after]


def open_model(path: Path) -> OpenModel:
    """A model of `origin.distill.export`, or what became of one."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return OpenModel(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))


def lessons_of(clips: Sequence[Clip], style: Style = NEUTRAL) -> list[Lesson]:
    """What the teacher says to each clip."""
    return [teach(clip.spans, clip.clean, style=style, pitch=clip.pitch) for clip in clips]


def answer(
    model: Any,
    mels: Sequence[NDArray[np.uint8]],
    plans: Sequence[NDArray[np.float32]] | None,
    style: NDArray[np.float32] | None = None,
) -> list[NDArray[np.float32]]:
    """Answer utterances, all in one batch, frame by frame as a POP does.

    Args:
        model: from `open_model`.
        mels: uint8[frames, 40] each.
        plans: float32[frames, len(PLAN)] each, from the teacher; None: no phonemes.
        style: float32[STYLE_WIDTH]; None: neutral.
    Returns: float32[frames, len(OUTPUTS)] each, aligned with the frames.
    """
    count, longest = len(mels), max(len(mel) for mel in mels) + LOOKAHEAD_FRAMES
    inputs = np.zeros((longest, count, INPUTS), np.float32)
    for row, mel in enumerate(mels):
        inputs[: len(mel), row, :LOG_MEL_BANDS] = mel / np.float32(255.0)
        if plans is not None:
            plan = inputs[LOOKAHEAD_FRAMES : LOOKAHEAD_FRAMES + len(mel), row]
            plan[:, LOG_MEL_BANDS : LOG_MEL_BANDS + len(PLAN)] = plans[row]
    state = np.zeros((count, STATE_ROWS, TRUNK_WIDTH), np.float32)
    styles = np.zeros((count, STYLE_WIDTH), np.float32)
    if style is not None:
        styles[:] = style
    answers = np.empty((longest, count, len(OUTPUTS)), np.float32)
    for frame in range(longest):
        answers[frame], state = model.run(None, {"inputs": inputs[frame], "state": state, "style": styles})
    return [answers[LOOKAHEAD_FRAMES : LOOKAHEAD_FRAMES + len(mel), row] for row, mel in enumerate(mels)]


def examine(answers: Sequence[NDArray[np.float32]], lessons: Sequence[Lesson]) -> Examined:
    """Compare answers with the teacher's."""
    pairs = [(said, lesson.closures) for said, lesson in zip(answers, lessons, strict=True)]
    return Examined(
        mark(np.concatenate(answers), np.concatenate([lesson.targets for lesson in lessons])), closure_marks(pairs)
    )


def rules(lessons: Sequence[Lesson]) -> list[NDArray[np.float32]]:
    """What the rule tier shows by itself: the phonemes' mouth, whatever the voice does."""
    said = []
    for lesson in lessons:
        answers = np.zeros((len(lesson.plan), len(OUTPUTS)), np.float32)
        answers[:, : len(MOUTH)] = lesson.plan[:, : len(MOUTH)]
        said.append(answers)
    return said

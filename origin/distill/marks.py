"""Marks: how near a face comes to the teacher's, as a viewer sees it (weights, after seals), and when lips are shut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.blend import layer_mouth
from core.avatar.expression import CHANNELS, channel
from core.speech.student_layout import MOUTH, OUTPUTS
from core.speech.visemes import ARTICULATORS
from origin.distill.teacher import Closure

__all__ = ["CHANNELS_MARKED", "MOUTH_CHANNELS", "ClosureMarks", "Marks", "closure_marks", "mark", "shown"]

MOUTH_CHANNELS: Final[dict[str, str]] = {
    "jaw": "jawOpen", "mouthClose": "mouthClose", "press": "mouthPressLeft", "rollLower": "mouthRollLower",
    "funnel": "mouthFunnel", "pucker": "mouthPucker", "stretch": "mouthStretchLeft", "smile": "mouthSmileLeft",
    "lowerDown": "mouthLowerDownLeft", "upperUp": "mouthUpperUpLeft", "tongue": "tongueOut",
}  # fmt: skip
"""Mark → weight."""
CHANNELS_MARKED: Final[dict[str, str]] = {**MOUTH_CHANNELS, "browInner": "browInnerUp", "headPitch": "head.pitch"}
_COLUMNS: Final = np.array([channel(name) for name in CHANNELS_MARKED.values()])
_APERTURE_MAX: Final = 0.05
"""Jaw minus what seals it, plus half of what parts the lips: below this they touch."""
_TOLERANCE_FRAMES: Final = 2.0
"""±40 ms."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Over all frames together.

    Attributes:
        r: Pearson's correlation per channel.
        mae: mean absolute error per channel.
    """

    r: dict[str, float]
    mae: dict[str, float]

    @property
    def r_min_mouth(self) -> float:
        """The worst mouth channel."""
        return min(self.r[name] for name in MOUTH_CHANNELS)

    @property
    def r_mean_mouth(self) -> float:
        """The mean of all mouth channels."""
        return float(np.mean([self.r[name] for name in MOUTH_CHANNELS]))

    @property
    def mae_mouth(self) -> float:
        """The mean of all mouth channels."""
        return float(np.mean([self.mae[name] for name in MOUTH_CHANNELS]))


@dataclass(frozen=True, slots=True)
class ClosureMarks:
    """Recall: of the closures asked for, how many are there within ±40 ms. Precision: of the frames in which the lips
    are shut while the mouth speaks, how many are within ±40 ms of a closure."""

    recall: float
    precision: float
    count: int


def shown(answers: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the marked channels show: float32[frames, len(OUTPUTS)] → float32[frames, len(CHANNELS_MARKED)]."""
    pose = np.zeros((len(answers), CHANNELS), dtype=np.float32)
    pose[:, channel("browInnerUp")] = answers[:, OUTPUTS.index("brow_inner")]
    pose[:, channel("head.pitch")] = answers[:, OUTPUTS.index("head_pitch")]
    mouth = np.clip(answers[:, : len(MOUTH)], 0.0, 1.0)
    ones = np.ones(len(answers), dtype=np.float32)
    layer_mouth(pose, mouth[:, : len(ARTICULATORS)], mouth[:, len(ARTICULATORS) :], ones, ones * 0.0)
    return pose[:, _COLUMNS]


def mark(answers: NDArray[np.float32], targets: NDArray[np.float32]) -> Marks:
    """Compare what is shown; both float32[frames, len(OUTPUTS)]. A channel that never moves has correlation 0."""
    seen, wanted = shown(answers), shown(targets)
    r, mae = {}, {}
    for column, name in enumerate(CHANNELS_MARKED):
        one, other = seen[:, column].astype(np.float64), wanted[:, column].astype(np.float64)
        moving = one.std() > 1e-9 and other.std() > 1e-9
        r[name] = float(np.corrcoef(one, other)[0, 1]) if moving else 0.0
        mae[name] = float(np.abs(one - other).mean())
    return Marks(r, mae)


def closure_marks(
    clips: Sequence[tuple[NDArray[np.float32], Sequence[Closure]]], *, speaking: float = 0.5
) -> ClosureMarks:
    """Judge closures.

    Args:
        clips: answers float32[frames, len(OUTPUTS)] and the closures asked for, per clip.
        speaking: from which "voice" on a frame counts for precision.
    """
    names = list(CHANNELS_MARKED)
    jaw, close, lower, upper = (names.index(name) for name in ("jaw", "mouthClose", "lowerDown", "upperUp"))
    there = asked = right = shut_frames = 0
    for answers, closures in clips:
        seen = shown(answers)
        aperture = seen[:, jaw] - seen[:, close] + 0.5 * (seen[:, lower] + seen[:, upper])
        shut = aperture < _APERTURE_MAX
        allowed = np.zeros(len(shut), dtype=np.bool_)
        for closure in closures:
            first = max(0, int(np.ceil(closure.start - _TOLERANCE_FRAMES)))
            last = min(len(shut), int(np.floor(closure.end + _TOLERANCE_FRAMES)) + 1)
            if first >= len(shut):
                continue
            asked += 1
            there += bool(shut[first:last].any())
            allowed[first:last] = True
        talking = answers[:, MOUTH.index("voice")] > speaking
        counted = shut & talking
        shut_frames += int(counted.sum())
        right += int((counted & allowed).sum())
    return ClosureMarks(there / max(asked, 1), right / max(shut_frames, 1), asked)

"""What each driver does to the face: one linear map from drivers to weights and joints.

A driver is a number that a behaviour moves: how much the face listens, how far a blink is, where the breath stands.
`EXPRESSION` says in one table what a driver looks like, so an animator can retune a character without touching how
drivers move.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.rig import BLENDSHAPE_INDEX, JOINT_INDEX
from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT

__all__ = [
    "BASE", "CHANNELS", "DRIVERS", "EXPRESSION", "GESTURES", "OSCILLATORS", "PARAMETERS", "YIELDS_TO_SPEECH", "channel",
]  # fmt: skip

PARAMETERS: Final[tuple[str, ...]] = (
    "joy", "sorrow", "excitement", "calm", "listen", "think", "speak", "roll", "yaw", "pitch", "think_left",
    "think_right", "attention", "mouth",
)  # fmt: skip
"""Eased towards a target. Moods and states are in [0, 1]; roll, yaw and pitch are the head's, in radians;
"mouth" is how much the mouth belongs to speech."""

GESTURES: Final[tuple[str, ...]] = ("blink", "nod", "beat", "inhale")
"""Something that begins, holds and ends; in [0, 1] unless noted."""

OSCILLATORS: Final[tuple[str, ...]] = ("breath", "sway_sine", "sway_cosine", "drift_pitch", "drift_yaw", "drift_roll")
"""Sines of media time."""

DRIVERS: Final = PARAMETERS + GESTURES + OSCILLATORS

CHANNELS: Final = BLENDSHAPE_COUNT + 3 * JOINT_COUNT
"""Width of a pose: the weights, then (pitch, yaw, roll) of each joint in radians."""

_AXES: Final = {"pitch": 0, "yaw": 1, "roll": 2}


def channel(name: str) -> int:
    """Column of a weight (`jawOpen`) or of a joint's axis (`head.pitch`)."""
    joint, _, axis = name.partition(".")
    if axis:
        return BLENDSHAPE_COUNT + 3 * JOINT_INDEX[joint] + _AXES[axis]
    return BLENDSHAPE_INDEX[name]


def _columns(name: str) -> tuple[int, ...]:
    """`mouthSmile*` stands for both sides."""
    if name.endswith("*"):
        return channel(name[:-1] + "Left"), channel(name[:-1] + "Right")
    return (channel(name),)


_BASE: Final[dict[str, float]] = {"mouthSmile*": 0.05}
"""A friendly rest: the character is never quite blank."""

_TABLE: Final[dict[str, dict[str, float]]] = {
    "joy": {
        "mouthSmile*": 0.50, "cheekSquint*": 0.32, "eyeSquint*": 0.12, "browInnerUp": 0.10, "browOuterUp*": 0.06,
        "mouthDimple*": 0.10, "head.roll": 0.02,
    },
    "sorrow": {
        "mouthFrown*": 0.38, "browInnerUp": 0.45, "mouthShrugLower": 0.14, "eyeBlink*": 0.08, "head.pitch": 0.05,
        "mouthSmile*": -0.05,
    },
    "excitement": {"eyeWide*": 0.25, "browOuterUp*": 0.26, "browInnerUp": 0.14, "head.pitch": -0.03},
    "calm": {"eyeBlink*": 0.16, "browDown*": 0.05, "head.pitch": 0.02},
    "listen": {"browInnerUp": 0.16, "eyeWide*": 0.10, "head.pitch": 0.035, "neck.pitch": 0.02, "spine.pitch": 0.02},
    "think": {"mouthPress*": 0.26, "mouthPucker": 0.14, "eyeSquint*": 0.10, "mouthShrugLower": 0.10},
    "think_left": {
        "browOuterUpLeft": 0.42, "browInnerUp": 0.14, "browDownRight": 0.30, "mouthLeft": 0.22,
    },
    "think_right": {
        "browOuterUpRight": 0.42, "browInnerUp": 0.14, "browDownLeft": 0.30, "mouthRight": 0.22,
    },
    "speak": {"browInnerUp": 0.05, "browOuterUp*": 0.03},
    "attention": {"browInnerUp": 0.12, "browOuterUp*": 0.06},
    "mouth": {},
    "roll": {"head.roll": 0.65, "neck.roll": 0.35},
    "yaw": {"head.yaw": 0.7, "neck.yaw": 0.3},
    "pitch": {"head.pitch": 0.75, "neck.pitch": 0.25},
    "blink": {"eyeBlink*": 1.0},
    # Eyes stay on the viewer while the head nods (vestibulo-ocular reflex).
    "nod": {"head.pitch": 0.75, "neck.pitch": 0.25, "leftEye.pitch": -0.8, "rightEye.pitch": -0.8},
    "beat": {"head.pitch": 0.055, "browInnerUp": 0.20, "browOuterUp*": 0.16},
    "inhale": {
        "spine.pitch": -0.030, "leftShoulder.roll": 0.045, "rightShoulder.roll": -0.045, "head.pitch": -0.025,
        "jawOpen": 0.05, "browInnerUp": 0.08,
    },
    "breath": {"spine.pitch": -0.010, "leftShoulder.roll": 0.014, "rightShoulder.roll": -0.014},
    "sway_sine": {"head.yaw": 1.0},
    "sway_cosine": {"head.roll": 1.0},
    "drift_pitch": {"head.pitch": 1.0},
    "drift_yaw": {"head.yaw": 1.0},
    "drift_roll": {"head.roll": 1.0},
}  # fmt: skip


def _matrix() -> NDArray[np.float32]:
    matrix = np.zeros((len(DRIVERS), CHANNELS), dtype=np.float32)
    for row, driver in enumerate(DRIVERS):
        for name, gain in _TABLE[driver].items():
            matrix[row, list(_columns(name))] = gain
    return matrix


def _row(table: dict[str, float]) -> NDArray[np.float32]:
    row = np.zeros(CHANNELS, dtype=np.float32)
    for name, value in table.items():
        row[list(_columns(name))] = value
    return row


EXPRESSION: Final = _matrix()
"""float32[drivers, channels]."""

BASE: Final = _row(_BASE)
"""float32[channels]: the pose of all drivers at 0."""

YIELDS_TO_SPEECH: Final = _row(
    {
        "mouthSmile*": 0.35, "mouthDimple*": 1.0, "mouthFrown*": 0.45, "mouthPress*": 1.0, "mouthPucker": 1.0,
        "mouthShrugLower": 1.0, "mouthLeft": 1.0, "mouthRight": 1.0, "jawOpen": 1.0,
    }
)[:BLENDSHAPE_COUNT]  # fmt: skip
"""float32[52]: how much of a behaviour's weight gives way when the mouth is needed for speech."""

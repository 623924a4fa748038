"""Layers: the mouth that speaks over the face that lives, seals that nothing may open, and steps no face exceeds."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.expression import CHANNELS, channel
from core.limits import BLENDSHAPE_COUNT, EYE_STEP_RAD_MAX, JOINT_STEP_RAD_MAX, LID_STEP_MAX, PTIME_MS, WEIGHT_STEP_MAX
from core.speech.visemes import ARTICULATORS

__all__ = [
    "BITE", "JAW_LEFT", "MOUTH_SHOWN", "PUFF_GAIN", "SEALED", "SHOWN", "SHUT", "STEP_MAX", "layer_mouth", "limit_steps",
]  # fmt: skip

SHOWN: Final[dict[str, tuple[tuple[str, float], ...]]] = {
    "jaw": (("jawOpen", 1.0),),
    "funnel": (("mouthFunnel", 1.0),),
    "pucker": (("mouthPucker", 1.0),),
    "stretch": (("mouthStretchLeft", 1.0), ("mouthStretchRight", 1.0)),
    "smile": (("mouthSmileLeft", 1.0), ("mouthSmileRight", 1.0)),
    "lower_down": (("mouthLowerDownLeft", 1.0), ("mouthLowerDownRight", 1.0)),
    "upper_up": (("mouthUpperUpLeft", 1.0), ("mouthUpperUpRight", 1.0)),
    "roll_lower": (("mouthRollLower", 0.4),),
    "tongue": (("tongueOut", 1.0),),
}
"""Weights that show an articulator, with gains."""


def _mouth_matrix() -> NDArray[np.float32]:
    matrix = np.zeros((len(ARTICULATORS), BLENDSHAPE_COUNT), dtype=np.float32)
    for articulator, shown in SHOWN.items():
        for name, gain in shown:
            matrix[ARTICULATORS.index(articulator), channel(name)] = gain
    return matrix


MOUTH_SHOWN: Final = _mouth_matrix()
"""float32[11, 52]: SHOWN as a matrix."""
_LOUD: Final = np.array([name in ("jaw", "lower_down", "upper_up") for name in ARTICULATORS], dtype=np.float32)
"""What a louder voice opens further."""

_JAW: Final = channel("jawOpen")
_CLOSE: Final = channel("mouthClose")
_PUFF: Final = channel("cheekPuff")
_PUFF_SOURCE: Final = ARTICULATORS.index("puff")
PUFF_GAIN: Final = 0.16

SHUT: Final[dict[str, float]] = {
    "mouthFunnel": 0.0, "mouthLowerDownLeft": 0.0, "mouthLowerDownRight": 0.0, "mouthUpperUpLeft": 0.0,
    "mouthUpperUpRight": 0.0, "tongueOut": 0.0, "mouthRollLower": 0.18, "mouthRollUpper": 0.14, "mouthPressLeft": 0.18,
    "mouthPressRight": 0.18, "mouthShrugLower": 0.0,
}  # fmt: skip
"""Lips that touch: nothing parts them. Rounding stays ("boom")."""
JAW_LEFT: Final = (0.01, 0.08, 0.03)
"""Jaw behind shut lips: offset, part of what its neighbours want, most. `mouthClose` seals exactly as much, so
the lips meet in rigs that subtract it from the jaw and, but for a hair, in those that multiply."""
BITE: Final[dict[str, float]] = {
    "jawOpen": 0.07, "mouthClose": 0.02, "mouthFunnel": 0.0, "mouthLowerDownLeft": 0.0, "mouthLowerDownRight": 0.0,
    "mouthUpperUpLeft": 0.16, "mouthUpperUpRight": 0.16, "tongueOut": 0.0, "mouthRollLower": 0.42,
}  # fmt: skip
"""The lower lip rolled in under the upper teeth, which show."""


def _posture(table: dict[str, float]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Which weights a seal decides, and how: both float32[52]."""
    mask, pose = np.zeros((2, BLENDSHAPE_COUNT), dtype=np.float32)
    for name, value in table.items():
        mask[channel(name)], pose[channel(name)] = 1.0, value
    return mask, pose


_SHUT_MASK, _SHUT_POSE = _posture(SHUT)
_BITE_MASK, _BITE_POSE = _posture(BITE)
SEALED: Final = np.stack([_BITE_MASK, _BITE_POSE, _SHUT_MASK, _SHUT_POSE])
"""float32[4, 52]: which weights a bite decides and how, the same of shut lips."""


def _step_max() -> NDArray[np.float32]:
    steps = np.full(CHANNELS, WEIGHT_STEP_MAX, dtype=np.float32)
    steps[BLENDSHAPE_COUNT:] = JOINT_STEP_RAD_MAX
    for side in ("Left", "Right"):
        for name in ("eyeBlink", "eyeWide", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp"):
            steps[channel(name + side)] = LID_STEP_MAX
    for joint in ("leftEye", "rightEye"):
        first = channel(joint + ".pitch")
        steps[first : first + 3] = EYE_STEP_RAD_MAX
    steps.flags.writeable = False
    return steps


STEP_MAX: Final = _step_max()
"""float32[CHANNELS]: largest change per 20 ms of every weight and joint axis; see core.limits for the reasons."""


def layer_mouth(
    pose: NDArray[np.float32],
    articulators: NDArray[np.float32],
    seals: NDArray[np.float32],
    loudness: NDArray[np.float32] | None = None,
    energy: NDArray[np.float32] | None = None,
) -> None:
    """Put the speaking mouth into poses, in place.

    Args:
        pose: float32[n, CHANNELS] from the behaviours.
        articulators: float32[n, 11], see core.speech.visemes.
        seals: float32[n, 2]: lips shut, lower lip at the teeth; 1 = firmly, whatever else the face does.
        loudness: float32[n], 1 = normal voice; opens the mouth further or less. None: it is in the articulators.
        energy: float32[n] in [0, 1]: sound that no phoneme explains; moves the jaw. None: it is in the articulators.
    """
    weights = pose[:, :BLENDSHAPE_COUNT]
    opened = articulators if loudness is None else articulators * (1.0 + (loudness - 1.0)[:, None] * _LOUD)
    weights += np.einsum("na,ac->nc", opened, MOUTH_SHOWN)
    if energy is not None:
        pose[:, _JAW] += energy
    lips, teeth = seals[:, :1], seals[:, 1:]
    weights *= 1.0 - teeth * _BITE_MASK
    weights += teeth * _BITE_POSE
    weights *= 1.0 - lips * _SHUT_MASK
    weights += lips * _SHUT_POSE
    jaw, shut = pose[:, _JAW], lips[:, 0]
    offset, part, most = JAW_LEFT
    left = np.minimum(offset + part * np.maximum(jaw, 0.0), most)
    pose[:, _JAW] = jaw + (left - jaw) * shut
    pose[:, _CLOSE] += (left - pose[:, _CLOSE]) * shut
    pose[:, _PUFF] += articulators[:, _PUFF_SOURCE] * lips[:, 0] * PUFF_GAIN


def limit_steps(
    pose: NDArray[np.float32], former: NDArray[np.float32], elapsed_s: NDArray[np.float64]
) -> NDArray[np.float32]:
    """A pose no further from the former one than a face can move.

    Args:
        pose: float32[n, CHANNELS], the wish; weights are clipped to [0, 1] here.
        former: float32[n, CHANNELS], what was shown before.
        elapsed_s: float64[n], seconds since; infinite where nothing was shown before.
    Returns: float32[n, CHANNELS].
    """
    weights = pose[:, :BLENDSHAPE_COUNT]
    np.minimum(np.maximum(weights, 0.0, out=weights), 1.0, out=weights)
    step = STEP_MAX * (elapsed_s * (1000.0 / PTIME_MS)).astype(np.float32)[:, None]
    change = pose - former
    np.minimum(np.maximum(change, -step, out=change), step, out=change)
    change += former
    return np.where(np.isinf(step), pose, change)

"""Poses between frames: mixing, turning, and how far a face may move at once.

Mirrored in edge/client/src/stream/pose.ts and plausibility.ts.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.blend import STEP_MAX
from core.avatar.frame import AnimationFrame
from core.limits import BLENDSHAPE_COUNT, PTIME_MS

__all__ = ["limit_motion", "mix_poses", "motion_ratio", "rotate_joint", "smoothstep"]

_WEIGHT_STEP: Final = STEP_MAX[:BLENDSHAPE_COUNT].astype(np.float64)
_JOINT_STEP: Final = STEP_MAX[BLENDSHAPE_COUNT::3].astype(np.float64)
_TINY: Final = 1e-9


def smoothstep(x: float) -> float:
    """Classic ease in and out on [0, 1]."""
    t = min(1.0, max(0.0, x))
    return t * t * (3.0 - 2.0 * t)


def mix_poses(start: AnimationFrame, end: AnimationFrame, t: float) -> AnimationFrame:
    """start + (end - start) · t.

    Weights are linear and stay in [0, 1]; joints are normalised linear interpolations along the shorter arc, which for
    the small steps between frames equal slerp to within a rounding error.

    Args:
        t: 0 gives `start`, 1 gives `end`; a little beyond 1 extrapolates.
    """
    weights = start.weights + (end.weights - start.weights) * np.float32(t)
    score = start.sync_score + (end.sync_score - start.sync_score) * t
    return AnimationFrame(
        weights=np.minimum(np.maximum(weights, np.float32(0.0)), np.float32(1.0)),
        joints=_mix_joints(start.joints, end.joints, np.full((len(start.joints), 1), t)),
        sync_score=min(1.0, max(0.0, score)),
    )


def rotate_joint(joints: NDArray[np.float32], joint: int, x: float, y: float, z: float) -> None:
    """Turn a joint further by small Euler angles in radians (x = nod, y = turn, z = tilt), in place."""
    bx, by, bz = x / 2.0, y / 2.0, z / 2.0
    ax, ay, az, aw = (float(value) for value in joints[joint])
    scale = 1.0 / (1.0 + bx * bx + by * by + bz * bz) ** 0.5
    w = aw - ax * bx - ay * by - az * bz
    sign = -scale if w < 0 else scale
    joints[joint] = (
        (aw * bx + ax + ay * bz - az * by) * sign,
        (aw * by - ax * bz + ay + az * bx) * sign,
        (aw * bz + ax * by - ay * bx + az) * sign,
        w * sign,
    )


def limit_motion(wish: AnimationFrame, former: AnimationFrame, elapsed_ms: float) -> AnimationFrame:
    """The pose on the way from `former` to `wish` that a face can reach in this time.

    So truth joins a guess without a pop.

    Args:
        wish: what should be drawn.
        former: what was drawn `elapsed_ms` ago.
        elapsed_ms: milliseconds between the two.
    Returns: `wish` itself where nothing is too quick; bounds: `core.avatar.blend.STEP_MAX` per 20 ms.
    """
    factor = elapsed_ms / PTIME_MS
    weights = wish.weights
    change = weights.astype(np.float64) - former.weights
    step = _WEIGHT_STEP * factor
    if bool((np.abs(change) > step).any()):
        weights = (former.weights + np.minimum(np.maximum(change, -step), step)).astype(np.float32)
    joints = wish.joints
    turn = _turns(former.joints, wish.joints)
    allowed = _JOINT_STEP * factor
    if bool((turn > allowed).any()):
        part = np.minimum(1.0, allowed / np.maximum(turn, _TINY))
        joints = _mix_joints(former.joints, wish.joints, part[:, None])
    if weights is wish.weights and joints is wish.joints:
        return wish
    return AnimationFrame(weights=weights, joints=joints, sync_score=wish.sync_score)


def motion_ratio(pose: AnimationFrame, former: AnimationFrame, elapsed_ms: float) -> float:
    """How quick a face moved, as a part of the quickest that is plausible; above 1 is a pop.

    Args:
        elapsed_ms: milliseconds between the two poses, above 0.
    """
    factor = elapsed_ms / PTIME_MS
    change = np.abs(pose.weights.astype(np.float64) - former.weights) / (_WEIGHT_STEP * factor)
    turn = _turns(former.joints, pose.joints) / (_JOINT_STEP * factor)
    return float(max(change.max(), turn.max()))


def _turns(start: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.float64]:
    """Largest turn about one axis per joint, as 2·tan(angle / 2): float64[7] radians."""
    a, b = start.astype(np.float64), end.astype(np.float64)
    axis = a[:, 3:] * b[:, :3] - b[:, 3:] * a[:, :3]
    axis[:, 0] -= b[:, 1] * a[:, 2] - b[:, 2] * a[:, 1]
    axis[:, 1] -= b[:, 2] * a[:, 0] - b[:, 0] * a[:, 2]
    axis[:, 2] -= b[:, 0] * a[:, 1] - b[:, 1] * a[:, 0]
    cosine = np.abs((a * b).sum(axis=1))
    largest: NDArray[np.float64] = 2.0 * np.abs(axis).max(axis=1) / np.maximum(cosine, _TINY)
    return largest


def _mix_joints(start: NDArray[np.float32], end: NDArray[np.float32], t: NDArray[np.float64]) -> NDArray[np.float32]:
    """Normalised linear interpolation along the shorter arc. Args: t: float64[7, 1]."""
    a, b = start.astype(np.float64), end.astype(np.float64)
    sign = np.where((a * b).sum(axis=1, keepdims=True) < 0.0, -1.0, 1.0)
    mixed = a + (b * sign - a) * t
    length = np.sqrt((mixed * mixed).sum(axis=1, keepdims=True))
    scale = np.where(mixed[:, 3:] < 0.0, -1.0, 1.0) / np.maximum(length, 1e-6)
    mixed *= scale
    lost = length[:, 0] <= 1e-6
    if bool(lost.any()):
        mixed[lost] = (0.0, 0.0, 0.0, 1.0)
    return mixed.astype(np.float32)

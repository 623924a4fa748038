"""AnimationFrame: the face at one instant."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT

__all__ = ["REST_FRAME", "AnimationFrame"]


class AnimationFrame(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """52 ARKit weights, the joint rotations and how sure the lips are.

    Attributes:
        weights: float32[52] in [0, 1], in the order of `core.avatar.rig.BLENDSHAPES`.
        joints: float32[7, 4], unit quaternions (x, y, z, w) with w >= 0, in the order of `core.avatar.rig.JOINTS`.
        sync_score: lip-sync confidence in [0, 1]: 0 = no speech drives this mouth, 1 = exact phonemes do.
    """

    weights: NDArray[np.float32]
    joints: NDArray[np.float32]
    sync_score: float = 0.0


def _rest() -> AnimationFrame:
    weights = np.zeros(BLENDSHAPE_COUNT, dtype=np.float32)
    joints = np.zeros((JOINT_COUNT, 4), dtype=np.float32)
    joints[:, 3] = 1.0
    weights.flags.writeable = False
    joints.flags.writeable = False
    return AnimationFrame(weights=weights, joints=joints)


REST_FRAME: Final = _rest()
"""The rig's rest pose: all weights 0, all joints identity. Every delta's baseline until something is acknowledged."""

"""Small rotations, batched."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["quaternions"]


def quaternions(turns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rotation vectors into unit quaternions.

    The vector is taken as 2·tan(angle/2) about its axis (a Rodrigues vector): within 1 % of the angle up to 0.35 rad,
    and never degenerate.

    Args:
        turns: float32[..., 3], radians about x (pitch, positive looks down), y (yaw, positive towards the character's
            left) and z (roll, positive lifts the character's left).
    Returns: float32[..., 4], (x, y, z, w) with w > 0.
    """
    result: NDArray[Any] = np.empty((*turns.shape[:-1], 4), dtype=np.float32)
    x, y, z = turns[..., 0], turns[..., 1], turns[..., 2]
    w = 1.0 / np.sqrt((x * x + y * y + z * z) * 0.25 + 1.0)
    result[..., :3] = turns
    result[..., :3] *= (0.5 * w)[..., None]
    result[..., 3] = w
    return result

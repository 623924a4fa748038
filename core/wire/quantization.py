"""The integers a frame is made of on the wire, and how channels are grouped. SPEC.md section 4.2.

A quantised state is 81 integers: 52 weights, 7 joints of four (largest component's index and the other three), score.
"""

from __future__ import annotations

from binascii import crc_hqx
from math import inf, sqrt
from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX, BLENDSHAPES
from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT
from core.wire.quaternion import COMPONENT_SCALE, dequantize_quaternion, quantize_quaternion

__all__ = [
    "GROUPS",
    "MIRRORED_JOINT",
    "SAME_JOINT",
    "SCORE",
    "STATE_SIZE",
    "STEP_SHIFTS",
    "WEIGHT_MAX",
    "checksum",
    "checksum_of_parts",
    "dequantize",
    "quantize_joints",
    "quantize_score",
    "quantize_weights",
    "rest_state",
]

STATE_SIZE: Final = BLENDSHAPE_COUNT + 4 * JOINT_COUNT + 1
SCORE: Final = STATE_SIZE - 1
"""Index of the lip-sync score."""
_SCORE_MAX: Final = 255

WEIGHT_MAX: Final[tuple[int, ...]] = tuple(1023 if n.startswith(("jaw", "mouth")) else 255 for n in BLENDSHAPES)
"""Greatest quantised value of each weight: 10 bits for jaw and lips, 8 for all others."""
_MAX_ARRAY: Final[NDArray[np.float64]] = np.array(WEIGHT_MAX, dtype=np.float64)
_MAX_FLOAT32: Final[NDArray[np.float32]] = _MAX_ARRAY.astype(np.float32)
_ZERO: Final = np.zeros(BLENDSHAPE_COUNT, dtype=np.float32)
_ONE: Final = np.ones(BLENDSHAPE_COUNT, dtype=np.float32)
_HALF: Final = np.full(BLENDSHAPE_COUNT, 0.5, dtype=np.float32)

_STEP_TABLE: Final = ((0, 0), (2, 0), (3, 1), (4, 2))
"""Per step code: shift of 10-bit deltas, shift of 8-bit deltas."""
STEP_SHIFTS: Final[tuple[tuple[int, ...], ...]] = tuple(
    tuple(fine if limit == 1023 else coarse for limit in WEIGHT_MAX) for fine, coarse in _STEP_TABLE
)
"""By how many bits each weight's delta is shifted left, for each of the four step codes of a frame."""


def _units(*names: str) -> tuple[tuple[int, int], ...]:
    """`name` is one channel; `name*` its left and right; `a/b` two that move together. A lone channel has -1 second."""
    units: list[tuple[int, int]] = []
    for name in names:
        if name.endswith("*"):
            units.append((BLENDSHAPE_INDEX[name[:-1] + "Left"], BLENDSHAPE_INDEX[name[:-1] + "Right"]))
        elif "/" in name:
            first, second = name.split("/")
            units.append((BLENDSHAPE_INDEX[first], BLENDSHAPE_INDEX[second]))
        else:
            units.append((BLENDSHAPE_INDEX[name], -1))
    return tuple(units)


GROUPS: Final[tuple[tuple[tuple[int, int], ...], ...]] = (
    _units(
        "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLowerDown*", "mouthUpperUp*", "mouthStretch*",
        "mouthSmile*",
    ),
    _units(
        "mouthRollLower", "mouthRollUpper", "mouthPress*", "mouthShrugLower", "mouthShrugUpper", "mouthDimple*",
        "tongueOut", "cheekPuff",
    ),
    _units(
        "eyeBlink*", "eyeSquint*", "eyeWide*", "eyeLookDown*", "eyeLookUp*", "eyeLookInLeft/eyeLookOutRight",
        "eyeLookOutLeft/eyeLookInRight",
    ),
    _units("browDown*", "browInnerUp", "browOuterUp*", "cheekSquint*", "mouthFrown*", "noseSneer*"),
    _units("jawForward", "jawLeft", "jawRight", "mouthLeft", "mouthRight"),
)  # fmt: skip
"""Change-mask groups of units; a unit is one channel or two that usually move alike."""

SAME_JOINT: Final = 3
"""rightEye, whose delta may be stated to be leftEye's."""
MIRRORED_JOINT: Final = 6
"""rightShoulder, whose delta may be stated to be leftShoulder's mirror image."""

_PACK: Final = Struct(f"<{STATE_SIZE}h")
_PACK_JOINTS: Final = Struct(f"<{STATE_SIZE - BLENDSHAPE_COUNT}h")


def rest_state() -> list[int]:
    """State of the rig's rest pose."""
    return [0] * BLENDSHAPE_COUNT + [3, 0, 0, 0] * JOINT_COUNT + [0]


def quantize_weights(weights: NDArray[np.float32]) -> NDArray[np.int32]:
    """int32[52]; what lies outside [0, 1] is clipped and NaN becomes 0.

    Args:
        weights: float32[52].
    """
    scaled = np.fmax(weights, _ZERO)
    np.fmin(scaled, _ONE, out=scaled)
    scaled *= _MAX_FLOAT32
    scaled += _HALF
    return scaled.astype(np.int32)


def quantize_joints(joints: NDArray[np.float32]) -> list[int]:
    """Four integers for each joint, in a row.

    Args:
        joints: float32[7, 4], (x, y, z, w); need not be of length 1.
    """
    values: list[int] = []
    rows: list[list[float]] = joints.tolist()
    for x, y, z, w in rows:
        square = x * x + y * y + z * z + w * w
        if w > 0.0 and 1e-12 < square <= 2.0 * w * w < inf:  # the usual case: w is the largest and positive
            scale = COMPONENT_SCALE / sqrt(square)
            values += (3, round(x * scale), round(y * scale), round(z * scale))
        else:
            values += quantize_quaternion(x, y, z, w)
    return values


def quantize_score(score: float) -> int:
    """0 to 255; NaN becomes 0."""
    return round(min(score, 1.0) * _SCORE_MAX) if score > 0.0 else 0


def dequantize(packed: bytes) -> AnimationFrame:
    """The frame of a packed state (`checksum` gives it). Its arrays are read-only."""
    values = np.frombuffer(packed, dtype="<i2")
    weights = (values[:BLENDSHAPE_COUNT] / _MAX_ARRAY).astype(np.float32)
    state: list[int] = values[BLENDSHAPE_COUNT:].tolist()
    flat: list[float] = []
    for start in range(0, 4 * JOINT_COUNT, 4):
        flat += dequantize_quaternion(state[start], state[start + 1], state[start + 2], state[start + 3])
    joints = np.array(flat, dtype=np.float32).reshape(JOINT_COUNT, 4)
    weights.flags.writeable = False
    joints.flags.writeable = False
    return AnimationFrame(weights=weights, joints=joints, sync_score=state[-1] / _SCORE_MAX)


def checksum(state: list[int]) -> tuple[int, bytes]:
    """16-bit checksum of a state and its packed form.

    CRC-16 with polynomial 0x1021 and initial value 0xFFFF over the 81 integers as little-endian 16-bit words.
    """
    packed = _PACK.pack(*state)
    return crc_hqx(packed, 0xFFFF), packed


def checksum_of_parts(weights: NDArray[np.int32], joints: list[int], score: int) -> int:
    """`checksum` of a state whose parts are apart."""
    packed = weights.astype("<i2").tobytes() + _PACK_JOINTS.pack(*joints, score)
    return crc_hqx(packed, 0xFFFF)

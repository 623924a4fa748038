"""The face while nothing comes: blinks, breath, a drifting head, small glances. Mirrors edge/client/src/stream/idle.ts.

A pure function of time: the same instant gives the same face, in Python and in the browser.
"""

from __future__ import annotations

from math import cos, floor, pi, sin
from typing import Final

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX, JOINT_INDEX
from core.stream.pose import rotate_joint, smoothstep

__all__ = ["blink_at", "idle_pose"]

_BLINK_CLOSE_MS: Final = 70.0
_BLINK_HOLD_MS: Final = 30.0
_BLINK_OPEN_MS: Final = 140.0
_BLINK_INTERVAL_MS: Final = 3_900.0
_BREATH_MS: Final = 4_300.0
_GAZE_HOLD_MS: Final = 2_300.0
_REST_SMILE: Final = 0.16
"""A face without any smile looks sad."""
_MASK: Final = 0xFFFFFFFF


def blink_at(time_ms: float) -> float:
    """How far the lids are closed, 0 open to 1 closed: one blink per slot of 3.9 s, at an uneven place in it."""
    slot = floor(time_ms / _BLINK_INTERVAL_MS)
    since = time_ms - (slot + 0.15 + 0.6 * _noise(slot)) * _BLINK_INTERVAL_MS
    if since < 0.0 or since > _BLINK_CLOSE_MS + _BLINK_HOLD_MS + _BLINK_OPEN_MS:
        return 0.0
    if since < _BLINK_CLOSE_MS:
        return smoothstep(since / _BLINK_CLOSE_MS)
    return 1.0 - smoothstep((since - _BLINK_CLOSE_MS - _BLINK_HOLD_MS) / _BLINK_OPEN_MS)


def idle_pose(time_ms: float, amount: float = 1.0) -> AnimationFrame:
    """The rest pose, alive.

    Args:
        time_ms: any monotonic clock.
        amount: 0 adds nothing but the smile, 1 everything.
    """
    weights, joints = REST_FRAME.weights.copy(), REST_FRAME.joints.copy()
    weights[_LIDS] = blink_at(time_ms) * min(1.0, amount * 3.0)
    weights[_SMILES] = _REST_SMILE
    breath = (0.5 - 0.5 * cos(2.0 * pi * time_ms / _BREATH_MS)) * amount
    rotate_joint(joints, JOINT_INDEX["spine"], -0.012 * breath, 0.0, 0.0)
    rotate_joint(joints, JOINT_INDEX["leftShoulder"], 0.0, 0.0, 0.022 * breath)
    rotate_joint(joints, JOINT_INDEX["rightShoulder"], 0.0, 0.0, -0.022 * breath)
    seconds = time_ms / 1_000.0
    nod = (sin(seconds * 0.71) + 0.6 * sin(seconds * 1.31 + 1.0)) * 0.012 * amount
    turn = (sin(seconds * 0.53 + 2.0) + 0.5 * sin(seconds * 1.07)) * 0.024 * amount
    tilt = sin(seconds * 0.37 + 4.0) * 0.014 * amount
    rotate_joint(joints, JOINT_INDEX["head"], nod, turn, tilt)
    x, y = _gaze_at(time_ms)
    x, y = x * 0.16 * amount, y * 0.1 * amount
    weights[_RIGHTWARD], weights[_LEFTWARD] = max(0.0, x), max(0.0, -x)
    weights[_UPWARD], weights[_DOWNWARD] = max(0.0, y), max(0.0, -y)
    return AnimationFrame(weights=weights, joints=joints)


def _both(*names: str) -> list[int]:
    return [BLENDSHAPE_INDEX[name] for name in names]


_LIDS: Final = _both("eyeBlinkLeft", "eyeBlinkRight")
_SMILES: Final = _both("mouthSmileLeft", "mouthSmileRight")
_RIGHTWARD: Final = _both("eyeLookOutLeft", "eyeLookInRight")
_LEFTWARD: Final = _both("eyeLookInLeft", "eyeLookOutRight")
_UPWARD: Final = _both("eyeLookUpLeft", "eyeLookUpRight")
_DOWNWARD: Final = _both("eyeLookDownLeft", "eyeLookDownRight")


def _noise(index: int) -> float:
    """A repeatable pseudo-random number in [0, 1) per integer (an integer hash after Mueller)."""
    x = (index & _MASK) ^ 0x9E3779B9
    x = (((x >> 16) ^ x) * 0x45D9F3B) & _MASK
    x = (((x >> 16) ^ x) * 0x45D9F3B) & _MASK
    return ((x >> 16) ^ x) / 2**32


def _place(index: int) -> tuple[float, float]:
    if _noise(index * 3) < 0.45:
        return 0.0, 0.0
    return _noise(index * 3 + 1) * 2.0 - 1.0, _noise(index * 3 + 2) * 2.0 - 1.0


def _gaze_at(time_ms: float) -> tuple[float, float]:
    """Where the eyes rest, -1 to 1 per axis: short jumps between places near the viewer, as real eyes do."""
    slot = floor(time_ms / _GAZE_HOLD_MS)
    progress = smoothstep((time_ms / _GAZE_HOLD_MS - slot) / 0.03)
    (from_x, from_y), (to_x, to_y) = _place(slot - 1), _place(slot)
    return from_x + (to_x - from_x) * progress, from_y + (to_y - from_y) * progress

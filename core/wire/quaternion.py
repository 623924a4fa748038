"""Unit quaternions as smallest-three: the largest component by its index, the others in 12 bits. SPEC.md 4.3."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import Final

__all__ = ["COMPONENT_MAX", "COMPONENT_SCALE", "dequantize_quaternion", "quantize_quaternion"]

COMPONENT_MAX: Final = 2047
"""Quantised components lie in ±this; a step of one turns a joint by about 0.04 degrees."""
COMPONENT_SCALE: Final = COMPONENT_MAX / sqrt(0.5)
"""Quantised steps per 1 of a component, for quaternions of length 1."""
_STEP: Final = sqrt(0.5) / COMPONENT_MAX


def quantize_quaternion(x: float, y: float, z: float, w: float) -> tuple[int, int, int, int]:
    """Largest component's index (0 to 3 = x, y, z, w) and the other three in order, the largest made positive.

    A quaternion that is not finite, or 0, becomes the identity. Any other is normalised.
    """
    square = x * x + y * y + z * z + w * w
    if not (isfinite(square) and square > 1e-12):
        return 3, 0, 0, 0
    scale = COMPONENT_SCALE / sqrt(square)
    # Two equally large components may tie; the last wins, so that w does wherever it can.
    ax, ay, az, aw = abs(x), abs(y), abs(z), abs(w)
    if aw >= ax and aw >= ay and aw >= az:
        largest, a, b, c, sign = 3, x, y, z, w
    elif az >= ax and az >= ay:
        largest, a, b, c, sign = 2, x, y, w, z
    elif ay >= ax:
        largest, a, b, c, sign = 1, x, z, w, y
    else:
        largest, a, b, c, sign = 0, y, z, w, x
    if sign < 0:
        scale = -scale
    return largest, _clamp(round(a * scale)), _clamp(round(b * scale)), _clamp(round(c * scale))


def _clamp(value: int) -> int:
    return COMPONENT_MAX if value > COMPONENT_MAX else -COMPONENT_MAX if value < -COMPONENT_MAX else value


def dequantize_quaternion(largest: int, a: int, b: int, c: int) -> tuple[float, float, float, float]:
    """(x, y, z, w) of length 1 with w >= 0.

    Components that no unit quaternion has (their squares exceed 1) give a largest component of 0, then normalised.
    """
    fa, fb, fc = a * _STEP, b * _STEP, c * _STEP
    square = fa * fa + fb * fb + fc * fc
    if square < 1.0:
        rest = sqrt(1.0 - square)
    else:
        rest, length = 0.0, sqrt(square)
        fa, fb, fc = fa / length, fb / length, fc / length
    if largest == 3:
        return fa, fb, fc, rest
    x, y, z, w = ((rest, fa, fb, fc), (fa, rest, fb, fc), (fa, fb, rest, fc))[largest]
    return (-x, -y, -z, -w) if w < 0 else (x, y, z, w)

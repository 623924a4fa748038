from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.wire.quaternion import COMPONENT_MAX, dequantize_quaternion, quantize_quaternion

_COMPONENT = st.floats(-1, 1)
_INTEGER = st.integers(-COMPONENT_MAX, COMPONENT_MAX)


@given(q=st.tuples(_COMPONENT, _COMPONENT, _COMPONENT, _COMPONENT), scale=st.floats(0.01, 100))
def test_any_rotation_survives_within_a_tenth_of_a_degree(q: tuple[float, ...], scale: float) -> None:
    length = math.hypot(*q)
    if length < 1e-3:
        return
    x, y, z, w = (scale * value for value in q)
    decoded = dequantize_quaternion(*quantize_quaternion(x, y, z, w))
    unit = [value / length for value in q]
    distance = min(math.dist(decoded, unit), math.dist(decoded, [-value for value in unit]))
    assert math.degrees(4 * math.asin(distance / 2)) < 0.1
    assert decoded[3] >= 0


@given(largest=st.integers(0, 3), a=_INTEGER, b=_INTEGER, c=_INTEGER)
def test_any_integers_give_a_unit_quaternion(largest: int, a: int, b: int, c: int) -> None:
    decoded = dequantize_quaternion(largest, a, b, c)
    assert math.hypot(*decoded) == pytest.approx(1.0)
    assert decoded[3] >= 0


@pytest.mark.parametrize("q", [(0.0,) * 4, (math.nan, 0.0, 0.0, 1.0), (math.inf, 0.0, 0.0, 1.0), (1e-9,) * 4])
def test_what_is_no_rotation_is_none(q: tuple[float, float, float, float]) -> None:
    assert quantize_quaternion(*q) == (3, 0, 0, 0)
    assert dequantize_quaternion(3, 0, 0, 0) == (0.0, 0.0, 0.0, 1.0)


def test_ties_go_to_w() -> None:
    assert quantize_quaternion(0.5, 0.5, 0.5, 0.5)[0] == 3
    assert quantize_quaternion(0.5, 0.5, 0.5, -0.5) == (3, -1447, -1447, -1447)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.avatar.rotation import quaternions

_ANGLE = st.floats(-3.0, 3.0, width=32)


@given(st.lists(st.tuples(_ANGLE, _ANGLE, _ANGLE), min_size=1, max_size=5))
def test_always_unit_with_positive_w(turns: list[tuple[float, float, float]]) -> None:
    result = quaternions(np.array(turns, dtype=np.float32))
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1.0, atol=1e-6)
    assert np.all(result[:, 3] > 0.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_angles_are_angles(axis: int) -> None:
    turn = np.zeros((1, 3), dtype=np.float32)
    turn[0, axis] = 0.3
    result = quaternions(turn)[0]
    assert 2.0 * np.arctan2(result[axis], result[3]) == pytest.approx(0.3, rel=0.01)


def test_no_turn_is_identity() -> None:
    np.testing.assert_array_equal(quaternions(np.zeros((2, 7, 3), dtype=np.float32))[..., 3], 1.0)

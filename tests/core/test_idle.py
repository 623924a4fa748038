"""The idle layer: alive at every instant, and never quicker than a face."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from core.avatar.rig import BLENDSHAPE_INDEX
from core.stream.idle import blink_at, idle_pose
from core.stream.pose import motion_ratio


def test_it_blinks_but_not_too_often() -> None:
    closed = sum(blink_at(ms) > 0.1 for ms in range(60_000)) / 60_000
    assert 0.02 < closed < 0.08
    assert max(blink_at(ms) for ms in range(10_000)) > 0.95


def test_it_is_never_still() -> None:
    poses = [idle_pose(ms) for ms in range(0, 20_000, 100)]
    for before, after in pairwise(poses):
        moved = max(np.abs(after.weights - before.weights).max(), np.abs(after.joints - before.joints).max())
        assert moved > 1e-4


def test_it_does_not_pop() -> None:
    poses = [idle_pose(ms) for ms in range(0, 60_000, 10)]
    assert max(motion_ratio(b, a, 10.0) for a, b in pairwise(poses)) < 1.0


@pytest.mark.parametrize("time_ms", [-5_000.0, 0.0, 1e9])
def test_any_time_gives_a_pose(time_ms: float) -> None:
    pose = idle_pose(time_ms)
    assert np.isfinite(pose.weights).all()
    assert np.allclose(np.linalg.norm(pose.joints, axis=1), 1.0, atol=1e-5)


def test_without_liveliness_only_the_smile_is_left() -> None:
    pose = idle_pose(1_234.0, 0.0)
    assert pose.weights[BLENDSHAPE_INDEX["mouthSmileLeft"]] == pytest.approx(0.16)
    assert np.count_nonzero(pose.weights) == 2

"""Poses between frames, and the pace that no face exceeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX, JOINT_INDEX
from core.limits import EYE_STEP_RAD_MAX, JOINT_STEP_RAD_MAX, LID_STEP_MAX, WEIGHT_STEP_MAX
from core.stream.pose import limit_motion, mix_poses, motion_ratio, rotate_joint, smoothstep


def _pose(seed: int) -> AnimationFrame:
    random = np.random.default_rng(seed)
    joints = random.normal(size=(7, 4)).astype(np.float32)
    joints /= np.linalg.norm(joints, axis=1, keepdims=True)
    joints[joints[:, 3] < 0] *= -1
    return AnimationFrame(weights=random.random(52).astype(np.float32), joints=joints, sync_score=0.5)


def test_mixing_gives_the_ends_and_the_middle() -> None:
    a, b = _pose(1), _pose(2)
    assert np.allclose(mix_poses(a, b, 0.0).weights, a.weights)
    assert np.allclose(mix_poses(a, b, 1.0).weights, b.weights)
    assert np.allclose(mix_poses(a, b, 0.5).weights, (a.weights + b.weights) / 2)
    assert np.allclose(np.abs((mix_poses(a, b, 1.0).joints * b.joints).sum(axis=1)), 1.0, atol=1e-6)


@given(st.integers(0, 99), st.integers(0, 99), st.floats(-1, 2))
def test_a_mixture_is_a_pose(first: int, second: int, t: float) -> None:
    mixed = mix_poses(_pose(first), _pose(second), t)
    assert mixed.weights.min() >= 0.0
    assert mixed.weights.max() <= 1.0
    assert np.allclose(np.linalg.norm(mixed.joints, axis=1), 1.0, atol=1e-5)
    assert (mixed.joints[:, 3] >= 0).all()


def test_opposite_joints_do_not_vanish() -> None:
    degenerate = AnimationFrame(weights=REST_FRAME.weights, joints=np.zeros((7, 4), dtype=np.float32))
    assert np.allclose(mix_poses(degenerate, degenerate, 0.5).joints, REST_FRAME.joints)


@settings(max_examples=60)
@given(st.integers(0, 999), st.integers(0, 999), st.floats(0.5, 60))
def test_no_limited_motion_is_a_pop(first: int, second: int, elapsed_ms: float) -> None:
    former = _pose(first)
    drawn = limit_motion(_pose(second), former, elapsed_ms)
    assert motion_ratio(drawn, former, elapsed_ms) <= 1.0 + 1e-3


def test_limited_motion_arrives() -> None:
    drawn, wish = _pose(3), _pose(4)
    for _ in range(300):
        drawn = limit_motion(wish, drawn, 16.0)
    assert np.allclose(drawn.weights, wish.weights, atol=1e-6)
    assert np.allclose(drawn.joints, wish.joints, atol=1e-4)


def test_slow_motion_is_left_alone() -> None:
    wish = mix_poses(REST_FRAME, _pose(5), 0.001)
    assert limit_motion(wish, REST_FRAME, 20.0) is wish


@pytest.mark.parametrize(
    ("name", "step"), [("jawOpen", WEIGHT_STEP_MAX), ("eyeBlinkLeft", LID_STEP_MAX), ("eyeSquintLeft", WEIGHT_STEP_MAX)]
)
def test_weights_move_by_their_step(name: str, step: float) -> None:
    weights = np.ones(52, dtype=np.float32)
    drawn = limit_motion(AnimationFrame(weights=weights, joints=REST_FRAME.joints), REST_FRAME, 20.0)
    assert drawn.weights[BLENDSHAPE_INDEX[name]] == pytest.approx(step)


@pytest.mark.parametrize(("name", "step"), [("head", JOINT_STEP_RAD_MAX), ("leftEye", EYE_STEP_RAD_MAX)])
def test_joints_turn_by_their_step(name: str, step: float) -> None:
    joints = REST_FRAME.joints.copy()
    rotate_joint(joints, JOINT_INDEX[name], 0.3, 0.0, 0.0)
    drawn = limit_motion(AnimationFrame(weights=REST_FRAME.weights, joints=joints), REST_FRAME, 20.0)
    assert 2 * drawn.joints[JOINT_INDEX[name], 0] == pytest.approx(step, rel=0.02)


def test_smoothstep_stays_in_its_range() -> None:
    assert [smoothstep(x) for x in (-1.0, 0.0, 0.5, 1.0, 2.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]

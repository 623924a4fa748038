from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.avatar.blend import STEP_MAX, layer_mouth, limit_steps
from core.avatar.expression import CHANNELS, channel
from core.limits import BLENDSHAPE_COUNT
from core.speech.visemes import ARTICULATORS

PARTING = (
    "mouthFunnel",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "tongueOut",
)


def layered(
    seals: tuple[float, float], seed: int, energy: float = 0.3
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    random = np.random.default_rng(seed)
    pose = random.uniform(0.0, 0.6, (3, CHANNELS)).astype(np.float32)
    mouth = random.uniform(0.0, 1.0, (3, len(ARTICULATORS))).astype(np.float32)
    layer_mouth(
        pose, mouth, np.tile(np.array([seals], dtype=np.float32), (3, 1)),
        np.full(3, 1.2, dtype=np.float32), np.full(3, energy, dtype=np.float32),
    )  # fmt: skip
    return pose


@given(st.integers(0, 10**6))
def test_a_seal_holds_whatever_the_rest_of_the_face_does(seed: int) -> None:
    pose = layered((1.0, 0.0), seed)
    np.testing.assert_allclose(pose[:, channel("jawOpen")], pose[:, channel("mouthClose")], atol=1e-6)
    assert pose[:, channel("jawOpen")].max() <= 0.12001
    for name in PARTING:
        np.testing.assert_allclose(pose[:, channel(name)], 0.0, atol=1e-6)


@given(st.integers(0, 10**6))
def test_the_lower_lip_meets_the_teeth(seed: int) -> None:
    pose = layered((0.0, 1.0), seed)
    np.testing.assert_allclose(pose[:, channel("mouthLowerDownLeft")], 0.0, atol=1e-6)
    np.testing.assert_allclose(pose[:, channel("mouthRollLower")], 0.42, atol=1e-6)
    np.testing.assert_allclose(pose[:, channel("jawOpen")], 0.07, atol=1e-6)


@given(st.integers(0, 10**6), st.floats(0.0, 0.2))
def test_no_step_is_larger_than_a_face_can_move(seed: int, elapsed_s: float) -> None:
    random = np.random.default_rng(seed)
    former = random.uniform(0.0, 1.0, (4, CHANNELS)).astype(np.float32)
    wish = random.normal(0.0, 3.0, (4, CHANNELS)).astype(np.float32)
    shown = limit_steps(wish, former, np.full(4, elapsed_s))
    assert np.all(np.abs(shown - former) <= STEP_MAX * (elapsed_s / 0.02) + 1e-5)
    assert shown[:, :BLENDSHAPE_COUNT].min() >= 0.0
    assert shown[:, :BLENDSHAPE_COUNT].max() <= 1.0


def test_the_first_pose_is_shown_at_once() -> None:
    wish = np.full((1, CHANNELS), 0.9, dtype=np.float32)
    shown = limit_steps(wish.copy(), np.zeros((1, CHANNELS), dtype=np.float32), np.array([np.inf]))
    np.testing.assert_array_equal(shown, wish)

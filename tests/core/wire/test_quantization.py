from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.avatar.frame import REST_FRAME
from core.avatar.rig import BLENDSHAPE_INDEX, BLENDSHAPES, JOINTS
from core.wire.quantization import (
    GROUPS,
    MIRRORED_JOINT,
    SAME_JOINT,
    STATE_SIZE,
    STEP_SHIFTS,
    WEIGHT_MAX,
    checksum,
    dequantize,
    quantize_joints,
    quantize_score,
    quantize_weights,
    rest_state,
)
from core.wire.quaternion import quantize_quaternion


def _channels() -> list[int]:
    return [index for units in GROUPS for unit in units for index in unit if index >= 0]


def test_every_weight_has_one_place_in_the_masks() -> None:
    assert sorted(_channels()) == list(range(len(BLENDSHAPES)))


def test_pairs_have_the_same_precision() -> None:
    for units in GROUPS:
        for first, second in units:
            assert second < 0 or WEIGHT_MAX[first] == WEIGHT_MAX[second]


def test_jaw_and_lips_have_ten_bits_and_all_others_eight() -> None:
    assert WEIGHT_MAX[BLENDSHAPE_INDEX["jawOpen"]] == 1023
    assert WEIGHT_MAX[BLENDSHAPE_INDEX["mouthPucker"]] == 1023
    assert WEIGHT_MAX[BLENDSHAPE_INDEX["eyeBlinkLeft"]] == 255
    assert WEIGHT_MAX.count(1023) == 27


def test_no_step_is_coarser_than_a_64th() -> None:
    for shifts in STEP_SHIFTS:
        for shift, limit in zip(shifts, WEIGHT_MAX, strict=True):
            assert (1 << shift) / limit <= 1 / 63


def test_paired_joints_are_the_right_ones() -> None:
    assert (JOINTS[SAME_JOINT - 1], JOINTS[SAME_JOINT]) == ("leftEye", "rightEye")
    assert (JOINTS[MIRRORED_JOINT - 1], JOINTS[MIRRORED_JOINT]) == ("leftShoulder", "rightShoulder")


def test_the_rest_state_is_the_rest_frame() -> None:
    frame = dequantize(checksum(rest_state())[1])
    np.testing.assert_array_equal(frame.weights, REST_FRAME.weights)
    np.testing.assert_array_equal(frame.joints, REST_FRAME.joints)
    assert frame.sync_score == 0.0
    assert len(rest_state()) == STATE_SIZE == 81
    assert quantize_joints(REST_FRAME.joints) == rest_state()[52:80]


@given(values=st.lists(st.floats(width=32), min_size=52, max_size=52), score=st.floats())
def test_any_floats_become_integers_in_range(values: list[float], score: float) -> None:
    weights = np.array(values, dtype=np.float32)
    quantised = quantize_weights(weights)
    assert (quantised >= 0).all()
    assert (quantised <= np.array(WEIGHT_MAX)).all()
    sound = np.clip(np.nan_to_num(weights, nan=0.0), 0.0, 1.0)
    assert np.abs(quantised / np.array(WEIGHT_MAX) - sound).max() <= 0.5 / 255 + 1e-6
    assert 0 <= quantize_score(score) <= 255


def test_the_checksum_is_that_of_the_specification() -> None:
    # CRC-16/IBM-3740 of "123456789" is 0x29B1; here over 162 bytes, computed bit by bit.
    state = rest_state()
    state[3], state[60] = 1023, -2047
    crc = 0xFFFF
    for value in state:
        for byte in ((value & 0xFFFF) & 0xFF, (value & 0xFFFF) >> 8):
            crc ^= byte << 8
            for _ in range(8):
                crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    assert checksum(state)[0] == crc


@given(st.lists(st.floats(-2, 2, width=32), min_size=28, max_size=28))
def test_joints_are_quantised_one_by_one(values: list[float]) -> None:
    joints = np.array(values, dtype=np.float32).reshape(7, 4)
    assert quantize_joints(joints) == [value for row in joints.tolist() for value in quantize_quaternion(*row)]

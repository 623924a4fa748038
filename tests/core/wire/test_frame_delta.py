from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.avatar.rig import BLENDSHAPE_INDEX
from core.wire.bits import BitReader, BitWriter
from core.wire.frame_delta import read_joints, read_weights, write_joints, write_weights
from core.wire.quantization import WEIGHT_MAX, rest_state

_WEIGHTS = st.tuples(*[st.integers(0, limit) for limit in WEIGHT_MAX])
_JOINT = st.tuples(st.integers(0, 3), *[st.integers(-2047, 2047)] * 3)
_JOINTS = st.tuples(*[_JOINT] * 7)


@given(before=_WEIGHTS, after=_WEIGHTS)
@settings(deadline=None)
def test_weights_reach_what_the_sender_thinks(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    sent, received = rest_state(), rest_state()
    sent[:52] = received[:52] = list(before)
    writer = BitWriter()
    sent[:52] = write_weights(writer, np.array(after, dtype=np.int32), np.array(before, dtype=np.int32)).tolist()
    reader = BitReader(writer.to_bytes())
    read_weights(reader, received)
    reader.finish()
    assert received == sent
    assert all(abs(a - b) <= (8 if limit == 1023 else 2) for a, b, limit in zip(sent, after, WEIGHT_MAX, strict=False))


@given(before=_JOINTS, after=_JOINTS, near=st.booleans())
@settings(deadline=None)
def test_joints_reach_what_the_sender_thinks(
    before: tuple[tuple[int, ...], ...], after: tuple[tuple[int, ...], ...], near: bool
) -> None:
    target = [value for joint in after for value in joint]
    sent, received = rest_state(), rest_state()
    sent[52:80] = received[52:80] = [value for joint in before for value in joint]
    if near:
        target = [value if index % 4 == 0 else target[index] // 100 for index, value in enumerate(sent[52:80])]
    writer = BitWriter()
    sent[52:80] = write_joints(writer, target, sent[52:80])
    reader = BitReader(writer.to_bytes())
    read_joints(reader, received)
    reader.finish()
    assert received == sent
    assert all(abs(a - b) <= 1 for a, b in zip(sent[52:80], target, strict=True))


def _joint_bits(target: list[int]) -> int:
    writer = BitWriter()
    write_joints(writer, target, rest_state()[52:80])
    return writer.size


def test_eyes_that_turn_together_and_mirrored_shoulders_cost_one_bit() -> None:
    rest = rest_state()[52:80]
    for left, same in ((8, (30, -20, 5)), (20, (30, 20, -5))):
        alone, both, apart = rest.copy(), rest.copy(), rest.copy()
        alone[left + 1 : left + 4] = both[left + 1 : left + 4] = apart[left + 1 : left + 4] = 30, -20, 5
        both[left + 5 : left + 8] = same
        apart[left + 5 : left + 8] = 30, -20, 7 if left == 8 else 5
        assert _joint_bits(both) == _joint_bits(alone) + 1
        assert _joint_bits(apart) > _joint_bits(both) + 10


def test_a_pair_that_moves_alike_costs_one_bit_more_than_one_channel() -> None:
    def bits(**targets: int) -> int:
        weights = np.zeros(52, dtype=np.int32)
        for name, value in targets.items():
            weights[BLENDSHAPE_INDEX[name]] = value
        writer = BitWriter()
        write_weights(writer, weights, np.zeros(52, dtype=np.int32))
        return writer.size

    assert bits(eyeBlinkLeft=200, eyeBlinkRight=200) == bits(jawForward=800) + 1 + 2
    assert bits(eyeBlinkLeft=200, eyeBlinkRight=190) > bits(eyeBlinkLeft=200, eyeBlinkRight=200) + 3


def test_nothing_costs_fourteen_bits() -> None:
    writer = BitWriter()
    write_weights(writer, np.zeros(52, dtype=np.int32), np.zeros(52, dtype=np.int32))
    write_joints(writer, rest_state()[52:80], rest_state()[52:80])
    assert writer.size == 14

"""Decoding, acknowledging, and asking for a keyframe: divergence ends with the next keyframe."""

from __future__ import annotations

import numpy as np

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.errors import Dropped
from core.session.state import FaceState
from core.stream.reconciliation import MotionReceiver
from core.wire.access_unit import AccessUnit, AccessUnitFlags
from core.wire.frame_codec import FrameEncoder


def _face(number: int) -> AnimationFrame:
    weights = np.full(52, (number % 10) / 10, dtype=np.float32)
    return AnimationFrame(weights=weights, joints=REST_FRAME.joints)


def _unit(number: int, frame: bytes, *, epoch: int = 1, flags: int = 0) -> AccessUnit:
    return AccessUnit(
        epoch=epoch, sequence_number=number, flags=AccessUnitFlags(flags), state=FaceState.IDLE, frame=frame
    )


def _units(count: int, acknowledged: int | None = None) -> list[AccessUnit]:
    encoder, units = FrameEncoder(), []
    for number in range(count):
        units.append(_unit(number, encoder.encode(_face(number), number)))
        if number == acknowledged:
            encoder.acknowledge(number)
    return units


def test_decodes_and_acknowledges_with_a_bitmap() -> None:
    receiver = MotionReceiver()
    for unit in _units(6):
        if unit.sequence_number != 3:
            assert isinstance(receiver.receive(unit), AnimationFrame)
    feedback = receiver.report(0.0, playout_timestamp=7)
    assert feedback is not None
    assert (feedback.acknowledged, feedback.received, feedback.epoch) == (5, 0b11101, 1)
    assert feedback.playout_timestamp == 7
    assert receiver.report(99.0) is None
    assert receiver.report(100.0) is not None


def test_says_nothing_when_there_is_nothing_to_say() -> None:
    assert MotionReceiver().report(0.0) is None


def test_a_late_unit_fills_its_bit_and_counts_once() -> None:
    receiver, units = MotionReceiver(), _units(4)
    for number in (0, 3, 1):
        receiver.receive(units[number])
    assert receiver.receive(units[1]) == Dropped("duplicate")
    assert receiver.receive(units[3]) == Dropped("duplicate")
    feedback = receiver.report(0.0)
    assert feedback is not None
    assert feedback.received == 0b110


def test_a_repaired_unit_is_acknowledged_but_not_received() -> None:
    receiver, units = MotionReceiver(), _units(3)
    receiver.receive(units[0], repaired=True)
    receiver.receive(units[2])
    receiver.receive(units[1], repaired=True)
    feedback = receiver.report(0.0)
    assert feedback is not None
    assert (feedback.acknowledged, feedback.received) == (2, 0)


def test_a_missing_baseline_asks_at_once_until_a_keyframe_comes() -> None:
    receiver, units = MotionReceiver(), _units(10, acknowledged=2)
    assert isinstance(receiver.receive(units[0]), AnimationFrame)
    assert receiver.report(0.0) is not None
    assert receiver.receive(units[5]) == Dropped("baseline-missing")
    urgent = receiver.report(20.0)
    assert urgent is not None
    assert urgent.keyframe_request
    assert receiver.report(30.0) is None
    assert receiver.report(40.0) is not None
    assert isinstance(receiver.receive(_unit(11, FrameEncoder().encode(_face(1), 11))), AnimationFrame)
    assert not receiver.keyframe_request


def test_a_diverged_frame_is_not_drawn() -> None:
    receiver, units = MotionReceiver(), _units(6, acknowledged=2)
    for unit in units[:5]:
        receiver.receive(unit)
    data = units[5].frame
    assert receiver.receive(_unit(5, bytes((data[0] ^ 1,)) + data[1:])) == Dropped("diverged")
    assert receiver.keyframe_request


def test_damage_is_counted_and_asks_for_a_keyframe() -> None:
    receiver = MotionReceiver()
    assert receiver.receive(_unit(0, b"\0")) == Dropped("bad-frame")
    assert receiver.keyframe_request
    assert receiver.dropped == {"bad-frame": 1}


def test_previews_empty_units_and_old_epochs_are_not_drawn() -> None:
    receiver, frame = MotionReceiver(), FrameEncoder().encode(_face(1), 0)
    assert receiver.receive(_unit(0, frame, flags=AccessUnitFlags.PREVIEW)) == Dropped("preview")
    assert isinstance(receiver.receive(_unit(0, frame, epoch=0xFFFF)), AnimationFrame)
    assert isinstance(receiver.receive(_unit(0, frame, epoch=0)), AnimationFrame)
    assert receiver.receive(_unit(0, frame, epoch=0xFFFF)) == Dropped("old-epoch")
    assert receiver.receive(_unit(1, b"", epoch=0)) == Dropped("empty")


def test_a_newer_epoch_that_cannot_be_decoded_locks_nobody_out() -> None:
    receiver, units = MotionReceiver(), _units(10, acknowledged=2)
    for unit in units[:5]:
        receiver.receive(unit)
    assert receiver.receive(_unit(5, units[5].frame, epoch=0x2001)) == Dropped("baseline-missing")
    assert isinstance(receiver.receive(units[6]), AnimationFrame)


def test_a_jump_of_numbers_clears_the_bitmap() -> None:
    receiver = MotionReceiver()
    for number in (0, 1, 200):
        receiver.receive(_unit(number, FrameEncoder().encode(_face(1), number)))
    feedback = receiver.report(0.0)
    assert feedback is not None
    assert (feedback.acknowledged, feedback.received) == (200, 0)

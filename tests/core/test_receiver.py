"""What a viewer does with arriving units: repairs, faces, feedback; and that no packet breaks it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.limits import TICK_SAMPLES
from core.session.state import FaceState
from core.stream.fec import FecEncoder, FecTier, encode_block
from core.stream.receiver import ReceivedUnit, UnitReceiver
from core.wire.access_unit import AccessUnit, AccessUnitFlags, encode_access_unit
from core.wire.frame_codec import FrameEncoder
from core.wire.opus_padding import duration_samples, silence

_VOICE = b"\x78" + bytes(range(40, 80))
_Packet = tuple[bytes, int]


def _face(number: int) -> AnimationFrame:
    weights = np.full(52, (number % 10) / 10, dtype=np.float32)
    return AnimationFrame(weights=weights, joints=REST_FRAME.joints)


def _track(
    count: int,
    *,
    first: int = 0,
    epoch: int = 1,
    tier: FecTier = FecTier.F2,
    sound: bool = True,
    acknowledged: int | None = None,
    opus: bytes = _VOICE,
    flags: int = 0,
    start: int = 0,
    without_frames: bool = False,
) -> list[_Packet]:
    """Packets with their timestamps, unit i of number `first + i`."""
    frames, protection, packets = FrameEncoder(), FecEncoder(sound=sound), []
    span = duration_samples(opus)
    for index in range(count):
        number = first + index & 0xFFFF
        unit = AccessUnit(
            epoch=epoch,
            sequence_number=number,
            flags=AccessUnitFlags(flags),
            state=FaceState.IDLE,
            frame=b"" if without_frames else frames.encode(_face(index), number),
        )
        block = encode_block(unit, span_ticks=span, opus=opus if sound else None)
        fec = protection.protect(number, block, tier=tier, window=4)
        packets.append((encode_access_unit(replace(unit, fec=fec), opus), start + index * span & 0xFFFFFFFF))
        if index == acknowledged:
            frames.acknowledge(number)
    return packets


def _play(receiver: UnitReceiver, packets: list[_Packet], *, skip: set[int] | None = None) -> list[ReceivedUnit]:
    units: list[ReceivedUnit] = []
    for index, (packet, timestamp) in enumerate(packets):
        if index not in (skip or ()):
            units += receiver.receive(packet, timestamp, index * 0.02)
    return units


def _numbers(units: list[ReceivedUnit]) -> list[int]:
    return [unit.sequence_number for unit in units]


def test_units_come_out_with_time_sound_and_face() -> None:
    receiver = UnitReceiver(protects_sound=True)
    units = _play(receiver, _track(6, start=0xFFFFFFFF - 2 * TICK_SAMPLES))
    assert _numbers(units) == [0, 1, 2, 3, 4, 5]
    first = 0xFFFFFFFF - 2 * TICK_SAMPLES
    assert [unit.media_time for unit in units] == [first + TICK_SAMPLES * index for index in range(6)]
    assert all(unit.opus == _VOICE and unit.span_ticks == TICK_SAMPLES and not unit.repaired for unit in units)
    assert all(unit.frame is not None and unit.frame_bytes > 0 for unit in units)
    feedback = receiver.feedback(0x1_0000_0007, 61.6, 0.2)
    assert (feedback.acknowledged, feedback.received, feedback.epoch) == (5, 0b11111, 1)
    assert (feedback.playout_timestamp, feedback.playout_delay_ms, feedback.keyframe_request) == (7, 62, False)


@pytest.mark.parametrize("sound", [True, False])
def test_what_was_lost_comes_back_as_it_was_sent(sound: bool) -> None:
    packets = _track(30, sound=sound, first=65_520)
    whole = {unit.sequence_number: unit for unit in _play(UnitReceiver(protects_sound=sound), packets)}
    receiver = UnitReceiver(protects_sound=sound)
    units = _play(receiver, packets, skip={4, 9, 10, 11, 20, 22})
    assert sorted(_numbers(units)) == sorted(whole)
    repaired = [unit for unit in units if unit.repaired]
    assert receiver.restored == len(repaired) == receiver.lost == 6
    for unit in repaired:
        sent = whole[unit.sequence_number]
        assert (unit.media_time, unit.span_ticks, unit.flags) == (sent.media_time, sent.span_ticks, sent.flags)
        assert unit.opus == (_VOICE if sound else None)
        assert unit.frame is not None
        assert sent.frame is not None
        assert np.array_equal(unit.frame.weights, sent.frame.weights)


def test_a_restored_unit_is_acknowledged_but_not_received() -> None:
    receiver = UnitReceiver(protects_sound=True)
    _play(receiver, _track(8), skip={5})
    feedback = receiver.feedback(None, None, 0.2)
    assert (feedback.acknowledged, feedback.received) == (7, 0b1111101)


def test_a_unit_that_comes_after_it_was_restored_counts_as_received_and_plays_once() -> None:
    receiver, packets = UnitReceiver(protects_sound=True), _track(8)
    assert len(_play(receiver, packets, skip={5})) == 8
    assert receiver.receive(*packets[5], 0.2) == []
    assert receiver.dropped["overtaken"] == 1
    assert receiver.lost == 0
    assert receiver.feedback(None, None, 0.2).received == 0b1111111
    assert receiver.receive(*packets[5], 0.3) == []
    assert receiver.dropped["duplicate"] == 1


def test_a_gap_longer_than_the_window_is_filled_at_the_right_times() -> None:
    receiver, packets = UnitReceiver(protects_sound=True), _track(40)
    units = _play(receiver, packets, skip=set(range(10, 20)))
    assert all(unit.media_time == unit.sequence_number * TICK_SAMPLES for unit in units)
    assert set(range(16, 20)) <= set(_numbers(units))


def test_a_unit_whose_time_nobody_knows_waits_for_its_neighbour_and_not_for_ever() -> None:
    packets = _track(90)
    receiver = UnitReceiver(protects_sound=True)
    moved = [(packet, timestamp + 17 * (index >= 20)) for index, (packet, timestamp) in enumerate(packets)]
    units = _play(receiver, moved, skip=set(range(10, 20)) | {21, 22, 23})
    for unit in units:
        assert unit.media_time == unit.sequence_number * TICK_SAMPLES + 17 * (unit.sequence_number >= 16)
    lonely = UnitReceiver(protects_sound=True)
    _play(lonely, packets[:60], skip={*range(5), *range(6, 59)})
    for packet, timestamp in packets[60:]:
        lonely.receive(packet, timestamp, 2.0)
    assert lonely.size <= 5 * 32


def test_a_missing_baseline_asks_until_a_newer_frame_can_be_decoded() -> None:
    receiver, packets = UnitReceiver(protects_sound=True), _track(10, acknowledged=2, tier=FecTier.F0)
    receiver.receive(*packets[0], 0.0)
    assert receiver.feedback_due(0.0)
    assert not receiver.feedback(None, None, 0.0).keyframe_request
    assert not receiver.feedback_due(0.09)
    (unit,) = receiver.receive(*packets[5], 0.09)
    assert (unit.frame, unit.opus) == (None, _VOICE)
    assert receiver.dropped["baseline-missing"] == 1
    assert receiver.feedback_due(0.09)
    assert receiver.feedback(None, None, 0.09).keyframe_request
    assert not receiver.feedback_due(0.1)
    receiver.receive(*packets[1], 0.1)
    assert receiver.keyframe_request
    assert receiver.feedback_due(0.12)
    receiver.receive(*_track(1, first=6, start=6 * TICK_SAMPLES)[0], 0.13)
    assert not receiver.keyframe_request
    receiver.receive(*packets[4], 0.14)
    assert not receiver.keyframe_request


def test_damaged_frames_keep_their_sound() -> None:
    receiver = UnitReceiver(protects_sound=True)
    receiver.receive(*_track(1)[0], 0.0)
    unit = AccessUnit(epoch=1, sequence_number=1, flags=AccessUnitFlags(0), state=FaceState.IDLE, frame=b"\0")
    (damaged,) = receiver.receive(encode_access_unit(unit, _VOICE), TICK_SAMPLES, 0.02)
    assert (damaged.frame, damaged.opus) == (None, _VOICE)
    keyframe = FrameEncoder().encode(_face(1), 2)
    diverged = replace(unit, sequence_number=2, frame=bytes((keyframe[0] ^ 1,)) + keyframe[1:])
    receiver.receive(encode_access_unit(diverged, _VOICE), 2 * TICK_SAMPLES, 0.04)
    assert receiver.dropped == {"bad-frame": 1, "diverged": 1}
    assert receiver.keyframe_request


def test_units_without_motion_arrive_and_are_not_acknowledged() -> None:
    receiver = UnitReceiver(protects_sound=False)
    _play(receiver, _track(3, sound=False))
    units = _play(receiver, _track(3, first=3, sound=False, without_frames=True, start=3 * TICK_SAMPLES))
    assert [unit.frame for unit in units] == [None, None, None]
    feedback = receiver.feedback(None, None, 0.2)
    assert (feedback.acknowledged, feedback.received) == (2, 0b11)
    assert not feedback.keyframe_request


def test_the_bitmap_is_left_out_when_nothing_is_known_of_that_time() -> None:
    receiver = UnitReceiver(protects_sound=True)
    _play(receiver, _track(1))
    _play(receiver, _track(140, first=1, without_frames=True, start=TICK_SAMPLES))
    feedback = receiver.feedback(None, None, 4.0)
    assert (feedback.acknowledged, feedback.received) == (0, None)


def test_epochs() -> None:
    receiver = UnitReceiver(protects_sound=True)
    assert receiver.epoch is None
    assert len(_play(receiver, _track(3, epoch=0xFFFF))) == 3
    assert len(_play(receiver, _track(3, epoch=0, start=500))) == 3  # newer, by serial number arithmetic
    assert _play(receiver, _track(3, epoch=0xFFFF)) == []
    assert receiver.dropped["old-epoch"] == 3
    assert receiver.feedback(None, None, 0.0).received == 0b11
    assert _play(receiver, _track(1, epoch=1, flags=AccessUnitFlags.PREVIEW)) == []
    assert _play(receiver, _track(1, epoch=1, without_frames=True)) == []
    assert (receiver.dropped["preview"], receiver.dropped["empty"]) == (1, 1)
    assert receiver.feedback(None, None, 0.0).epoch == 0


def test_a_newer_epoch_that_cannot_be_decoded_locks_nobody_out() -> None:
    receiver, packets = UnitReceiver(protects_sound=True), _track(10, acknowledged=2)
    _play(receiver, packets[:5])
    forged = _track(10, acknowledged=2, epoch=0x2001)[5]
    assert receiver.receive(*forged, 0.1) == []
    assert not receiver.keyframe_request
    assert _numbers(receiver.receive(*packets[6], 0.12)) == [5, 6]


def test_the_first_unit_of_all_asks_for_a_keyframe_when_it_is_none() -> None:
    receiver, packets = UnitReceiver(protects_sound=True), _track(10, acknowledged=2)
    assert receiver.receive(*packets[7], 0.0) == []
    feedback = receiver.feedback(None, None, 0.0)
    assert (feedback.keyframe_request, feedback.acknowledged, feedback.epoch) == (True, None, None)


def test_a_forged_number_far_ahead_does_not_stop_the_track() -> None:
    receiver, packets = UnitReceiver(protects_sound=True), _track(30)
    _play(receiver, packets[:5])
    receiver.receive(*_track(1, first=20_000)[0], 0.1)
    units = _play(receiver, packets[5:])
    assert _numbers(units)[-20:] == list(range(10, 30))
    feedback = receiver.feedback(None, None, 1.0)
    assert feedback.acknowledged == 29
    assert feedback.received is not None
    assert feedback.received.bit_count() > 20


def test_acknowledging_goes_on_after_minutes_without_a_face() -> None:
    receiver = UnitReceiver(protects_sound=False)
    _play(receiver, _track(1, sound=False))
    empty = _track(40_000, first=1, sound=False, tier=FecTier.F0, without_frames=True)
    for index, (packet, timestamp) in enumerate(empty):
        receiver.receive(packet, timestamp, index * 0.02)
    assert receiver.feedback(None, None, 0.0).received is None
    _play(receiver, _track(1, first=40_001, sound=False))
    assert receiver.feedback(None, None, 0.0).acknowledged == 40_001


def test_delay_that_grows_is_reported_and_another_link_starts_anew() -> None:
    receiver = UnitReceiver(protects_sound=True)
    for index, (packet, timestamp) in enumerate(_track(40)):
        receiver.receive(packet, timestamp, index * 0.022)
    assert receiver.feedback(None, None, 1.0).owd_gradient == pytest.approx(1_000, abs=20)
    receiver.on_new_link()
    assert receiver.feedback(None, None, 1.0).owd_gradient is None
    _play(receiver, _track(40, first=40, start=40 * TICK_SAMPLES))
    assert receiver.feedback(None, None, 1.0).owd_gradient == pytest.approx(0, abs=20)
    _play(receiver, _track(3, first=80, opus=silence(4), start=80 * TICK_SAMPLES))
    assert receiver.feedback(None, None, 1.0).owd_gradient is None


def test_packets_that_are_none_are_counted_by_reason() -> None:
    receiver = UnitReceiver(protects_sound=True)
    future = AccessUnit(epoch=1, sequence_number=1, flags=AccessUnitFlags(0), state=FaceState.IDLE, frame=b"x")
    critical = encode_access_unit(future, _VOICE).replace(b"\x11\0\0\0\x01", b"\x11\x80\0\0\x01")
    for packet in (b"", b"\x7b", _VOICE, critical):
        assert receiver.receive(packet, 0, 0.0) == []
    assert receiver.dropped == {"bad-opus": 2, "plain": 1, "unknown-flags": 1}


def test_a_copy_whose_span_is_not_that_of_its_packet_is_no_unit() -> None:
    block = bytes((0, 16, 0)) + _VOICE  # 40 ms, it says
    unit = AccessUnit(
        epoch=1,
        sequence_number=5,
        flags=AccessUnitFlags(0),
        state=FaceState.IDLE,
        frame=FrameEncoder().encode(_face(0), 5),
        fec=bytes((0x51, len(block))) + block,
    )
    receiver = UnitReceiver(protects_sound=True)
    assert _numbers(receiver.receive(encode_access_unit(unit, _VOICE), 0, 0.0)) == [5]
    preview = bytes((AccessUnitFlags.PREVIEW, 8, 0)) + _VOICE
    second = replace(unit, sequence_number=7, fec=bytes((0x51, len(preview))) + preview)
    assert _numbers(receiver.receive(encode_access_unit(second, _VOICE), 2 * TICK_SAMPLES, 0.0)) == [7]
    assert receiver.dropped == {"bad-fec": 1, "preview": 1}


@settings(max_examples=150, deadline=None)
@given(
    order=st.lists(st.tuples(st.integers(0, 79), st.integers(0, 3)), max_size=120),
    damage=st.lists(st.tuples(st.integers(0, 1_149), st.integers(1, 255)), max_size=4),
    noise=st.binary(max_size=40),
    clock=st.integers(0, 0xFFFFFFFF),
    sound=st.booleans(),
)
def test_no_packet_breaks_it(
    order: list[tuple[int, int]], damage: list[tuple[int, int]], noise: bytes, clock: int, sound: bool
) -> None:
    packets = _track(80, acknowledged=30, sound=sound, tier=FecTier.F3, first=65_500)
    receiver = UnitReceiver(protects_sound=sound)
    for index, kind in order:
        packet, timestamp = packets[index]
        data = bytearray(packet)
        for place, value in damage if kind == 1 else ():
            data[place % len(data)] ^= value
        if kind == 2:
            data = data[: clock % (len(data) + 1)] + noise
        units = receiver.receive(bytes(data), clock if kind == 3 else timestamp, index * 0.01)
        assert all(duration_samples(unit.opus) == unit.span_ticks for unit in units if unit.opus is not None)
        assert receiver.size <= 8 * 32
        feedback = receiver.feedback(clock, float(clock), 0.0)
        assert feedback.received is None or 0 <= feedback.received <= 0xFFFFFFFF

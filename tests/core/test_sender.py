"""Frames and Opus become access units: numbered, decodable, protected, and safe against strange feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.errors import Dropped, RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX, IDLE_FRAMES_PER_PACKET, KEYFRAME_COPY_S_MIN, TICK_SAMPLES
from core.session.state import FaceState
from core.stream.fec import FecTier, decode_block, decode_field, encode_block
from core.stream.fec_decoder import FecDecoder
from core.stream.rate_control import Decision, LadderController, RateController
from core.stream.sender import UnitSender
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit
from core.wire.feedback import Feedback
from core.wire.frame_codec import FrameDecoder, Layer
from core.wire.opus_padding import duration_samples, silence, split, strip

VOICE = b"\x78" + bytes(range(60))


class Fixed:
    """A controller that a test sets."""

    def __init__(self, **changes: object) -> None:
        self.decision: Decision = replace(LadderController().decision, **changes)  # type: ignore[arg-type]
        self.told: list[float] = []

    def on_feedback(
        self, *, loss: float, burst: float, owd_gradient: float, rtt_s: float, ecn: float, now: float
    ) -> Decision:
        self.told.append(loss)
        return self.decision


def fixed(**changes: object) -> RateController:
    return Fixed(**changes)


def frame_of(level: float) -> AnimationFrame:
    return AnimationFrame(weights=np.full(52, level, dtype=np.float32), joints=REST_FRAME.joints, sync_score=level)


def pack(
    sender: UnitSender, level: float = 0.0, opus: Sequence[bytes] = (), now: float = 0.0, silent_ticks: int = 1
) -> tuple[bytes, AccessUnit]:
    packet = sender.pack(
        frame=frame_of(level),
        opus=opus,
        state=FaceState.LISTENING,
        flags=AccessUnitFlags.DUCK,
        now=now,
        silent_ticks=silent_ticks,
    )
    unit = decode_access_unit(packet)
    assert unit is not None
    return packet, unit


def test_units_are_numbered_and_say_what_they_carry() -> None:
    sender = UnitSender(epoch=7)
    _, first = pack(sender)
    packet, second = pack(sender, opus=[VOICE])
    assert (first.sequence_number, second.sequence_number) == (0, 1)
    assert first.epoch == second.epoch == 7
    assert first.flags == AccessUnitFlags.DUCK
    assert second.flags == AccessUnitFlags.DUCK | AccessUnitFlags.SPEECH
    assert second.state is FaceState.LISTENING
    assert strip(packet) == VOICE
    assert sender.units == 2
    assert sender.frame_bytes == len(first.frame) + len(second.frame)
    assert sender.fec_bytes == len(first.fec) + len(second.fec)


def test_silence_is_one_tick_and_idle_is_four() -> None:
    sender = UnitSender(epoch=1)
    packet, _ = pack(sender)
    assert duration_samples(packet) == TICK_SAMPLES
    assert strip(packet) == silence(1)
    assert duration_samples(pack(sender, silent_ticks=3)[0]) == 3 * TICK_SAMPLES
    idle = sender.pack_idle(frame=REST_FRAME, state=FaceState.IDLE, now=0.0)
    assert duration_samples(idle) == IDLE_FRAMES_PER_PACKET * TICK_SAMPLES


def test_packets_that_leave_together_are_one_unit() -> None:
    sender = UnitSender(epoch=1)
    parts = [VOICE, VOICE[:30], VOICE[:41]]
    packet, unit = pack(sender, opus=parts)
    assert split(packet) == [part[1:] for part in parts]
    assert unit.flags & AccessUnitFlags.SPEECH
    assert pack(sender)[1].sequence_number == 1


def test_acknowledged_frames_become_baselines() -> None:
    sender = UnitSender(epoch=1)
    _, first = pack(sender, 0.5)
    _, from_rest = pack(sender, 0.5)
    sender.receive_feedback(Feedback(acknowledged=first.sequence_number), 0.1)
    _, from_first = pack(sender, 0.5)
    assert len(from_first.frame) < len(from_rest.frame)
    sender.receive_feedback(Feedback(keyframe_request=True), 0.1)
    _, again_from_rest = pack(sender, 0.5)
    assert len(again_from_rest.frame) == len(from_rest.frame)


def test_another_owners_feedback_does_not_count() -> None:
    sender = UnitSender(epoch=2)
    _, first = pack(sender, 0.5)
    feedback = Feedback(acknowledged=first.sequence_number, keyframe_request=True, epoch=1)
    assert sender.receive_feedback(feedback, 0.1) == Dropped("other-epoch")
    _, second = pack(sender, 0.5)
    assert isinstance(FrameDecoder().decode(second.frame, second.sequence_number), AnimationFrame)
    assert not sender.answers_keyframe_request
    assert sender.reception is None


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.booleans(), st.integers(0, 2**32 - 1)), max_size=40))
def test_no_feedback_makes_a_viewer_who_has_everything_lose_anything(script: list[tuple[int, bool, int]]) -> None:
    sender = UnitSender(epoch=1)
    decoder = FrameDecoder()
    for step, (acknowledged, keyframe_request, received) in enumerate(script):
        level = (step % 10) / 10
        _, unit = pack(sender, level, now=0.02 * step)
        frame = decoder.decode(unit.frame, unit.sequence_number)
        assert isinstance(frame, AnimationFrame)
        assert abs(float(frame.weights[0]) - level) < 0.01
        feedback = Feedback(acknowledged=acknowledged, keyframe_request=keyframe_request, received=received)
        sender.receive_feedback(feedback, 0.02 * step)


@given(
    st.lists(
        st.builds(
            Feedback,
            acknowledged=st.integers(0, 60),
            received=st.none() | st.integers(0, 2**32 - 1),
            owd_gradient=st.none() | st.integers(-(2**15), 2**15 - 1),
            playout_delay_ms=st.none() | st.integers(0, 0xFFFF),
            keyframe_request=st.booleans(),
            epoch=st.none() | st.integers(0, 2),
        ),
        max_size=30,
    ),
    st.lists(st.floats(allow_nan=False, width=32), min_size=30, max_size=30),
    st.booleans(),
)
def test_forged_feedback_and_jumping_clocks_leave_every_packet_valid_and_within_bounds(
    feedback: list[Feedback], clock: list[float], sound: bool
) -> None:
    sender = UnitSender(epoch=1, plays_sound_itself=sound)
    for step, told in enumerate(feedback):
        packet, unit = pack(sender, (step % 7) / 7, [VOICE] * (1 + step % 3), now=clock[step])
        assert len(packet) <= ACCESS_UNIT_SIZE_BYTES_MAX
        if unit.fec:
            decode_field(unit.fec)
        sender.receive_feedback(told, clock[step])


def test_an_idle_track_is_all_of_the_lowest_layer() -> None:
    sender = UnitSender(epoch=1)
    packets = [sender.pack_idle(frame=frame_of(0.1), state=FaceState.IDLE, now=0.0) for _ in range(4)]
    layers = [unit.frame[2] >> 6 for unit in map(decode_access_unit, packets) if unit is not None]
    assert layers == [Layer.T0] * 4


@pytest.mark.parametrize(("ticks", "layers"), [(1, [0, 2, 1, 2]), (2, [0, 1, 0, 1]), (3, [0, 0, 0, 0])])
def test_layers_follow_the_packet_time(ticks: int, layers: list[int]) -> None:
    sender = UnitSender(epoch=1)
    units = [pack(sender, 0.1, [VOICE] * ticks)[1] for _ in range(4)]
    assert [unit.frame[2] >> 6 for unit in units] == layers


def test_layers_that_the_link_has_no_room_for_are_left_empty() -> None:
    sender = UnitSender(epoch=1, make_controller=lambda: fixed(layer=Layer.T0))
    units = [pack(sender, 0.1)[1] for _ in range(8)]
    assert [bool(unit.frame) for unit in units] == [True, False, False, False] * 2
    sender.receive_feedback(Feedback(keyframe_request=True), 0.0)
    pack(sender)
    sender.receive_feedback(Feedback(keyframe_request=True), 1.0)
    _, asked = pack(sender, 0.1, now=1.0)
    assert asked.frame  # who asks for a keyframe gets the next unit, whatever its layer


@pytest.mark.parametrize(
    ("sound", "reported_ms", "ticks", "window"),
    [
        (True, None, 1, 5),
        (False, None, 1, 1),
        (False, 80, 1, 4),
        (False, 0xFFFF, 1, 15),
        (False, 0, 1, 1),
        (False, 133, 2, 3),
        (True, 25, 1, 5),  # it waits longer once it has seen repairs come too late
        (True, 0xFFFF, 2, 2),
    ],
)
def test_redundancy_reaches_as_far_back_as_repairs_are_in_time(
    sound: bool, reported_ms: int | None, ticks: int, window: int
) -> None:
    sender = UnitSender(epoch=1, plays_sound_itself=sound)
    for _ in range(20):
        _, unit = pack(sender, 0.3, [VOICE] * ticks)
        sender.receive_feedback(Feedback(playout_delay_ms=reported_ms), 0.1)
    assert unit.fec[0] & 0x0F == window
    assert decode_field(unit.fec).sound is sound


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("ticks", [1, 3])
def test_a_lost_unit_comes_back_from_a_later_one(sound: bool, ticks: int) -> None:
    sender = UnitSender(epoch=1, plays_sound_itself=sound, make_controller=lambda: fixed(tier=FecTier.F2))
    sender.receive_feedback(Feedback(playout_delay_ms=133), 0.0)
    decoder = FecDecoder(sound=sound)
    restored: dict[int, bytes] = {}
    sent: list[AccessUnit] = []
    for step in range(30):
        parts = [VOICE[: 20 + step + part] for part in range(ticks)]
        packet, unit = pack(sender, step / 30, parts)
        sent.append(unit)
        if step % 5 == 2:
            continue
        block = encode_block(unit, span_ticks=duration_samples(packet), opus=strip(packet) if sound else None)
        result = decoder.receive(unit.sequence_number, block, unit.fec)
        assert not isinstance(result, Dropped)
        restored.update(result)
    assert set(restored) >= {2, 7, 12, 17, 22}
    for number, block in restored.items():
        back = decode_block(block, epoch=1, sequence_number=number, sound=sound)
        assert back.unit == replace(sent[number], fec=b"")
        assert back.span_ticks == ticks * TICK_SAMPLES
        if sound:
            assert back.opus is not None
            assert split(back.opus) == [VOICE[1 : 20 + number + part] for part in range(ticks)]


def test_a_large_voice_leaves_less_room_for_redundancy_never_a_packet_too_large() -> None:
    controller = Fixed(tier=FecTier.F3)
    sender = UnitSender(epoch=1, plays_sound_itself=True, make_controller=lambda: controller)
    for size in (300, 300, 300, 300, 300, 300, 1_000, 1_000, 60):
        packet, unit = pack(sender, 0.2, [b"\x78" + bytes(size)])
        assert len(packet) <= ACCESS_UNIT_SIZE_BYTES_MAX
    assert not unit.fec or len(unit.fec) < 1_100


def test_loss_raises_the_tier_and_is_counted() -> None:
    sender = UnitSender(epoch=1)
    assert sender.decision.tier is FecTier.F1
    for step in range(200):
        pack(sender, now=0.02 * step)
        if step % 5 == 4:
            sender.receive_feedback(Feedback(acknowledged=step, received=0xF7BDEF7B), 0.02 * step + 0.04)
    assert sender.reception is not None
    assert sender.reception.loss == pytest.approx(0.2, abs=0.05)
    assert sender.decision.tier > FecTier.F1
    assert 30 < sender.lost < 50


def test_what_the_meter_drops_is_said() -> None:
    sender = UnitSender(epoch=1)
    pack(sender)
    pack(sender)
    assert sender.receive_feedback(Feedback(acknowledged=1, received=1), 0.1) is None
    assert sender.receive_feedback(Feedback(acknowledged=0, received=0), 0.1) == Dropped("stale")
    assert sender.receive_feedback(Feedback(acknowledged=9, received=0), 0.1) == Dropped("never-sent")
    assert sender.receive_feedback(Feedback(playout_timestamp=9), 0.1) is None


def test_the_answer_to_a_keyframe_request_is_marked_now_and_then() -> None:
    sender = UnitSender(epoch=1)
    marked = []
    for step in range(20):
        sender.receive_feedback(Feedback(keyframe_request=True), 0.02 * step)
        _, unit = pack(sender, 0.4, now=0.02 * step)
        assert isinstance(FrameDecoder().decode(unit.frame, unit.sequence_number), AnimationFrame)
        marked.append(sender.answers_keyframe_request)
    assert marked[0]
    assert sum(marked) == 2 == int(0.4 / KEYFRAME_COPY_S_MIN)
    pack(sender, now=9.0)
    assert not sender.answers_keyframe_request


def test_on_a_new_link_the_track_goes_on_and_nothing_counts_as_known() -> None:
    made: list[Fixed] = []

    def make() -> Fixed:
        made.append(Fixed(tier=FecTier.F1))
        return made[-1]

    sender = UnitSender(epoch=1, plays_sound_itself=True, make_controller=make)
    for step in range(40):
        pack(sender, 0.5, now=0.02 * step)
    sender.receive_feedback(Feedback(acknowledged=38, received=0x7FFFFFFF, playout_delay_ms=40), 0.9)
    lost = sender.lost
    assert lost == 1
    sender.restart(plays_sound_itself=False)
    _, first = pack(sender, 0.5, now=1.0)
    assert first.sequence_number == 40
    assert first.fec == b""
    assert isinstance(FrameDecoder().decode(first.frame, 40), AnimationFrame)
    assert sender.receive_feedback(Feedback(acknowledged=39, received=0), 1.1) == Dropped("never-sent")
    assert sender.reception is None
    assert len(made) == 2
    assert made[1].told == []
    for step in range(10):
        _, unit = pack(sender, 0.5, now=1.02 + 0.02 * step)
        sender.receive_feedback(
            Feedback(acknowledged=unit.sequence_number, received=(1 << step + 1) - 1), 2.0 + 0.1 * step
        )
    assert not decode_field(unit.fec).sound
    assert unit.fec[0] & 0x0F == 1
    assert made[1].told == [0.0] * 10
    assert sender.lost == lost


def test_a_voice_that_is_not_opus_is_an_error_of_the_peer() -> None:
    with pytest.raises(RemoteProtocolError):
        pack(UnitSender(epoch=1), opus=[b"\x7b"])

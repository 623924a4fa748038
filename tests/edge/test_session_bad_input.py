"""What a viewer or its network may do wrong: each is counted and bounded, and the face goes on."""

from __future__ import annotations

import pytest

from core.avatar.frame import AnimationFrame
from core.limits import (
    CONTROL_MESSAGES_PER_S_MAX,
    FRAME_HISTORY,
    KEYFRAME_COPY_S_MIN,
    MICROPHONE_PACKETS_PER_S_MAX,
    TICK_S,
    TICK_SAMPLES,
)
from core.speech import messages
from core.wire.access_unit import AccessUnit
from core.wire.control import encode_control
from core.wire.feedback import Feedback, embed_feedback, encode_feedback
from core.wire.frame_codec import FrameDecoder
from edge.transports.link import MicrophoneUnit
from tests.edge.stage import VOICE, RecordingLink, Stage


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.connect()
    stage.say(1, 140)
    stage.ticks(10)
    return stage


def tell(stage: Stage, feedback: Feedback) -> None:
    stage.door.on_control(encode_feedback(feedback), stage.now)


def dropped(stage: Stage, reason: str) -> float:
    return stage.registry.get_sample_value("edge_dropped_total", {"reason": reason}) or 0.0


def all_decode(units: list[AccessUnit]) -> bool:
    """By a viewer that received everything."""
    decoder = FrameDecoder()
    return all(isinstance(decoder.decode(unit.frame, unit.sequence_number), AnimationFrame) for unit in units)


def each_decodes_alone(units: list[AccessUnit]) -> bool:
    return all(isinstance(FrameDecoder().decode(unit.frame, unit.sequence_number), AnimationFrame) for unit in units)


# --- feedback ----------------------------------------------------------------------------------------------------


def test_feedback_that_comes_twice_or_in_another_order_judges_the_link_once(stage: Stage) -> None:
    older, newer = Feedback(acknowledged=6, received=0b101111), Feedback(acknowledged=9, received=0b101111111)
    for feedback in (newer, older, newer, newer, older):
        tell(stage, feedback)
    assert dropped(stage, "feedback-stale") == 2
    assert stage.registry.get_sample_value("edge_packets_lost_total") == 1
    assert stage.registry.get_sample_value("edge_feedback_total") == 5
    stage.ticks(20)
    assert all_decode(stage.link.units)


def test_replayed_feedback_of_long_ago_changes_nothing(stage: Stage) -> None:
    replayed = Feedback(acknowledged=3, received=0b111, epoch=1)
    tell(stage, replayed)
    stage.ticks(2 * FRAME_HISTORY)
    tell(stage, Feedback(acknowledged=stage.link.units[-1].sequence_number, received=0xFFFFFFFF))
    begin = len(stage.link.units) - 1
    tell(stage, replayed)
    stage.ticks(3)
    assert dropped(stage, "feedback-stale") == 1
    assert all_decode(stage.link.units[begin:])  # deltas refer to the newest, which alone is known here


@pytest.mark.parametrize("size", range(1, 19))
def test_truncated_feedback_is_counted_or_says_less(stage: Stage, size: int) -> None:
    whole = Feedback(
        acknowledged=5, received=0b11111, playout_timestamp=960, epoch=1, owd_gradient=9, playout_delay_ms=30
    )
    stage.door.on_control(encode_feedback(whole)[:size], stage.now)
    assert dropped(stage, "too-short") == 1
    stage.door.on_microphone(
        MicrophoneUnit(payload=embed_feedback(VOICE, whole)[:-size], timestamp=0, sequence_number=0), stage.now
    )
    assert stage.ended == []
    stage.ticks(5)
    assert all_decode(stage.link.units)


def test_forged_acknowledgements_of_the_future_make_no_baseline(stage: Stage) -> None:
    newest = stage.link.units[-1].sequence_number
    for ahead in (1, 2, 50, 0x7FFF, 0x8000):
        tell(stage, Feedback(acknowledged=(newest + ahead) & 0xFFFF, received=0))
    assert dropped(stage, "feedback-never-sent") == 5
    stage.ticks(60)
    assert each_decodes_alone(stage.link.units)


def test_feedback_about_another_owners_units_is_counted_and_not_believed(stage: Stage) -> None:
    tell(stage, Feedback(acknowledged=5, received=0, epoch=2, keyframe_request=True))
    assert dropped(stage, "feedback-other-epoch") == 1
    stage.ticks(3)
    assert each_decodes_alone(stage.link.units)
    assert stage.link.keyframes == []


def test_a_peer_that_never_acknowledges_can_decode_every_frame_by_itself(stage: Stage) -> None:
    stage.ticks(300)
    assert each_decodes_alone(stage.link.units)


def test_a_peer_that_stops_acknowledging_can_again_after_a_while(stage: Stage) -> None:
    tell(stage, Feedback(acknowledged=stage.link.units[-1].sequence_number, received=0xFFFFFFFF))
    stage.ticks(FRAME_HISTORY + 10)
    assert each_decodes_alone(stage.link.units[-5:])


def test_a_peer_that_wants_keyframes_all_the_time_gets_few_reliable_ones(stage: Stage) -> None:
    for _ in range(50):
        tell(stage, Feedback(keyframe_request=True))
        stage.ticks(1)
    assert each_decodes_alone(stage.link.units)
    assert 0 < len(stage.link.keyframes) <= 50 * TICK_S / KEYFRAME_COPY_S_MIN + 1


def test_a_link_that_loses_everything_by_its_own_word_gets_no_packet_too_large(stage: Stage) -> None:
    for _ in range(30):
        stage.ticks(3)
        newest = stage.link.units[-1].sequence_number
        tell(stage, Feedback(acknowledged=newest, received=0, owd_gradient=-0x8000, playout_delay_ms=0xFFFF))
    assert max(len(payload) for payload, _ in stage.link.packets) < 1_150
    assert stage.registry.get_sample_value("edge_fec_tier", {"tier": "F3"}) == 1
    wishes = stage.sent_up(messages.VoiceFormat)
    assert wishes[-1].loss_percent == 20
    assert len(wishes) <= 3


# --- floods ------------------------------------------------------------------------------------------------------


def test_too_many_microphone_packets_are_dropped_and_ten_times_too_many_end_the_session(stage: Stage) -> None:
    stage.hear("started")
    for _ in range(3 * MICROPHONE_PACKETS_PER_S_MAX - 1):
        stage.hear()
    assert dropped(stage, "flood") == MICROPHONE_PACKETS_PER_S_MAX
    stage.ticks(5)
    assert stage.ended == []
    for _ in range(20 * MICROPHONE_PACKETS_PER_S_MAX):
        stage.hear()
    assert stage.ended == ["flood"]
    assert stage.link.words("goaway") == [{"reason": "flood"}]
    assert stage.closing == [(stage.link, "flood")]
    assert len(stage.sent_up(messages.MicrophonePacket)) <= 2 * MICROPHONE_PACKETS_PER_S_MAX + 20


@pytest.mark.parametrize("data", ["{", encode_control("client-ready"), b"\x21\x00", b""])
def test_too_many_control_messages_are_dropped_and_ten_times_too_many_end_the_session(
    stage: Stage, data: str | bytes
) -> None:
    answers = len(stage.link.control)
    for _ in range(3 * CONTROL_MESSAGES_PER_S_MAX):
        stage.door.on_control(data, stage.now)
    assert dropped(stage, "flood") == CONTROL_MESSAGES_PER_S_MAX
    assert len(stage.link.control) - answers <= 3 * 2 * CONTROL_MESSAGES_PER_S_MAX
    for _ in range(20 * CONTROL_MESSAGES_PER_S_MAX):
        stage.door.on_control(data, stage.now)
    assert stage.ended == ["flood"]
    assert stage.sent_up(messages.Closed) == [messages.Closed(reason="flood", epoch=1)]


# --- a link that takes nothing -----------------------------------------------------------------------------------


class BlockedLink(RecordingLink):
    """A peer that stopped reading: nothing goes out any more."""

    def send_packet(self, payload: bytes, timestamp: int) -> bool:
        return False


def test_a_peer_that_stops_reading_costs_nobody_anything() -> None:
    stage = Stage()
    blocked = BlockedLink()
    stage.door.attach(blocked)
    stage.connect()
    stage.say(1, 100)
    stage.ticks(200)
    assert stage.registry.get_sample_value("edge_packets_sent_total") == 0
    assert stage.ended == []
    assert stage.session.links.link is blocked


# --- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timestamp", [-(2**40), -1, 0, 2**31, 2**40])
def test_absurd_microphone_timestamps_reach_nobody_as_a_crash(stage: Stage, timestamp: int) -> None:
    stage.hear("started")
    for step in range(5):
        unit = MicrophoneUnit(payload=VOICE, timestamp=timestamp + step * TICK_SAMPLES, sequence_number=step)
        stage.door.on_microphone(unit, stage.now)
    stage.ticks(10)
    assert stage.ended == []
    for message in stage.up:
        messages.encode(message)


@pytest.mark.parametrize("playout", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_absurd_playout_never_counts_as_heard(stage: Stage, playout: int) -> None:
    tell(stage, Feedback(playout_timestamp=playout))
    stage.hear("cut")
    (cut,) = stage.sent_up(messages.BargeIn)
    assert 0 <= cut.heard_until <= 10 * TICK_SAMPLES


@pytest.mark.parametrize("jump_s", [-3_600.0, -0.5, 0.5, 3_600.0])
def test_a_clock_that_jumps_leaves_the_face_alive_and_every_frame_decodable(stage: Stage, jump_s: float) -> None:
    tell(stage, Feedback(acknowledged=stage.link.units[-1].sequence_number, received=0xFFFFFFFF))
    stage.now += jump_s
    for _ in range(20):
        stage.ticks(2)
        tell(stage, Feedback(acknowledged=stage.link.units[-1].sequence_number, received=0xFFFFFFFF))
        stage.hear()
    assert stage.ended == []
    assert all_decode(stage.link.units)
    timestamps = [timestamp for _, timestamp in stage.link.packets]
    assert timestamps == sorted(set(timestamps))


def test_a_clock_that_jumps_back_still_ends_the_wait_for_a_lost_viewer(stage: Stage) -> None:
    stage.now -= 50.0
    stage.door.on_closed("connection-lost", stage.now)
    stage.ticks(int(11 / TICK_S))
    assert stage.ended == ["connection-lost"]

"""A viewer's session: what it sends every tick, and what it makes of the viewer, the ear and the origin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.limits import IDLE_FRAMES_PER_PACKET, LISTENING_S_MAX, SIGN_OF_LIFE_S, TEXT_CHARS_MAX, TICK_S, TICK_SAMPLES
from core.session.state import FaceState
from core.speech import messages
from core.stream.rate_control import LadderController
from core.wire.access_unit import AccessUnitFlags
from core.wire.control import encode_control
from core.wire.feedback import Feedback, embed_feedback, encode_feedback
from core.wire.frame_codec import FrameDecoder
from core.wire.opus_padding import duration_samples, silence, split, strip
from tests.edge.stage import VOICE, Stage


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.connect()
    return stage


def test_nothing_is_sent_before_the_link_is_up() -> None:
    stage = Stage()
    stage.ticks(5)
    assert stage.link.packets == []
    assert stage.up == []
    stage.connect()
    stage.ticks(1)
    assert len(stage.link.packets) == 1
    assert stage.sent_up(messages.Opened) == [messages.Opened(epoch=1, transport="test")]


def test_an_idle_track_thins_to_80_ms_packets_that_cover_all_time(stage: Stage) -> None:
    stage.ticks(100)
    durations = [duration_samples(payload) for payload, _ in stage.link.packets]
    timestamps = [timestamp for _, timestamp in stage.link.packets]
    assert durations[-1] == IDLE_FRAMES_PER_PACKET * TICK_SAMPLES
    for duration, first, second in zip(durations, timestamps, timestamps[1:], strict=False):
        assert first + duration == second
    assert len(stage.link.packets) < 50


def test_every_unit_carries_a_frame_that_decodes(stage: Stage) -> None:
    stage.say(1, 10)
    stage.ticks(40)
    decoder = FrameDecoder()
    for unit in stage.link.units:
        frame = decoder.decode(unit.frame, unit.sequence_number)
        assert hasattr(frame, "weights")


def test_the_voice_is_carried_untouched_and_in_order(stage: Stage) -> None:
    stage.say(1, 5)
    stage.ticks(10)
    spoken = [payload for payload, _ in stage.link.packets if strip(payload) != silence(1)]
    assert [strip(payload) for payload in spoken] == [strip(payload) for payload in [spoken[0]] * 5]
    flags = [unit.flags & AccessUnitFlags.SPEECH for unit in stage.link.units]
    assert [bool(flag) for flag in flags[:6]] == [True] * 5 + [False]


@pytest.mark.parametrize(("ptime_ms", "ticks"), [(40, 2), (60, 3)])
def test_on_a_link_with_little_room_voice_shares_packets_and_every_tick_is_covered_once(
    ptime_ms: int, ticks: int
) -> None:
    controller = LadderController()
    controller.decision = replace(controller.decision, ptime_ms=ptime_ms)
    stage = Stage(make_controller=lambda: controller)
    stage.connect()
    stage.session.receive(messages.TurnState(state="thinking"), stage.now)
    stage.ticks(6)
    assert {duration_samples(payload) for payload, _ in stage.link.packets} == {ticks * TICK_SAMPLES}
    stage.say(1, 12)
    stage.ticks(12)
    spoken = [payload for payload, _ in stage.link.packets if VOICE[1:] in payload]
    assert [split(payload) for payload in spoken] == [[VOICE[1:]] * ticks] * (12 // ticks)
    stage.ticks(20)
    for (payload, first), (_, second) in zip(stage.link.packets, stage.link.packets[1:], strict=False):
        assert first + duration_samples(payload) == second
    assert stage.ear.heard_played == 12
    decoder = FrameDecoder()
    for unit in stage.link.units:
        assert hasattr(decoder.decode(unit.frame, unit.sequence_number), "weights")


@pytest.mark.parametrize(
    "opus", [b"", b"\x7b", b"\xf8" + bytes(1_275), silence(4), b"\x10ab"], ids=["no", "cut", "large", "long", "40ms"]
)
def test_a_voice_that_is_none_is_a_counted_hole(stage: Stage, opus: bytes) -> None:
    stage.session.receive(messages.SpeechStart(utterance_id=1, turn_id=1), stage.now)
    for index, voice in enumerate((VOICE, opus, VOICE)):
        packet = messages.SpeechPacket(utterance_id=1, index=index, opus=voice, log_mel=bytes(40))
        stage.session.receive(packet, stage.now)
    stage.ticks(3)
    assert stage.ended == []
    assert [bool(unit.flags & AccessUnitFlags.SPEECH) for unit in stage.link.units] == [True, False, True]
    assert stage.registry.get_sample_value("edge_dropped_total", {"reason": "bad-voice"}) == 1


def test_speech_moves_the_face_through_speaking_and_back(stage: Stage) -> None:
    stage.say(1, 5)
    stage.ticks(8)
    assert stage.link.units[0].state is FaceState.SPEAKING
    assert stage.link.state() is FaceState.IDLE
    assert [state["state"] for state in stage.link.words("state")] == ["speaking", "idle"]
    assert len(stage.link.words("bot-started-speaking")) == 1
    assert len(stage.link.words("bot-stopped-speaking")) == 1
    assert stage.link.words("utterance")[0] == {"utterance_id": 1, "rtp_timestamp": stage.link.packets[0][1]}


def test_the_edge_reports_what_it_added(stage: Stage) -> None:
    stage.say(1, 5)
    stage.ticks(8)
    stages = stage.link.words("stages")
    assert stages[0]["stages"].keys() == {"edge", "fabric"}
    assert stages[-1]["edge_units"] == 5
    assert stages[-1]["edge_added_ms_p99"] == 0.0
    assert stage.ear.heard_played == 5


def test_listening_and_thinking_come_from_the_ear_and_go_up(stage: Stage) -> None:
    stage.hear("started")
    stage.ticks(2)
    assert stage.link.state() is FaceState.LISTENING
    stage.hear("paused")
    stage.ticks(1)
    assert stage.link.state() is FaceState.THINKING
    stage.hear("resumed")
    stage.ticks(1)
    assert stage.link.state() is FaceState.LISTENING
    assert [message.speaking for message in stage.sent_up(messages.UserSpeech)] == [True, False, True]


def test_the_origin_can_take_a_reaction_back(stage: Stage) -> None:
    stage.hear("started")
    stage.hear("paused")
    stage.session.receive(messages.TurnState(state="listening"), stage.now)
    stage.ticks(1)
    assert stage.link.state() is FaceState.LISTENING


def test_an_end_that_the_origin_saw_in_a_pause_does_not_stop_the_face_from_listening(stage: Stage) -> None:
    stage.hear("started")
    stage.hear("paused")
    stage.hear("resumed")
    stage.session.receive(messages.TurnState(state="thinking"), stage.now)
    stage.ticks(1)
    assert stage.link.state() is FaceState.LISTENING
    stage.hear("paused")
    stage.ticks(1)
    assert stage.link.state() is FaceState.THINKING


def test_the_microphone_goes_up_only_while_somebody_speaks(stage: Stage) -> None:
    for _ in range(30):
        stage.hear()
        stage.ticks(1)
    assert stage.sent_up(messages.MicrophonePacket) == []
    stage.hear("started")
    before = stage.sent_up(messages.MicrophonePacket)
    assert len(before) > 10  # the first consonant came before the ear was sure
    assert [packet.timestamp for packet in before] == [
        before[0].timestamp + index * TICK_SAMPLES for index in range(len(before))
    ]
    assert before[-1].opus == VOICE


def test_a_microphone_that_stops_sending_becomes_silence_for_the_origin(stage: Stage) -> None:
    stage.hear("started")
    stage.ticks(30)
    packets = stage.sent_up(messages.MicrophonePacket)
    assert len(packets) > 20
    assert packets[-1].opus == silence(1)
    assert packets[-1].timestamp == (len(packets) - 1) * TICK_SAMPLES


def test_barge_in_ducks_then_cuts_and_tells_what_was_heard(stage: Stage) -> None:
    stage.say(1, 100)
    stage.ticks(20)
    stage.hear("duck")
    stage.ticks(1)
    assert stage.link.units[-1].flags & AccessUnitFlags.DUCK
    audible = stage.link.packets[10][1]
    stage.session.on_control(encode_feedback(Feedback(playout_timestamp=audible)), stage.now)
    stage.hear("cut")
    stage.ticks(1)
    last = stage.link.units[-1]
    assert last.flags & AccessUnitFlags.CUT
    assert not last.flags & (AccessUnitFlags.SPEECH | AccessUnitFlags.DUCK)
    assert last.state is FaceState.LISTENING
    assert stage.sent_up(messages.BargeIn) == [
        messages.BargeIn(utterance_id=1, heard_until=10 * TICK_SAMPLES, cause="speech")
    ]
    stage.say(1, 5)  # what is still on its way of it
    stage.ticks(3)
    assert not stage.link.units[-1].flags & AccessUnitFlags.SPEECH


def test_a_false_alarm_lets_go(stage: Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.hear("duck")
    stage.hear("release")
    stage.ticks(1)
    assert stage.link.units[-1].flags == AccessUnitFlags.SPEECH
    assert stage.sent_up(messages.BargeIn) == []


def test_a_duck_while_nobody_speaks_means_nothing(stage: Stage) -> None:
    stage.hear("duck")
    stage.say(1, 3)
    stage.ticks(1)
    assert not stage.link.units[-1].flags & AccessUnitFlags.DUCK


def test_a_new_answer_after_a_cut_is_heard_at_once(stage: Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.hear("cut")
    stage.ticks(1)
    stage.session.receive(messages.TurnState(state="listening", turn_id=2), stage.now)
    stage.say(2, 5)
    stage.ticks(1)
    assert stage.link.units[-1].flags == AccessUnitFlags.SPEECH


def test_the_next_clause_of_a_cut_answer_is_dropped_until_the_origin_has_heard_of_it(stage: Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.hear("cut")
    stage.ticks(1)
    stage.say(2, 50)  # on its way when the user barged in
    stage.ticks(3)
    assert not stage.link.units[-1].flags & AccessUnitFlags.SPEECH
    stage.session.receive(messages.TurnState(state="listening", turn_id=2), stage.now)
    stage.say(2, 50)
    stage.ticks(1)
    assert not stage.link.units[-1].flags & AccessUnitFlags.SPEECH
    stage.say(3, 5)
    stage.ticks(1)
    assert stage.link.units[-1].flags & AccessUnitFlags.SPEECH


def test_an_origin_that_never_answers_a_barge_in_is_heard_again_after_a_while(stage: Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.hear("cut")
    stage.ticks(60)
    stage.say(2, 5)
    stage.ticks(1)
    assert stage.link.units[-1].flags & AccessUnitFlags.SPEECH


def test_the_viewer_may_interrupt_by_request(stage: Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.session.on_control(encode_control("client-message", {"t": "interrupt"}), stage.now)
    stage.ticks(1)
    assert not stage.link.units[-1].flags & AccessUnitFlags.SPEECH
    assert stage.sent_up(messages.BargeIn)[0].cause == "request"


def test_typed_text_goes_up_and_the_face_thinks(stage: Stage) -> None:
    stage.session.on_control(encode_control("send-text", {"content": " Who are you? "}), stage.now)
    stage.ticks(1)
    assert stage.sent_up(messages.UserText) == [messages.UserText(text="Who are you?")]
    assert stage.link.state() is FaceState.THINKING


def test_typing_interrupts(stage: Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.session.on_control(encode_control("send-text", {"content": "Stop"}), stage.now)
    kinds = [type(message) for message in stage.up if isinstance(message, (messages.BargeIn, messages.UserText))]
    assert kinds == [messages.BargeIn, messages.UserText]


@pytest.mark.parametrize("content", ["", "   ", None, 7, "x" * (TEXT_CHARS_MAX + 1)])
def test_bad_text_is_refused_in_words(stage: Stage, content: object) -> None:
    stage.session.on_control(encode_control("send-text", {"content": content}), stage.now)
    assert len(stage.link.words("error")) == 1
    assert stage.sent_up(messages.UserText) == []
    assert stage.ended == []


@pytest.mark.parametrize("data", ["", "{", '{"label":"x","type":"y"}', "[" * 10_000, b"", b"\x00" * 30, "x" * 20_000])
def test_garbage_on_the_control_channel_is_counted_and_harmless(stage: Stage, data: str | bytes) -> None:
    stage.session.on_control(data, stage.now)
    stage.ticks(1)
    assert stage.ended == []
    assert stage.link.packets
    total = sum(
        sample.value
        for metric in stage.registry.collect()
        if metric.name == "edge_dropped"
        for sample in metric.samples
        if sample.name.endswith("_total")
    )
    assert total == 1


def test_feedback_rides_in_the_microphone(stage: Stage) -> None:
    stage.say(1, 20)
    stage.ticks(10)
    sequence_number = stage.link.units[4].sequence_number
    size_before = len(stage.link.units[-1].frame)
    stage.hear(payload=embed_feedback(VOICE, Feedback(acknowledged=sequence_number)))
    stage.ticks(1)
    assert size_before > 0
    decoder = FrameDecoder()
    for unit in stage.link.units:
        assert hasattr(decoder.decode(unit.frame, unit.sequence_number), "weights")


def test_absurd_playout_is_counted(stage: Stage) -> None:
    stage.ticks(2)
    stage.session.on_control(encode_feedback(Feedback(playout_timestamp=0x7FFFFFFF)), stage.now)
    assert stage.registry.get_sample_value("edge_dropped_total", {"reason": "absurd-playout"}) == 1


def test_the_origin_learns_what_was_heard(stage: Stage) -> None:
    stage.say(1, 50)
    stage.ticks(20)
    stage.session.on_control(
        encode_feedback(Feedback(playout_timestamp=stage.link.packets[15][1] & 0xFFFFFFFF)), stage.now
    )
    assert stage.sent_up(messages.Playout) == [messages.Playout(utterance_id=1, heard_until=15 * TICK_SAMPLES)]


def test_waiting_has_an_end(stage: Stage) -> None:
    stage.session.receive(messages.TurnState(state="thinking"), stage.now)
    stage.ticks(10)
    assert stage.link.state() is FaceState.THINKING
    stage.ticks(int(20 / TICK_S))
    assert stage.link.state() is FaceState.IDLE


def test_captions_mood_and_faults_reach_the_viewer(stage: Stage) -> None:
    for message in (
        messages.Transcript(text="hello", final=True),
        messages.ReplyText(utterance_id=1, text="Hi!", words=(messages.WordSpan("Hi!", 0, 960),)),
        messages.Mood(label="happy", valence=0.8, arousal=0.3),
        messages.Fault(code="stt-failed", message="I did not catch that."),
        messages.StageTimes(turn_id=1, stages={"detect": 200.0}),
    ):
        stage.session.receive(message, stage.now)
    assert stage.link.words("user-transcription")[0]["text"] == "hello"
    assert stage.link.words("caption")[0]["words"] == [["Hi!", 0, 960]]
    assert stage.link.words("mood")[0]["label"] == "happy"
    assert stage.link.words("fault")[0]["code"] == "stt-failed"
    assert stage.link.words("stages")[0]["stages"] == {"detect": 200.0}


def test_a_skipped_tick_moves_media_time_on(stage: Stage) -> None:
    stage.say(1, 10)
    stage.ticks(1)
    stage.session.skip()
    stage.ticks(1)
    first, second = (timestamp for _, timestamp in stage.link.packets)
    assert second - first == 2 * TICK_SAMPLES


def test_an_ended_session_frees_its_slot_once(stage: Stage) -> None:
    stage.session.on_closed("viewer-left", stage.now)
    stage.session.on_closed("again", stage.now)
    assert stage.ended == ["viewer-left"]
    assert stage.sent_up(messages.Closed) == [messages.Closed(reason="viewer-left", epoch=1)]
    assert stage.registry.get_sample_value("edge_sessions_active") == 0


def test_words_are_told_when_they_become_audible(stage: Stage) -> None:
    words = (messages.WordSpan("Hi", 0, 4_800), messages.WordSpan("there!", 9_600, 14_400))
    stage.session.receive(messages.ReplyText(utterance_id=1, text="Hi there!", words=words), stage.now)
    stage.say(1, 20)
    assert stage.link.words("bot-tts-text") == []
    stage.ticks(10)  # the second word is sent, but a viewer hears it later
    assert [word["text"] for word in stage.link.words("bot-tts-text")] == ["Hi"]
    stage.ticks(10)
    assert [word["text"] for word in stage.link.words("bot-tts-text")] == ["Hi", "there!"]


def test_words_that_were_cut_are_never_told(stage: Stage) -> None:
    words = (messages.WordSpan("Hi", 0, 4_800), messages.WordSpan("there!", 9_600, 14_400))
    stage.session.receive(messages.ReplyText(utterance_id=1, text="Hi there!", words=words), stage.now)
    stage.say(1, 100)
    stage.ticks(6)
    stage.hear("cut")
    stage.session.receive(messages.ReplyText(utterance_id=1, text="Late.", words=words), stage.now)
    stage.ticks(50)
    assert [word["text"] for word in stage.link.words("bot-tts-text")] == ["Hi"]
    assert [clause["text"] for clause in stage.link.words("bot-transcription")] == ["Hi there!"]


def test_the_origin_is_told_the_end_of_an_utterance_once(stage: Stage) -> None:
    stage.say(1, 5)
    for _ in range(100):
        stage.ticks(1)
        newest = stage.link.packets[-1][1]
        stage.session.on_control(encode_feedback(Feedback(playout_timestamp=max(0, newest - 4_800))), stage.now)
    reports = stage.sent_up(messages.Playout)
    assert reports[-1].heard_until == 5 * TICK_SAMPLES
    assert [report.heard_until for report in reports].count(5 * TICK_SAMPLES) == 1


def test_a_silent_viewer_shows_a_sign_of_life(stage: Stage) -> None:
    stage.ticks(int(2.5 * SIGN_OF_LIFE_S / TICK_S))
    assert len(stage.sent_up(messages.Opened)) == 3


def test_an_ended_session_touches_nothing_that_may_be_anothers(stage: Stage) -> None:
    stage.session.on_closed("viewer-left", stage.now)
    slot = stage.animator.open(seed=1)
    before = len(stage.up)
    stage.say(1, 3)
    stage.hear("started")
    stage.session.on_control(encode_control("send-text", {"content": "Hello"}), stage.now)
    assert len(stage.up) == before
    stage.animator.close(slot)


def test_the_last_words_are_cut_too_where_they_wait_at_the_viewer(stage: Stage) -> None:
    stage.say(1, 10)
    stage.ticks(12)
    audible = stage.link.packets[6][1]
    stage.session.on_control(encode_feedback(Feedback(playout_timestamp=audible)), stage.now)
    stage.hear("cut")
    stage.ticks(1)
    assert stage.link.units[-1].flags & AccessUnitFlags.CUT
    assert stage.sent_up(messages.BargeIn) == [
        messages.BargeIn(utterance_id=1, heard_until=6 * TICK_SAMPLES, cause="speech")
    ]
    stage.say(2, 3)
    stage.ticks(1)
    assert stage.link.units[-1].flags == AccessUnitFlags.SPEECH


def test_an_interruption_after_all_was_heard_cuts_nothing(stage: Stage) -> None:
    stage.say(1, 10)
    stage.ticks(30)
    stage.hear("cut")
    stage.ticks(1)
    assert not stage.link.units[-1].flags & AccessUnitFlags.CUT
    assert stage.sent_up(messages.BargeIn) == [messages.BargeIn(utterance_id=0, heard_until=0, cause="speech")]


def test_a_user_who_is_heard_is_not_taken_for_silent(stage: Stage) -> None:
    stage.hear("started")
    stage.session.receive(messages.TurnState(state="idle"), stage.now)  # the origin has not heard it yet
    stage.ticks(1)
    assert stage.link.state() is FaceState.LISTENING


def test_a_noise_that_only_the_ear_took_for_a_question_is_soon_forgotten(stage: Stage) -> None:
    stage.hear("started")
    stage.hear("paused")
    stage.ticks(int(LISTENING_S_MAX / TICK_S) - 2)
    assert stage.link.state() is FaceState.THINKING
    stage.ticks(5)
    assert stage.link.state() is FaceState.IDLE


@pytest.mark.parametrize("typed", [True, False])
def test_a_question_that_the_origin_knows_of_is_thought_about_longer(stage: Stage, typed: bool) -> None:
    if typed:
        stage.session.on_control(encode_control("send-text", {"content": "Who?"}), stage.now)
    else:
        stage.hear("started")
        stage.hear("paused")
        stage.session.receive(messages.TurnState(state="thinking"), stage.now)
    stage.ticks(int(2 * LISTENING_S_MAX / TICK_S))
    assert stage.link.state() is FaceState.THINKING


def test_a_face_whose_voice_breaks_off_thinks_while_somebody_else_takes_over() -> None:
    stage = Stage()
    stage.connect()
    stage.say(1, 10, end=False)
    stage.ticks(4)
    assert stage.link.state() is FaceState.SPEAKING
    assert stage.session.close_voice() == (1, 10)
    stage.session.receive(messages.TurnState(state="thinking", generation=2), stage.now)
    stage.ticks(5)
    assert stage.link.state() is FaceState.SPEAKING, "what is there is played to its end"
    stage.ticks(4)
    assert stage.link.state() is FaceState.THINKING
    stage.say(65_537, 4)
    stage.ticks(3)
    assert stage.link.state() is FaceState.SPEAKING

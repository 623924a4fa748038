"""A viewer's session: what it sends every tick, and what it makes of the viewer, the ear and the origin."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from core.errors import AdmissionError
from core.fabric.memory import MemoryBus
from core.limits import IDLE_FRAMES_PER_PACKET, TEXT_CHARS_MAX, TICK_S, TICK_SAMPLES
from core.session.claims import Claims
from core.session.state import FaceState
from core.speech import messages
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit
from core.wire.control import encode_control
from core.wire.feedback import Feedback, embed_feedback, encode_feedback
from core.wire.frame_codec import FrameDecoder
from core.wire.opus_padding import duration_samples, silence, strip
from edge.animator import Animator
from edge.conductor import Conductor
from edge.ear import EarEvent, EarKind
from edge.hearing import Hearing
from edge.metrics import PopMetrics
from edge.session import Session, SessionServices
from edge.sessions import Sessions
from edge.transports.link import MicrophoneUnit

_T = TypeVar("_T", bound=messages.UpMessage)
VOICE = b"\x78" + bytes(range(40))  # one 20 ms CELT frame


class _Link:
    protocol = "test"

    def __init__(self) -> None:
        self.packets: list[tuple[bytes, int]] = []
        self.control: list[dict[str, Any]] = []
        self.closed = ""

    def send_packet(self, payload: bytes, timestamp: int) -> bool:
        self.packets.append((payload, timestamp))
        return True

    def send_control(self, data: str | bytes) -> None:
        assert isinstance(data, str)
        self.control.append(json.loads(data))

    async def aclose(self, reason: str) -> None:
        self.closed = reason

    def state(self) -> FaceState:
        return self.units[-1].state

    @property
    def units(self) -> list[AccessUnit]:
        units = [decode_access_unit(payload) for payload, _ in self.packets]
        return [unit for unit in units if unit is not None]

    def words(self, kind: str) -> list[dict[str, Any]]:
        found = [message["data"] for message in self.control if message["type"] == kind]
        found += [
            message["data"]["d"]
            for message in self.control
            if message["type"] == "server-message" and message["data"]["t"] == kind
        ]
        return found


class _ScriptedEar:
    """An ear whose opinion the test decides; the real one has its own tests."""

    def __init__(self) -> None:
        self.level = 0.0
        self.speaking = False
        self.next: list[EarEvent] = []
        self.heard_played = 0

    def receive(self, unit: MicrophoneUnit, now: float) -> list[EarEvent]:
        events, self.next = self.next, []
        for event in events:
            self.speaking = event.kind in ("started", "resumed") or (self.speaking and event.kind != "paused")
        return events

    def handle_timer(self, now: float) -> list[EarEvent]:
        return []

    def played(self, log_mel: bytes, now: float) -> None:
        self.heard_played += 1


class _Stage:
    """One session on a table: a clock, a link, an ear, and everything that goes up."""

    def __init__(self) -> None:
        self.now = 100.0
        self.up: list[messages.UpMessage] = []
        self.ended: list[str] = []
        self.ear = _ScriptedEar()
        self.link = _Link()
        self.registry = CollectorRegistry()
        self.metrics = PopMetrics(self.registry)
        self.animator = Animator()
        self.conductor = Conductor(animator=self.animator)
        self.services = SessionServices(
            animator=self.animator,
            metrics=self.metrics,
            send_up=lambda _session_id, message: self.up.append(message),
            make_hearing=lambda send_up: Hearing(ear=self.ear, send_up=send_up),  # type: ignore[arg-type]
            fabric_latency_s=lambda: 0.001,
            clock=lambda: self.now,
            wall_clock=lambda: 1_700_000_000.0,
        )
        self.session = Session(claims=claims(), services=self.services, seed=7, on_ended=self.ended.append)
        self.session.attach(self.link)
        self.conductor.add(self.session)
        self.microphone_timestamp = 0

    def connect(self) -> None:
        self.session.on_connected(self.now)

    def ticks(self, count: int) -> None:
        for _ in range(count):
            for phase in range(4):
                self.conductor.step(phase, self.now, self.now)
            self.now += TICK_S

    def say(self, utterance_id: int, packets: int, *, end: bool = True) -> None:
        self.session.receive(messages.SpeechStart(utterance_id=utterance_id, turn_id=utterance_id), self.now)
        for index in range(packets):
            span = (messages.PhonemeSpan("a", index * TICK_SAMPLES, (index + 1) * TICK_SAMPLES),)
            self.session.receive(
                messages.SpeechPacket(
                    utterance_id=utterance_id, index=index, opus=VOICE, phonemes=span, log_mel=bytes([90] * 40)
                ),
                self.now,
            )
        if end:
            self.session.receive(messages.SpeechEnd(utterance_id=utterance_id, packets=packets), self.now)

    def hear(self, kind: EarKind | None = None, payload: bytes = VOICE) -> None:
        if kind is not None:
            self.ear.next.append(EarEvent(kind, self.microphone_timestamp))
        unit = MicrophoneUnit(
            payload=payload, timestamp=self.microphone_timestamp, sequence_number=self.microphone_timestamp // 960
        )
        self.microphone_timestamp += TICK_SAMPLES
        self.session.on_microphone(unit, self.now)

    def sent_up(self, kind: type[_T]) -> list[_T]:
        return [message for message in self.up if isinstance(message, kind)]


def claims(session_id: str = "s1") -> Claims:
    return Claims(
        issuer="origin",
        audience="local",
        session_id=session_id,
        ticket_id="t1",
        issued_at=0,
        expires_at=60,
        epoch=1,
        scopes=("webrtc",),
        character="mira",
    )


@pytest.fixture
def stage() -> _Stage:
    stage = _Stage()
    stage.connect()
    return stage


def test_nothing_is_sent_before_the_link_is_up() -> None:
    stage = _Stage()
    stage.ticks(5)
    assert stage.link.packets == []
    assert stage.up == []
    stage.connect()
    stage.ticks(1)
    assert len(stage.link.packets) == 1
    assert stage.sent_up(messages.Opened) == [messages.Opened(epoch=1, transport="test")]


def test_an_idle_track_thins_to_80_ms_packets_that_cover_all_time(stage: _Stage) -> None:
    stage.ticks(100)
    durations = [duration_samples(payload) for payload, _ in stage.link.packets]
    timestamps = [timestamp for _, timestamp in stage.link.packets]
    assert durations[-1] == IDLE_FRAMES_PER_PACKET * TICK_SAMPLES
    for duration, first, second in zip(durations, timestamps, timestamps[1:], strict=False):
        assert first + duration == second
    assert len(stage.link.packets) < 50


def test_every_unit_carries_a_frame_that_decodes(stage: _Stage) -> None:
    stage.say(1, 10)
    stage.ticks(40)
    decoder = FrameDecoder()
    for unit in stage.link.units:
        frame = decoder.decode(unit.frame, unit.sequence_number)
        assert hasattr(frame, "weights")


def test_the_voice_is_carried_untouched_and_in_order(stage: _Stage) -> None:
    stage.say(1, 5)
    stage.ticks(10)
    spoken = [payload for payload, _ in stage.link.packets if strip(payload) != silence(1)]
    assert [strip(payload) for payload in spoken] == [strip(payload) for payload in [spoken[0]] * 5]
    flags = [unit.flags & AccessUnitFlags.SPEECH for unit in stage.link.units]
    assert [bool(flag) for flag in flags[:6]] == [True] * 5 + [False]


def test_speech_moves_the_face_through_speaking_and_back(stage: _Stage) -> None:
    stage.say(1, 5)
    stage.ticks(8)
    assert stage.link.units[0].state is FaceState.SPEAKING
    assert stage.link.state() is FaceState.IDLE
    assert [state["state"] for state in stage.link.words("state")] == ["speaking", "idle"]
    assert len(stage.link.words("bot-started-speaking")) == 1
    assert len(stage.link.words("bot-stopped-speaking")) == 1
    assert stage.link.words("utterance")[0] == {"utterance_id": 1, "rtp_timestamp": stage.link.packets[0][1]}


def test_the_edge_reports_what_it_added(stage: _Stage) -> None:
    stage.say(1, 5)
    stage.ticks(8)
    stages = stage.link.words("stages")
    assert stages[0]["stages"].keys() == {"edge", "fabric"}
    assert stages[-1]["edge_units"] == 5
    assert stages[-1]["edge_added_ms_p99"] == 0.0
    assert stage.ear.heard_played == 5


def test_listening_and_thinking_come_from_the_ear_and_go_up(stage: _Stage) -> None:
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


def test_the_origin_can_take_a_reaction_back(stage: _Stage) -> None:
    stage.hear("started")
    stage.hear("paused")
    stage.session.receive(messages.TurnState(state="listening"), stage.now)
    stage.ticks(1)
    assert stage.link.state() is FaceState.LISTENING


def test_the_microphone_goes_up_only_while_somebody_speaks(stage: _Stage) -> None:
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


def test_a_microphone_that_stops_sending_becomes_silence_for_the_origin(stage: _Stage) -> None:
    stage.hear("started")
    stage.ticks(30)
    packets = stage.sent_up(messages.MicrophonePacket)
    assert len(packets) > 20
    assert packets[-1].opus == silence(1)
    assert packets[-1].timestamp == (len(packets) - 1) * TICK_SAMPLES


def test_barge_in_ducks_then_cuts_and_tells_what_was_heard(stage: _Stage) -> None:
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


def test_a_false_alarm_lets_go(stage: _Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.hear("duck")
    stage.hear("release")
    stage.ticks(1)
    assert stage.link.units[-1].flags == AccessUnitFlags.SPEECH
    assert stage.sent_up(messages.BargeIn) == []


def test_a_duck_while_nobody_speaks_means_nothing(stage: _Stage) -> None:
    stage.hear("duck")
    stage.say(1, 3)
    stage.ticks(1)
    assert not stage.link.units[-1].flags & AccessUnitFlags.DUCK


def test_a_new_answer_after_a_cut_is_heard_at_once(stage: _Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.hear("cut")
    stage.ticks(1)
    stage.session.receive(messages.TurnState(state="listening", turn_id=2), stage.now)
    stage.say(2, 5)
    stage.ticks(1)
    assert stage.link.units[-1].flags == AccessUnitFlags.SPEECH


def test_the_next_clause_of_a_cut_answer_is_dropped_until_the_origin_has_heard_of_it(stage: _Stage) -> None:
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


def test_an_origin_that_never_answers_a_barge_in_is_heard_again_after_a_while(stage: _Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.hear("cut")
    stage.ticks(60)
    stage.say(2, 5)
    stage.ticks(1)
    assert stage.link.units[-1].flags & AccessUnitFlags.SPEECH


def test_the_viewer_may_interrupt_by_request(stage: _Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.session.on_control(encode_control("client-message", {"t": "interrupt"}), stage.now)
    stage.ticks(1)
    assert not stage.link.units[-1].flags & AccessUnitFlags.SPEECH
    assert stage.sent_up(messages.BargeIn)[0].cause == "request"


def test_typed_text_goes_up_and_the_face_thinks(stage: _Stage) -> None:
    stage.session.on_control(encode_control("send-text", {"content": " Who are you? "}), stage.now)
    stage.ticks(1)
    assert stage.sent_up(messages.UserText) == [messages.UserText(text="Who are you?")]
    assert stage.link.state() is FaceState.THINKING


def test_typing_interrupts(stage: _Stage) -> None:
    stage.say(1, 100)
    stage.ticks(5)
    stage.session.on_control(encode_control("send-text", {"content": "Stop"}), stage.now)
    kinds = [type(message) for message in stage.up if isinstance(message, (messages.BargeIn, messages.UserText))]
    assert kinds == [messages.BargeIn, messages.UserText]


@pytest.mark.parametrize("content", ["", "   ", None, 7, "x" * (TEXT_CHARS_MAX + 1)])
def test_bad_text_is_refused_in_words(stage: _Stage, content: object) -> None:
    stage.session.on_control(encode_control("send-text", {"content": content}), stage.now)
    assert len(stage.link.words("error")) == 1
    assert stage.sent_up(messages.UserText) == []
    assert stage.ended == []


@pytest.mark.parametrize("data", ["", "{", '{"label":"x","type":"y"}', "[" * 10_000, b"", b"\x00" * 30, "x" * 20_000])
def test_garbage_on_the_control_channel_is_counted_and_harmless(stage: _Stage, data: str | bytes) -> None:
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


def test_feedback_rides_in_the_microphone(stage: _Stage) -> None:
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


def test_absurd_playout_is_counted(stage: _Stage) -> None:
    stage.ticks(2)
    stage.session.on_control(encode_feedback(Feedback(playout_timestamp=0x7FFFFFFF)), stage.now)
    assert stage.registry.get_sample_value("edge_dropped_total", {"reason": "absurd-playout"}) == 1


def test_the_origin_learns_what_was_heard(stage: _Stage) -> None:
    stage.say(1, 50)
    stage.ticks(20)
    stage.session.on_control(
        encode_feedback(Feedback(playout_timestamp=stage.link.packets[15][1] & 0xFFFFFFFF)), stage.now
    )
    assert stage.sent_up(messages.Playout) == [messages.Playout(utterance_id=1, heard_until=15 * TICK_SAMPLES)]


def test_waiting_has_an_end(stage: _Stage) -> None:
    stage.session.receive(messages.TurnState(state="thinking"), stage.now)
    stage.ticks(10)
    assert stage.link.state() is FaceState.THINKING
    stage.ticks(int(20 / TICK_S))
    assert stage.link.state() is FaceState.IDLE


def test_captions_mood_and_faults_reach_the_viewer(stage: _Stage) -> None:
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


def test_a_skipped_tick_moves_media_time_on(stage: _Stage) -> None:
    stage.say(1, 10)
    stage.ticks(1)
    stage.session.skip()
    stage.ticks(1)
    first, second = (timestamp for _, timestamp in stage.link.packets)
    assert second - first == 2 * TICK_SAMPLES


def test_an_ended_session_frees_its_slot_once(stage: _Stage) -> None:
    stage.session.on_closed("viewer-left", stage.now)
    stage.session.on_closed("again", stage.now)
    assert stage.ended == ["viewer-left"]
    assert stage.sent_up(messages.Closed) == [messages.Closed(reason="viewer-left")]
    assert stage.registry.get_sample_value("edge_sessions_active") == 0


# --- all sessions of a POP ---------------------------------------------------------------------------------------


def _sessions(stage: _Stage, bus: MemoryBus, capacity: int = 2) -> Sessions:
    return Sessions(bus=bus, conductor=stage.conductor, services=stage.services, capacity=capacity, seed=lambda: 3)


async def test_a_pop_admits_up_to_its_capacity_and_each_session_once() -> None:
    stage, bus = _Stage(), MemoryBus()
    sessions = _sessions(stage, bus)
    await sessions.open(claims("a"))
    with pytest.raises(AdmissionError, match="already"):
        await sessions.open(claims("a"))
    await sessions.open(claims("b"))
    with pytest.raises(AdmissionError, match="full"):
        await sessions.open(claims("c"))
    sessions.abandon(claims("a"), "bad-sdp")
    await sessions.open(claims("c"))
    await sessions.aclose()
    assert len(sessions) == 0
    with pytest.raises(AdmissionError, match="shutting down"):
        await sessions.open(claims("d"))


async def test_what_the_origin_says_reaches_the_session_and_garbage_does_not_hurt() -> None:
    stage, bus = _Stage(), MemoryBus()
    sessions = _sessions(stage, bus)
    link = _Link()
    await sessions.open(claims("a"))
    sessions.attach(claims("a"), link)
    await bus.publish(messages.down_subject("a"), b"\xc1garbage")
    await bus.publish(messages.down_subject("a"), messages.encode(messages.Mood(label="calm", valence=0, arousal=0)))
    for _ in range(20):
        if link.words("mood"):
            break
        await asyncio.sleep(0.005)
    assert link.words("mood")[0]["label"] == "calm"
    assert stage.registry.get_sample_value("edge_dropped_total", {"reason": "bad-message"}) == 1
    await sessions.aclose()
    assert link.closed == "pop-stopping"
    assert link.words("goaway")

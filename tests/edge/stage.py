"""A session on a table: a clock, a link, an ear whose opinion the test decides, and everything that goes up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from core.limits import TICK_S, TICK_SAMPLES
from core.session.claims import MODE_CONVERSATION, Claims
from core.session.state import FaceState
from core.speech import messages
from core.stream.rate_control import LadderController, RateController
from core.wire.access_unit import AccessUnit, decode_access_unit
from edge.animator import Animator
from edge.conductor import Conductor
from edge.ear import EarEvent, EarKind, Listening
from edge.hearing import Hearing
from edge.listening import ListeningRound
from edge.live_voices import LiveVoices
from edge.metrics import PopMetrics
from edge.session import Session, SessionServices
from edge.transports.link import MicrophoneUnit, ViewerLink

_T = TypeVar("_T", bound=messages.UpMessage)
VOICE = b"\x78" + bytes(range(40))  # one 20 ms CELT frame


class RecordingLink:
    protocol = "test"
    plays_sound_itself = False

    def __init__(self) -> None:
        self.packets: list[tuple[bytes, int]] = []
        self.keyframes: list[tuple[bytes, int]] = []
        self.control: list[dict[str, Any]] = []
        self.closed = ""

    def send_packet(self, payload: bytes, timestamp: int) -> bool:
        self.packets.append((payload, timestamp))
        return True

    def send_keyframe(self, payload: bytes, timestamp: int) -> None:
        self.keyframes.append((payload, timestamp))

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


class ScriptedEar:
    """An ear whose opinion the test decides; the real one has its own tests."""

    def __init__(self) -> None:
        self.level = 0.0
        self.speaking = False
        self.next: list[EarEvent] = []
        self.heard_played = 0

    def listen(self, unit: MicrophoneUnit, now: float) -> Listening:
        events, self.next = self.next, []
        for event in events:
            self.speaking = event.kind in ("started", "resumed") or (self.speaking and event.kind != "paused")
        return events
        yield

    def handle_timer(self, now: float) -> list[EarEvent]:
        return []

    def played(self, log_mel: bytes, now: float) -> None:
        self.heard_played += 1


class Stage:
    """One session on a table: a clock, a link, an ear, and everything that goes up."""

    def __init__(
        self,
        make_controller: Callable[[], RateController] = LadderController,
        animator: Animator | None = None,
        mode: str = MODE_CONVERSATION,
    ) -> None:
        self.now = 100.0
        self.up: list[messages.UpMessage] = []
        self.ended: list[str] = []
        self.ear = ScriptedEar()
        self.link = RecordingLink()
        self.registry = CollectorRegistry()
        self.metrics = PopMetrics(self.registry)
        self.animator = animator or Animator()
        self.live_voices = LiveVoices()
        self.conductor = Conductor(animator=self.animator, before_phase=self.live_voices.flush)
        self.services = SessionServices(
            animator=self.animator,
            metrics=self.metrics,
            send_up=lambda _session_id, message: self.up.append(message),
            make_hearing=self._make_hearing,
            live_voices=self.live_voices,
            make_controller=make_controller,
            fabric_latency_s=lambda: 0.001,
            clock=lambda: self.now,
            wall_clock=lambda: 1_700_000_000.0,
        )
        self.issued = 0
        self.closing: list[tuple[ViewerLink, str]] = []
        self.session = Session(
            claims=claims(mode=mode),
            services=self.services,
            seed=7,
            on_ended=self.ended.append,
            close_link=lambda link, reason: self.closing.append((link, reason)),
            issue_resume=self.issue,
        )
        self.door = self.session.links.open()
        self.door.attach(self.link)
        self.conductor.add(self.session)
        self.microphone_timestamp = 0

    def _make_hearing(self, send_up: Callable[[messages.UpMessage], None]) -> Hearing:
        at_once = ListeningRound(None, lambda work: work())  # type: ignore[arg-type]
        return Hearing(ear=self.ear, listening_round=at_once, send_up=send_up)  # type: ignore[arg-type]

    def issue(self) -> str:
        self.issued += 1
        return f"vvr_{self.issued}"

    def connect(self) -> None:
        self.door.on_connected(self.now)

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
        self.door.on_microphone(unit, self.now)

    def sent_up(self, kind: type[_T]) -> list[_T]:
        return [message for message in self.up if isinstance(message, kind)]


def claims(session_id: str = "s1", mode: str = MODE_CONVERSATION, epoch: int = 1) -> Claims:
    return Claims(
        issuer="origin",
        audience="local",
        session_id=session_id,
        ticket_id="t1",
        issued_at=0,
        expires_at=60,
        epoch=epoch,
        scopes=("webrtc",),
        character="mira",
        mode=mode,
    )

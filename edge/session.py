"""One viewer's session at the POP: everything that happens to it, and its packet every tick.

The conductor calls `gather` and `emit`; the transport calls the `LinkEvents` methods; the origin's messages come in
through `receive`. Nothing here waits: what goes to the origin is queued on the uplink, what goes to the viewer is sent
by the link at once or dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.avatar.frame import AnimationFrame
from core.errors import Dropped, RemoteProtocolError
from core.limits import (
    IDLE_THIN_AFTER_S,
    LISTENING_S_MAX,
    RESUME_TOKEN_LIFETIME_S,
    TEXT_CHARS_MAX,
    THINKING_S_MAX,
)
from core.session.claims import MODE_MIRROR, Claims
from core.session.machine import TURN_TRIGGERS, FaceMachine, Trigger
from core.session.state import FaceState
from core.speech.messages import (
    BargeIn,
    Closed,
    DownMessage,
    Opened,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    TurnState,
    UpMessage,
    UserSpeech,
    UserText,
)
from core.speech.messages import Mood as MoodMessage
from core.speech.student_layout import LOOKAHEAD_FRAMES
from core.stream.rate_control import LadderController, RateController
from core.stream.speech_track import Placed, SpeechTrack
from core.wire.control import ControlMessage, decode_control
from core.wire.feedback import Feedback, decode_feedback, extract_feedback
from edge.animator import Animator, AnimatorRow
from edge.delivery import Delivery
from edge.ear import EarEvent
from edge.edge_time import EdgeTime
from edge.heard import Heard
from edge.hearing import Hearing
from edge.interruption import Interruption
from edge.live_voices import LiveSpeech, LiveVoices
from edge.metrics import PopMetrics
from edge.mirror import Mirror
from edge.narrator import Narrator
from edge.packet_plan import PacketPlan, is_voice
from edge.presence import GOODBYES, Presence
from edge.session_links import SessionLinks
from edge.transports.link import MicrophoneUnit, ViewerLink

__all__ = ["Session", "SessionServices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionServices:
    """What all sessions of a POP share."""

    animator: Animator
    metrics: PopMetrics
    send_up: Callable[[str, UpMessage], None]
    make_hearing: Callable[[Callable[[UpMessage], None]], Hearing]
    live_voices: LiveVoices = field(default_factory=LiveVoices)
    make_controller: Callable[[], RateController] = LadderController
    fabric_latency_s: Callable[[], float | None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time


class Session:
    """See the module docstring.

    Args:
        claims: what the ticket says.
        services: what sessions share.
        seed: of this face's behaviour.
        on_ended: called exactly once with the reason, when the viewer is gone for good or the session failed.
        close_link: closes a link, soon.
        issue_resume: a fresh token that brings this viewer back over another link.

    Attributes:
        links: its links; what they tell comes from the one that counts.
    """

    def __init__(
        self,
        *,
        claims: Claims,
        services: SessionServices,
        seed: int,
        on_ended: Callable[[str], None],
        close_link: Callable[[ViewerLink, str], None],
        issue_resume: Callable[[], str],
    ) -> None:
        now = services.clock()
        self.claims = claims
        self._services = services
        self._on_ended = on_ended
        self.links = SessionLinks(events=self, close=close_link, fail=self.fail, on_dropped=services.metrics.dropped)
        self._presence = Presence(links=self.links, metrics=services.metrics, issue_resume=issue_resume, created_at=now)
        self._ended = False
        self._slot = services.animator.open(seed=seed, character=claims.character)
        self._face = FaceMachine(now)
        self._track = SpeechTrack()
        self._live = LiveSpeech(services.live_voices, self._track, self._place)
        self._plan = PacketPlan(self._track)
        self._heard = Heard(self._track)
        self._delivery = Delivery(
            epoch=claims.epoch,
            metrics=services.metrics,
            make_controller=services.make_controller,
            ask_voice=self._send_up,
        )
        self._hearing = services.make_hearing(self._send_up)
        self._narrator = Narrator(send=self._presence.send, keep=self._presence.keep, wall_clock=services.wall_clock)
        self._edge_time = EdgeTime(narrator=self._narrator, fabric_latency_s=services.fabric_latency_s)
        self._interruption = Interruption()
        self._turn_ended = False
        self._mirror = Mirror(services.metrics.dropped) if claims.mode == MODE_MIRROR else None

    # --- the transport's side (LinkEvents) -----------------------------------------------------------------------

    def on_connected(self, now: float) -> None:
        """A link counts from now on: the first one, or one that takes the place of another."""
        link = self.links.link
        if self._ended or link is None:
            return
        again = self._presence.begun
        self._delivery.begin(link)
        self._presence.came(now)
        if again:
            self._narrator.state(self._face.state)
            self._narrator.resume(self._presence.resume_token(now), RESUME_TOKEN_LIFETIME_S)
        self._say_opened(now)

    def on_microphone(self, unit: MicrophoneUnit, now: float) -> None:
        """A microphone packet: the feedback in it first, then the ear."""
        if self._ended:
            return
        self._services.metrics.packets_received.inc()
        try:
            feedback = extract_feedback(unit.payload)
        except RemoteProtocolError as error:
            self._services.metrics.dropped(error.code)
            feedback = None
        if feedback is not None:
            self._receive_feedback(feedback, now)
        if self._mirror is not None:
            for message in self._mirror.receive(unit, now, queued=self._track.queued_packets):
                self.receive(message, now)
            return
        self._hearing.receive(unit, now, lambda event: self._noticed(event, now), lambda: self.fail("internal-error"))

    def on_control(self, data: str | bytes, now: float) -> None:
        """A control message: RTVI text or binary feedback."""
        if self._ended:
            return
        try:
            if isinstance(data, bytes):
                self._receive_feedback(decode_feedback(data), now)
                return
            message = decode_control(data)
        except RemoteProtocolError as error:
            self._services.metrics.dropped(error.code)
            if isinstance(data, str):
                self._narrator.error(f"That control message cannot be understood ({error.code}).")
            return
        if isinstance(message, Dropped):
            self._services.metrics.dropped(message.reason)
            return
        self._control(message, now)

    def on_closed(self, reason: str, now: float) -> None:
        """No link counts any more. A viewer that did not say goodbye may be back soon: the face lives on."""
        if not self._presence.begun or reason in GOODBYES:
            self._end(reason)
        elif not self._ended:
            self._presence.went(now)
            self._delivery.end()
            self._interruption.ducked = False

    # --- the user ------------------------------------------------------------------------------------------------

    def _control(self, message: ControlMessage, now: float) -> None:
        if message.type == "client-ready":
            self._narrator.client_ready(message, self._face.state)
            self._narrator.resume(self._presence.resume_token(now), RESUME_TOKEN_LIFETIME_S)
        elif self._mirror is not None and message.type in ("send-text", "client-message"):
            self._narrator.error("Nobody answers here: what your microphone hears is what the character says.")
        elif message.type == "send-text":
            self._typed(message.data.get("content"), now)
        elif message.type == "client-message" and message.data.get("t") == "interrupt":
            self._barge_in("request", now)
        elif message.type == "disconnect-bot":
            self._end("viewer-left")
        else:
            self._services.metrics.dropped(self._narrator.unused(message))

    def _typed(self, content: object, now: float) -> None:
        if not isinstance(content, str) or not content.strip():
            self._narrator.error("There was no text in that message.")
            return
        if len(content) > TEXT_CHARS_MAX:
            self._narrator.error(f"That text is too long: {len(content)} of at most {TEXT_CHARS_MAX} characters.")
            return
        if self._track.active:
            self._barge_in("request", now)
        self._send_up(UserText(text=content.strip()))
        self._turn_ended = True
        self._trigger(Trigger.USER_TYPED, now)

    def _noticed(self, event: EarEvent, now: float) -> None:
        if self._ended:
            return  # what it heard last
        match event.kind:
            case "started" | "resumed":
                self._turn_ended = False
                self._trigger(Trigger.USER_STARTED, now)
                self._narrator.user_speaking(True)
                self._send_up(UserSpeech(speaking=True, timestamp=event.timestamp))
            case "paused":
                self._trigger(Trigger.USER_PAUSED, now)
                self._narrator.user_speaking(False)
                self._send_up(UserSpeech(speaking=False, timestamp=event.timestamp))
            case "duck":
                self._interruption.ducked = self._track.active
            case "release":
                self._interruption.ducked = False
            case "cut":
                self._barge_in("speech", now)

    def _barge_in(self, cause: str, now: float) -> None:
        """Silence the character at once and tell the origin what was heard of it."""
        self._interruption.ducked = False
        utterance_id, heard_until = self._heard.interrupted(sent=self._plan.media_time, now=now)
        if self._track.active:
            self._track.cancel(self._track.latest_utterance_id)
            self._interruption.answer_cut(now)
            self._cut_voice(now)
        elif utterance_id:
            self._cut_voice(now)
        was_speaking = self._face.state is FaceState.SPEAKING
        self._trigger(Trigger.VOICE_CUT, now)
        if was_speaking:
            self._voice_over()
        self._send_up(
            BargeIn(
                utterance_id=utterance_id,
                heard_until=heard_until,
                cause="speech" if cause == "speech" else "request",
            )
        )

    def _cut_voice(self, now: float) -> None:
        self._services.animator.speech_cut(self._slot)
        self._narrator.cut()
        self._interruption.cut(now)

    def _receive_feedback(self, feedback: Feedback, now: float) -> None:
        self._delivery.receive(feedback, now)
        if feedback.playout_timestamp is None:
            return
        sent = self._plan.media_time
        if not self._heard.report(feedback.playout_timestamp, sent=sent, now=now):
            self._services.metrics.dropped("absurd-playout")
            return
        speaking = self._track.active or self._face.state is FaceState.SPEAKING
        progress = self._heard.progress(sent=sent, now=now, speaking=speaking)
        if progress is None:
            return
        latency_s = self._heard.latency_s(sent=sent, now=now)
        if latency_s is not None:
            self._services.metrics.mouth_to_ear_seconds.observe(latency_s)
        self._send_up(progress)

    # --- the origin ----------------------------------------------------------------------------------------------

    def receive(self, message: DownMessage, now: float) -> None:
        """The origin said something."""
        if self._ended:
            return  # the slot may be another session's by now
        match message:
            case SpeechPacket():
                self._speech_packet(message)
                return
            case SpeechStart() if self._interruption.refuses(now):
                # Sent before the origin heard of the barge-in: the next clause of the answer that was cut.
                self._track.cancel(message.utterance_id)
                self._services.metrics.dropped("cut-answer")
                return
            case ReplyText() if self._interruption.refuses(now) or self._track.is_cancelled(message.utterance_id):
                return
            case SpeechStart():
                if (dropped := self._track.start(message.utterance_id)) is not None:
                    self._services.metrics.dropped(dropped.reason)
                    return
                self._services.animator.speech_start(self._slot, message.utterance_id)
                self._edge_time.utterance_begins()
            case SpeechEnd():
                self._live.end(message.utterance_id)
                self._track.end(message.utterance_id, message.packets)
            case SpeechCancel():
                self._cancelled(message.utterance_id, now)
            case TurnState():
                self._interruption.origin_heard()
                self._turn_ended = message.state == "thinking"
                trigger = TURN_TRIGGERS.get(message.state)
                # The ear is ahead of the origin: who is heard now is not taken for silent.
                early = self._hearing.speaking and trigger in (Trigger.TURN_IDLE, Trigger.TURN_THINKING)
                if trigger is not None and not early and not (trigger is Trigger.TURN_IDLE and self._track.active):
                    self._trigger(trigger, now)
            case MoodMessage():
                self._services.animator.set_mood(self._slot, message.valence, message.arousal)
            case _:
                pass
        self._narrator.receive(message)

    def close_voice(self) -> tuple[int, int]:
        """See `SpeechTrack.close_newest`."""
        closed = self._track.close_newest()
        self._narrator.shorten(*closed)
        return closed

    def _speech_packet(self, packet: SpeechPacket) -> None:
        if not is_voice(packet.opus):
            self._services.metrics.dropped("bad-voice")
        elif packet.log_mel:
            self._place(packet)
        else:
            self._live.push(packet)

    def _place(self, packet: SpeechPacket) -> None:
        if self._ended:
            return
        now = self._services.clock()
        if (dropped := self._track.push(packet, now)) is not None:
            self._services.metrics.dropped(dropped.reason)
            return
        self._edge_time.voice_arrived(now)
        if packet.phonemes:
            self._services.animator.speech_phonemes(self._slot, packet.utterance_id, packet.phonemes)

    def _cancelled(self, utterance_id: int, now: float) -> None:
        if not self._track.active:
            return
        self._track.cancel(utterance_id)
        if not self._track.active:
            self._cut_voice(now)
            if self._face.state is FaceState.SPEAKING:
                self._trigger(Trigger.VOICE_ENDED, now)
                self._voice_over()

    # --- the conductor -------------------------------------------------------------------------------------------

    def gather(self, due: float, now: float) -> AnimatorRow | None:
        """See edge.conductor.Conducted."""
        if not self._presence.begun:
            return None
        if self._presence.gone(now):
            self._end("connection-lost")
            return None
        if self._presence.resume_due(now):
            self._narrator.resume(self._presence.resume_token(now), RESUME_TOKEN_LIFETIME_S)
        if self._presence.sign_of_life_due(now):
            self._say_opened(now)
        for message in self._mirror.handle_timer(now) if self._mirror is not None else ():
            self.receive(message, now)
        for event in self._hearing.tick(now):
            self._noticed(event, now)
        if self._narrator.words_pending:
            self._narrator.heard(self._heard.audible(sent=self._plan.media_time, now=now))
        if self._plan.covered:
            covered = self._plan.pass_tick()
            if covered is not None:
                self._hearing.played(covered.log_mel, due)
            return None
        if self._face.state is FaceState.SPEAKING and not self._track.active:
            self._trigger(Trigger.VOICE_ENDED, now)
            self._voice_over()
            if self._turn_ended:
                self._trigger(Trigger.TURN_THINKING, now)
        placed = self._plan.begin()
        if placed is not None:
            self._follow_voice(placed, now)
        self._give_up_waiting(now)
        self._extend_packet(now)
        return AnimatorRow(
            slot=self._slot,
            media_time=self._plan.media_time,
            state=self._face.state,
            utterance_id=placed.utterance_id if placed else 0,
            utterance_ticks=placed.ticks if placed else 0,
            log_mel=placed.log_mel if placed else b"",
            user_level=self._hearing.level,
            heard=self._track.hear(LOOKAHEAD_FRAMES) if placed is not None else b"",
        )

    def emit(self, frame: AnimationFrame, due: float) -> None:
        """See edge.conductor.Conducted."""
        plan = self._plan
        voice, media_time = plan.voice, plan.media_time
        if plan.idle:
            self._delivery.send_idle(frame=frame, state=self._face.state, media_time=media_time, now=due)
        else:
            self._delivery.send(
                frame=frame,
                opus=[placed.opus for placed in voice],
                silent_ticks=plan.ticks,
                state=self._face.state,
                flags=self._interruption.flags(due),
                media_time=media_time,
                now=due,
            )
        plan.leave()
        now = self._services.clock()
        added = now - max(due, plan.placed.arrived_at if plan.placed is not None else due)
        self._services.metrics.stage_edge.observe(added)
        if voice:
            self._edge_time.voice_left(added)
            self._hearing.played(voice[0].log_mel, due)
            if voice[0].first:
                self._edge_time.first_left(voice[0].utterance_id, voice[0].arrived_at, now)

    def skip(self) -> None:
        """See edge.conductor.Conducted."""
        self._plan.pass_tick()

    def fail(self, reason: str) -> None:
        """See edge.conductor.Conducted."""
        self._narrator.goaway(reason)
        self._end(reason)

    def _extend_packet(self, now: float) -> None:
        idle = self._face.state is FaceState.IDLE and now - self._face.since > IDLE_THIN_AFTER_S
        quiet = not self._track.active and self._interruption.settled(now)
        self._plan.extend(self._delivery.ticks_per_packet, quiet=quiet, idle=idle)
        if self._plan.voice:
            self._heard.sent(self._plan.voice[-1], self._plan.end)

    def _follow_voice(self, placed: Placed, now: float) -> None:
        if placed.opus:
            if self._face.state is not FaceState.SPEAKING:
                self._interruption.voice_begins()
                self._trigger(Trigger.VOICE_BEGAN, now)
                self._narrator.voice(True)
            start = self._track.start_of(placed.utterance_id)
            if start is not None:
                self._narrator.utterance_placed(placed.utterance_id, start)

    def _voice_over(self) -> None:
        self._interruption.ducked = False
        self._narrator.voice(False)
        self._edge_time.voice_over(self._heard.utterance_id)

    def _give_up_waiting(self, now: float) -> None:
        waited = now - self._face.since
        state = self._face.state
        heard_nothing = state is FaceState.LISTENING and waited > LISTENING_S_MAX and not self._hearing.speaking
        # Only the ear took it for a question; the origin heard none.
        asked_nothing = state is FaceState.THINKING and waited > LISTENING_S_MAX and not self._turn_ended
        if heard_nothing or asked_nothing or (state is FaceState.THINKING and waited > THINKING_S_MAX):
            self._trigger(Trigger.QUIET, now)

    # --- both ----------------------------------------------------------------------------------------------------

    def _trigger(self, trigger: Trigger, now: float) -> None:
        if self._face.handle(trigger, now):
            self._narrator.state(self._face.state)

    def _say_opened(self, now: float) -> None:
        link = self.links.link
        self._presence.life_shown(now)
        self._send_up(Opened(epoch=self.claims.epoch, transport=link.protocol if link else "unknown"))

    def _send_up(self, message: UpMessage) -> None:
        self._services.send_up(self.claims.session_id, message)

    def _end(self, reason: str) -> None:
        if self._ended:
            return
        self._ended = True
        self._presence.went(self._services.clock())
        self._delivery.end()
        self._services.metrics.speech_underruns.inc(self._track.underruns)
        self._services.metrics.speech_holes.inc(self._track.holes)
        self._services.animator.close(self._slot)
        self._send_up(Closed(reason=reason if self._presence.begun else "not-opened", epoch=self.claims.epoch))
        self.links.close_all(reason)
        self._on_ended(reason)

"""A session's viewer: what its microphone, its control messages and its feedback mean."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import Dropped, RemoteProtocolError
from core.limits import RESUME_TOKEN_LIFETIME_S, TEXT_CHARS_MAX
from core.session.machine import Trigger
from core.session.state import FaceState
from core.speech.messages import BargeIn, DownMessage, UserSpeech, UserText
from core.wire.control import ControlMessage, decode_control
from core.wire.feedback import Feedback, decode_feedback, extract_feedback
from edge.ear import EarEvent
from edge.session_parts import Role, SessionParts
from edge.transports.link import MicrophoneUnit

__all__ = ["UserSide"]


class UserSide:
    """Of one session.

    Args:
        parts: of the session.
        say: takes what a mirrored microphone says, as if the origin had said it.
        leave: ends the session with a reason, orderly.
        fail: ends it with a reason that the viewer is told.
        moving: takes what the viewer says of a handoff: its word and the epoch it names.
    """

    def __init__(
        self,
        parts: SessionParts,
        *,
        say: Callable[[DownMessage, float], None],
        leave: Callable[[str], None],
        fail: Callable[[str], None],
        moving: Callable[[str, int], None],
    ) -> None:
        self._parts = parts
        self._say = say
        self._leave = leave
        self._fail = fail
        self._moving = moving

    # --- what comes ----------------------------------------------------------------------------------------------

    def microphone(self, unit: MicrophoneUnit, now: float) -> None:
        """A microphone packet: the feedback in it first, then the ear."""
        parts = self._parts
        parts.services.metrics.packets_received.inc()
        try:
            feedback = extract_feedback(unit.payload)
        except RemoteProtocolError as error:
            parts.services.metrics.dropped(error.code)
            feedback = None
        if feedback is not None:
            self._receive_feedback(feedback, now)
        if not parts.owner:
            return  # the viewer speaks to the owner
        if parts.mirror is not None:
            for message in parts.mirror.receive(unit, now, queued=parts.track.queued_packets):
                self._say(message, now)
            return
        parts.hearing.receive(unit, now, lambda event: self.noticed(event, now), lambda: self._fail("internal-error"))

    def control(self, data: str | bytes, now: float) -> None:
        """A control message: RTVI text or binary feedback."""
        parts = self._parts
        try:
            if isinstance(data, bytes):
                self._receive_feedback(decode_feedback(data), now)
                return
            message = decode_control(data)
        except RemoteProtocolError as error:
            parts.services.metrics.dropped(error.code)
            if isinstance(data, str):
                parts.narrator.error(f"That control message cannot be understood ({error.code}).")
            return
        if isinstance(message, Dropped):
            parts.services.metrics.dropped(message.reason)
        else:
            self._control(message, now)

    def _control(self, message: ControlMessage, now: float) -> None:
        parts = self._parts
        word = message.data.get("t") if message.type == "client-message" else None
        if word in ("preview", "committed"):
            self._move(str(word), message.data.get("d"))
        elif message.type == "client-ready":
            parts.presence.ready(message.data.get("about"))
            parts.narrator.client_ready(message, parts.face.state)
            self.give_resume(now)
        elif parts.mirror is not None and message.type in ("send-text", "client-message"):
            parts.narrator.error("Nobody answers here: what your microphone hears is what the character says.")
        elif message.type == "send-text":
            self._typed(message.data.get("content"), now)
        elif word == "interrupt":
            self._barge_in("request", now)
        elif message.type == "disconnect-bot":
            self._leave("viewer-left")
        else:
            parts.services.metrics.dropped(parts.narrator.unused(message))

    def _move(self, word: str, data: object) -> None:
        epoch = data.get("epoch") if isinstance(data, dict) else None
        if not isinstance(data, dict) or isinstance(epoch, bool) or epoch != self._parts.claims.epoch:
            self._parts.services.metrics.dropped("other-epoch")
            return
        behind_ms = data.get("behind_ms")
        if word == "preview" and isinstance(behind_ms, int | float) and behind_ms == behind_ms:
            self._parts.catch_up(behind_ms / 1e3)
        self._moving(word, self._parts.claims.epoch)

    def give_resume(self, now: float) -> None:
        """Give the viewer what brings it back over another link."""
        parts = self._parts
        if parts.owner:
            parts.narrator.resume(parts.presence.resume_token(now), RESUME_TOKEN_LIFETIME_S)

    # --- what it means -------------------------------------------------------------------------------------------

    def _typed(self, content: object, now: float) -> None:
        parts = self._parts
        if not isinstance(content, str) or not content.strip():
            parts.narrator.error("There was no text in that message.")
            return
        if len(content) > TEXT_CHARS_MAX:
            parts.narrator.error(f"That text is too long: {len(content)} of at most {TEXT_CHARS_MAX} characters.")
            return
        if parts.track.active:
            self._barge_in("request", now)
        parts.send_up(UserText(text=content.strip()))
        parts.turn_ended = True
        parts.trigger(Trigger.USER_TYPED, now)

    def noticed(self, event: EarEvent, now: float) -> None:
        """The ear's opinion changed."""
        parts = self._parts
        if parts.ended:
            return  # what it heard last
        match event.kind:
            case "started" | "resumed":
                parts.turn_ended = False
                parts.trigger(Trigger.USER_STARTED, now)
                parts.narrator.user_speaking(True)
                parts.send_up(UserSpeech(speaking=True, timestamp=event.timestamp))
            case "paused":
                parts.trigger(Trigger.USER_PAUSED, now)
                parts.narrator.user_speaking(False)
                parts.send_up(UserSpeech(speaking=False, timestamp=event.timestamp))
            case "duck":
                parts.interruption.ducked = parts.track.active
            case "release":
                parts.interruption.ducked = False
            case "cut":
                self._barge_in("speech", now)

    def _barge_in(self, cause: str, now: float) -> None:
        """Silence the character at once and tell the origin what was heard of it."""
        parts = self._parts
        parts.interruption.ducked = False
        utterance_id, heard_until = parts.heard.interrupted(sent=parts.plan.media_time, now=now)
        if parts.track.active:
            parts.track.cancel(parts.track.latest_utterance_id)
            parts.interruption.answer_cut(now)
            parts.cut_voice(now)
        elif utterance_id:
            parts.cut_voice(now)
        was_speaking = parts.face.state is FaceState.SPEAKING
        parts.trigger(Trigger.VOICE_CUT, now)
        if was_speaking:
            parts.voice_over()
        parts.send_up(
            BargeIn(
                utterance_id=utterance_id,
                heard_until=heard_until,
                cause="speech" if cause == "speech" else "request",
            )
        )

    def _receive_feedback(self, feedback: Feedback, now: float) -> None:
        parts = self._parts
        parts.delivery.receive(feedback, now)
        if feedback.playout_timestamp is None:
            return
        sent = parts.plan.media_time
        if not parts.heard.report(feedback.playout_timestamp, sent=sent, now=now):
            parts.services.metrics.dropped("absurd-playout")
            return
        speaking = parts.track.active or parts.face.state is FaceState.SPEAKING
        progress = parts.heard.progress(sent=sent, now=now, speaking=speaking)
        if progress is None:
            return
        latency_s = parts.heard.latency_s(sent=sent, now=now)
        if latency_s is not None and parts.role is Role.OWNER:
            parts.services.metrics.mouth_to_ear_seconds.observe(latency_s)
        parts.send_up(progress)

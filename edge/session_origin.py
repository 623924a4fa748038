"""A session's origin: what its messages do to the track, the face and the viewer."""

from __future__ import annotations

from core.session.machine import TURN_TRIGGERS, Trigger
from core.session.state import FaceState
from core.speech.messages import (
    DownMessage,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    TurnState,
)
from core.speech.messages import Mood as MoodMessage
from edge.packet_plan import is_voice
from edge.session_parts import SessionParts

__all__ = ["OriginSide"]


class OriginSide:
    """Of one session. Args: parts: of the session."""

    def __init__(self, parts: SessionParts) -> None:
        self._parts = parts

    def receive(self, message: DownMessage, now: float) -> None:
        """The origin said something."""
        parts = self._parts
        match message:
            case SpeechPacket():
                self._speech_packet(message)
                return
            case SpeechStart() if parts.interruption.refuses(now):
                # Sent before the origin heard of the barge-in: the next clause of the answer that was cut.
                parts.track.cancel(message.utterance_id)
                parts.services.metrics.dropped("cut-answer")
                return
            case ReplyText() if parts.interruption.refuses(now) or parts.track.is_cancelled(message.utterance_id):
                return
            case SpeechStart():
                if (dropped := parts.track.start(message.utterance_id, message.first)) is not None:
                    parts.services.metrics.dropped(dropped.reason)
                    return
                parts.services.animator.speech_start(parts.slot, message.utterance_id)
                parts.edge_time.utterance_begins()
            case SpeechEnd():
                parts.live.end(message.utterance_id)
                parts.track.end(message.utterance_id, message.packets)
            case SpeechCancel():
                self._cancelled(message.utterance_id, now)
            case TurnState():
                self._turn(message, now)
            case MoodMessage():
                parts.services.animator.set_mood(parts.slot, message.valence, message.arousal)
            case _:
                pass
        parts.narrator.receive(message)

    def close_voice(self) -> tuple[int, int]:
        """See `SpeechTrack.close_newest`."""
        closed = self._parts.track.close_newest()
        self._parts.narrator.shorten(*closed)
        return closed

    def _turn(self, turn: TurnState, now: float) -> None:
        parts = self._parts
        parts.interruption.origin_heard()
        parts.turn_ended = turn.state == "thinking"
        trigger = TURN_TRIGGERS.get(turn.state)
        # The ear is ahead of the origin: who is heard now is not taken for silent.
        early = parts.hearing.speaking and trigger in (Trigger.TURN_IDLE, Trigger.TURN_THINKING)
        if trigger is not None and not early and not (trigger is Trigger.TURN_IDLE and parts.track.active):
            parts.trigger(trigger, now)

    def _speech_packet(self, packet: SpeechPacket) -> None:
        if not is_voice(packet.opus):
            self._parts.services.metrics.dropped("bad-voice")
        elif packet.log_mel:
            self._parts.place(packet)
        else:
            self._parts.live.push(packet)

    def _cancelled(self, utterance_id: int, now: float) -> None:
        parts = self._parts
        if not parts.track.active:
            return
        parts.track.cancel(utterance_id)
        if not parts.track.active:
            parts.cut_voice(now)
            if parts.face.state is FaceState.SPEAKING:
                parts.trigger(Trigger.VOICE_ENDED, now)
                parts.voice_over()

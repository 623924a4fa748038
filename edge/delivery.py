"""One viewer's way down: units over the link that counts, and what its feedback makes of the next ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.avatar.frame import AnimationFrame
from core.errors import Dropped
from core.limits import PTIME_MS
from core.session.state import FaceState
from core.speech.messages import VoiceFormat
from core.stream.rate_control import RateController
from core.stream.sender import UnitSender
from core.stream.voice_format import VoiceAdvisor
from core.wire.access_unit import NO_FLAGS, AccessUnitFlags
from core.wire.feedback import Feedback
from edge.metrics import PopMetrics
from edge.transports.link import ViewerLink

__all__ = ["Delivery"]


class Delivery:
    """Of one session. Without a link nothing is packed: a new link begins with what is true then.

    Args:
        epoch: ownership epoch of the session.
        metrics: what is sent, lost and protected is counted there.
        make_controller: makes the rate controller of a link.
        ask_voice: tells the origin how the voice should be encoded.
    """

    def __init__(
        self,
        *,
        epoch: int,
        metrics: PopMetrics,
        make_controller: Callable[[], RateController],
        ask_voice: Callable[[VoiceFormat], None],
    ) -> None:
        self._sender = UnitSender(epoch=epoch, make_controller=make_controller)
        self._metrics = metrics
        self._ask_voice = ask_voice
        self._advisor = VoiceAdvisor()
        self._link: ViewerLink | None = None
        self._lost = 0
        self._tier = ""

    @property
    def ticks_per_packet(self) -> int:
        """How many ticks of voice should share a packet, from 1."""
        return max(1, self._sender.decision.ptime_ms // PTIME_MS)

    @property
    def sequence_number(self) -> int:
        """Of the next unit, 16 bits."""
        return self._sender.sequence_number

    @sequence_number.setter
    def sequence_number(self, number: int) -> None:
        self._sender.sequence_number = number & 0xFFFF

    def begin(self, link: ViewerLink) -> None:
        """From now on over this link."""
        self._link = link
        self._sender.restart(plays_sound_itself=link.plays_sound_itself)
        self._show_tier()

    def end(self) -> None:
        """There is no link any more, for now."""
        self._link = None
        self._show_tier()

    def send(
        self,
        *,
        frame: AnimationFrame,
        opus: Sequence[bytes],
        state: FaceState,
        flags: AccessUnitFlags,
        media_time: int,
        now: float,
        silent_ticks: int = 1,
    ) -> None:
        """Pack and send one unit; see `UnitSender.pack`. `media_time`: unwrapped ticks of its start."""
        if self._link is None:
            return
        payload = self._sender.pack(
            frame=frame, opus=opus, state=state, flags=flags, now=now, silent_ticks=silent_ticks
        )
        self._send(self._link, payload, media_time)

    def send_idle(
        self,
        *,
        frame: AnimationFrame,
        state: FaceState,
        media_time: int,
        now: float,
        flags: AccessUnitFlags = NO_FLAGS,
    ) -> None:
        """Pack and send one unit that covers limits.IDLE_FRAMES_PER_PACKET ticks of silence."""
        if self._link is not None:
            payload = self._sender.pack_idle(frame=frame, state=state, flags=flags, now=now)
            self._send(self._link, payload, media_time)

    def _send(self, link: ViewerLink, payload: bytes, media_time: int) -> None:
        if link.send_packet(payload, media_time):
            self._metrics.packets_sent.inc()
        if self._sender.answers_keyframe_request:
            link.send_keyframe(payload, media_time)

    def receive(self, feedback: Feedback, now: float) -> None:
        """The viewer said how the link is."""
        self._metrics.feedback.inc()
        dropped = self._sender.receive_feedback(feedback, now)
        if isinstance(dropped, Dropped):
            self._metrics.dropped(f"feedback-{dropped.reason}")
            return
        reception = self._sender.reception
        if reception is None or self._link is None:
            return
        if self._sender.lost != self._lost:
            self._metrics.packets_lost.inc(self._sender.lost - self._lost)
            self._lost = self._sender.lost
        self._show_tier()
        wish = self._advisor.advise(
            bitrate_bps=self._sender.decision.opus_bitrate_bps,
            # Where we play the sound, our own redundancy brings it back: the voice need not carry more.
            loss=0.0 if self._link.plays_sound_itself else reception.loss,
            now=now,
        )
        if wish is not None:
            self._ask_voice(wish)

    def _show_tier(self) -> None:
        tier = self._sender.decision.tier.name if self._link is not None else ""
        if tier != self._tier:
            if self._tier:
                self._metrics.fec_tier.labels(self._tier).dec()
            if tier:
                self._metrics.fec_tier.labels(tier).inc()
            self._tier = tier

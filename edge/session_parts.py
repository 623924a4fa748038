"""What a session at the POP is made of, and what its sides (viewer, origin, conductor) do to it together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from core.limits import HANDOFF_BEHIND_S_MAX, TICK_S
from core.session.claims import MODE_MIRROR, Claims
from core.session.machine import FaceMachine, Trigger
from core.speech.messages import SpeechPacket, UpMessage
from core.stream.rate_control import LadderController, RateController
from core.stream.speech_track import SpeechTrack
from core.wire.access_unit import AccessUnitFlags
from edge.animator import Animator
from edge.delivery import Delivery
from edge.edge_time import EdgeTime
from edge.heard import Heard
from edge.hearing import Hearing
from edge.interruption import Interruption
from edge.live_voices import LiveSpeech, LiveVoices
from edge.metrics import PopMetrics
from edge.mirror import Mirror
from edge.narrator import Narrator
from edge.packet_plan import PacketPlan
from edge.presence import Presence

__all__ = ["Role", "SessionParts", "SessionServices"]


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


class Role(Enum):
    """Whether this POP may speak for the session (`core.session.handoff`). Only its owner tells the origin and the
    viewer anything but media."""

    OWNER = "owner"
    SUCCESSOR = "successor"
    """It may own the session soon; what it sends is marked as a preview."""
    FORMER = "former"
    """It owned the session; it sends media until it is told to stop."""


class SessionParts:
    """Of one session.

    Args:
        claims: what the ticket says.
        services: what sessions share.
        presence: of its viewer.
        seed: of this face's behaviour.

    Attributes:
        role: whether this POP owns the session.
        ended: the slot may be another session's.
        turn_ended: the origin, or a typed text, has ended the user's turn.
    """

    def __init__(self, *, claims: Claims, services: SessionServices, presence: Presence, seed: int) -> None:
        self.claims = claims
        self.services = services
        self.presence = presence
        self.role = Role.OWNER
        self.ended = False
        self._caught_up = False
        self.turn_ended = False
        self.slot = services.animator.open(seed=seed, character=claims.character)
        self.face = FaceMachine(services.clock())
        self.track = SpeechTrack()
        self.live = LiveSpeech(services.live_voices, self.track, self.place)
        self.plan = PacketPlan(self.track)
        self.heard = Heard(self.track)
        self.delivery = Delivery(
            epoch=claims.epoch,
            metrics=services.metrics,
            make_controller=services.make_controller,
            ask_voice=self.send_up,
        )
        self.hearing = services.make_hearing(self.send_up)
        self.narrator = Narrator(send=self.tell, keep=self._keep, wall_clock=services.wall_clock)
        self.edge_time = EdgeTime(narrator=self.narrator, fabric_latency_s=services.fabric_latency_s)
        self.interruption = Interruption()
        self.mirror = Mirror(services.metrics.dropped) if claims.mode == MODE_MIRROR else None

    @property
    def owner(self) -> bool:
        """This POP owns the session."""
        return self.role is Role.OWNER

    def send_up(self, message: UpMessage) -> None:
        """Tell the origin, if it is ours to tell."""
        if self.owner:
            self.services.send_up(self.claims.session_id, message)

    def tell(self, message: str) -> None:
        """Send the viewer a control message, if it is ours to tell."""
        if self.owner:
            self.presence.send(message)

    def _keep(self, message: str) -> None:
        if self.owner:
            self.presence.keep(message)

    def trigger(self, trigger: Trigger, now: float) -> None:
        """Something happened to the face."""
        if self.face.handle(trigger, now):
            self.narrator.state(self.face.state)

    def place(self, packet: SpeechPacket) -> None:
        """A packet of voice, complete, for the track."""
        if self.ended:
            return
        now = self.services.clock()
        if (dropped := self.track.push(packet, now)) is not None:
            self.services.metrics.dropped(dropped.reason)
            return
        self.edge_time.voice_arrived(now)
        if packet.phonemes:
            self.services.animator.speech_phonemes(self.slot, packet.utterance_id, packet.phonemes)

    def cut_voice(self, now: float) -> None:
        """What the viewer still holds of the voice must not sound."""
        self.services.animator.speech_cut(self.slot)
        self.narrator.cut()
        self.interruption.cut(now)

    def voice_over(self) -> None:
        """The last of the voice has left, or was cut."""
        self.interruption.ducked = False
        self.narrator.voice(False)
        self.edge_time.voice_over(self.heard.utterance_id)

    def catch_up(self, behind_s: float) -> None:
        """The viewer gets media times later from here than from the owner: leave out what has come from there. Once, as
        what follows is measured against what was left out, and never by more than limits.HANDOFF_BEHIND_S_MAX."""
        if self.role is not Role.SUCCESSOR or self._caught_up:
            return
        self._caught_up = True
        for _ in range(round(min(behind_s, HANDOFF_BEHIND_S_MAX) / TICK_S)):
            self.plan.pass_unsent()

    def flags(self, due: float) -> AccessUnitFlags:
        """Of the packet that was due then."""
        flags = self.interruption.flags(due)
        return flags | AccessUnitFlags.PREVIEW if self.role is Role.SUCCESSOR else flags

"""One viewer's session at the POP: everything that happens to it, and its packet every tick.

The conductor calls `gather` and `emit`; the transport calls the `LinkEvents` methods; the origin's messages come in
through `receive`. Nothing here waits: what goes to the origin is queued on the uplink, what goes to the viewer is sent
by the link at once or dropped. What comes from whom means something in `session_user.py` and `session_origin.py`; how
a session moves to another POP is `handoff_state.py` and `handoff.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from core.avatar.frame import AnimationFrame
from core.limits import (
    HANDOFF_OVERLAP_S_MAX,
    HANDOFF_SUCCESSOR_S_MAX,
    IDLE_THIN_AFTER_S,
    LISTENING_S_MAX,
    THINKING_S_MAX,
)
from core.session.claims import Claims
from core.session.machine import Trigger
from core.session.state import FaceState
from core.speech.messages import Closed, DownMessage, HandedOver, Opened, Owner
from core.speech.student_layout import LOOKAHEAD_FRAMES
from core.stream.speech_track import Placed
from edge.animator import AnimatorRow
from edge.presence import GOODBYES, Presence
from edge.session_links import SessionLinks
from edge.session_origin import OriginSide
from edge.session_parts import Role, SessionParts, SessionServices
from edge.session_user import UserSide
from edge.transports.link import MicrophoneUnit, ViewerLink

__all__ = ["Session", "SessionServices"]


class Session:
    """See the module docstring.

    Args:
        claims: what the ticket says.
        services: what sessions share.
        seed: of this face's behaviour.
        on_ended: called exactly once with the reason, when the viewer is gone for good or the session failed.
        close_link: closes a link, soon.
        issue_resume: a fresh token that brings this viewer back over another link.
        on_moving: what the viewer says of a handoff to here: its word and the epoch it names.

    Attributes:
        links: its links; what they tell comes from the one that counts.
        parts: what it is made of.
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
        on_moving: Callable[[str, int], None] = lambda _word, _epoch: None,
    ) -> None:
        now = services.clock()
        self.claims = claims
        self._words_at = 0.0
        self._expected_at = 0.0
        self._moved = False
        self._services = services
        self._on_ended = on_ended
        self.links = SessionLinks(events=self, close=close_link, fail=self.fail, on_dropped=services.metrics.dropped)
        self._presence = Presence(links=self.links, metrics=services.metrics, issue_resume=issue_resume, created_at=now)
        self.parts = SessionParts(claims=claims, services=services, presence=self._presence, seed=seed)
        self._origin = OriginSide(self.parts)
        self._user = UserSide(self.parts, say=self.receive, leave=self._end, fail=self.fail, moving=on_moving)

    # --- the transport's side (LinkEvents) -----------------------------------------------------------------------

    def on_connected(self, now: float) -> None:
        """A link counts from now on: the first one, or one that takes the place of another."""
        link = self.links.link
        parts = self.parts
        if parts.ended or link is None:
            return
        again = self._presence.begun
        parts.delivery.begin(link)
        self._presence.came(now)
        if again and parts.owner:
            parts.narrator.state(parts.face.state)
            self._user.give_resume(now)
        self.say_opened(now)

    def on_microphone(self, unit: MicrophoneUnit, now: float) -> None:
        """See LinkEvents."""
        if not self.parts.ended:
            self._user.microphone(unit, now)

    def on_control(self, data: str | bytes, now: float) -> None:
        """See LinkEvents."""
        if not self.parts.ended:
            self._user.control(data, now)

    def on_closed(self, reason: str, now: float) -> None:
        """No link counts any more. A viewer that did not say goodbye may be back soon: the face lives on."""
        parts = self.parts
        if not self._presence.begun or reason in GOODBYES or parts.role is Role.SUCCESSOR:
            self._end(reason)
        elif not parts.ended:
            self._presence.went(now)
            parts.delivery.end()
            parts.interruption.ducked = False

    # --- the origin ----------------------------------------------------------------------------------------------

    def receive(self, message: DownMessage, now: float) -> None:
        """The origin said something."""
        if self.parts.ended:
            return  # the slot may be another session's by now
        if isinstance(message, Owner):
            self.own(message.epoch, now)
        else:
            self._origin.receive(message, now)

    def hand_over(self, generation: int) -> None:
        """Somebody else answers from now on: what there is of the utterance is played to its end, and the origin is
        told how much that is."""
        utterance_id, packets = self._origin.close_voice()
        self.parts.send_up(HandedOver(generation=generation, utterance_id=utterance_id, packets=packets))

    # --- the conductor -------------------------------------------------------------------------------------------

    def gather(self, due: float, now: float) -> AnimatorRow | None:
        """See edge.conductor.Conducted."""
        if not self._presence.begun:
            return None
        given_up = self.parts.role is Role.SUCCESSOR and now - self._expected_at > HANDOFF_SUCCESSOR_S_MAX
        if given_up or self._presence.gone(now):
            self._end("handoff-timeout" if given_up else "connection-lost")
            return None
        parts = self.parts
        self._remind(now)
        for message in parts.mirror.handle_timer(now) if parts.mirror is not None else ():
            self.receive(message, now)
        for event in parts.hearing.tick(now):
            self._user.noticed(event, now)
        if parts.narrator.words_pending:
            audible = parts.heard.audible(sent=parts.plan.media_time, now=now)
            stalled_at = parts.track.stalled_at
            # Media time goes on without the voice: its words wait with it.
            parts.narrator.heard(audible if stalled_at is None else min(audible, stalled_at - 1))
        if parts.plan.covered:
            covered = parts.plan.pass_tick()
            if covered is not None:
                parts.hearing.played(covered.log_mel, due)
            return None
        return self._row(now)

    def _remind(self, now: float) -> None:
        if not self.parts.owner:
            return
        if self.parts.narrator.words_held and now > self._words_at:
            self.parts.narrator.words_held = False  # the former owner does not say how far it came
        if self._presence.resume_due(now):
            self._user.give_resume(now)
        if self._presence.sign_of_life_due(now):
            self.say_opened(now)

    def _row(self, now: float) -> AnimatorRow:
        parts = self.parts
        if parts.face.state is FaceState.SPEAKING and not parts.track.active:
            parts.trigger(Trigger.VOICE_ENDED, now)
            parts.voice_over()
            if parts.turn_ended:
                parts.trigger(Trigger.TURN_THINKING, now)
        placed = parts.plan.begin()
        if placed is not None:
            self._follow_voice(placed, now)
        self._give_up_waiting(now)
        self._extend_packet(now)
        return AnimatorRow(
            slot=parts.slot,
            media_time=parts.plan.media_time,
            state=parts.face.state,
            utterance_id=placed.utterance_id if placed else 0,
            utterance_ticks=placed.ticks if placed else 0,
            log_mel=placed.log_mel if placed else b"",
            user_level=parts.hearing.level,
            heard=parts.track.hear(LOOKAHEAD_FRAMES) if placed is not None else b"",
        )

    def emit(self, frame: AnimationFrame, due: float) -> None:
        """See edge.conductor.Conducted."""
        parts, plan = self.parts, self.parts.plan
        voice, media_time = plan.voice, plan.media_time
        if plan.idle:
            parts.delivery.send_idle(
                frame=frame, state=parts.face.state, flags=parts.flags(due), media_time=media_time, now=due
            )
        else:
            parts.delivery.send(
                frame=frame,
                opus=[placed.opus for placed in voice],
                silent_ticks=plan.ticks,
                state=parts.face.state,
                flags=parts.flags(due),
                media_time=media_time,
                now=due,
            )
        plan.leave()
        now = self._services.clock()
        added = now - max(due, plan.placed.arrived_at if plan.placed is not None else due)
        self._services.metrics.stage_edge.observe(added)
        if voice:
            parts.edge_time.voice_left(added)
            parts.hearing.played(voice[0].log_mel, due)
            if voice[0].first:
                parts.edge_time.first_left(voice[0].utterance_id, voice[0].arrived_at, now)

    def skip(self) -> None:
        """See edge.conductor.Conducted."""
        self.parts.plan.pass_tick()

    def fail(self, reason: str) -> None:
        """See edge.conductor.Conducted."""
        self.parts.narrator.goaway(reason)
        self._end(reason)

    def _extend_packet(self, now: float) -> None:
        parts = self.parts
        idle = parts.face.state is FaceState.IDLE and now - parts.face.since > IDLE_THIN_AFTER_S
        quiet = not parts.track.active and parts.interruption.settled(now)
        parts.plan.extend(parts.delivery.ticks_per_packet, quiet=quiet, idle=idle)
        if parts.plan.voice:
            parts.heard.sent(parts.plan.voice[-1], parts.plan.end)

    def _follow_voice(self, placed: Placed, now: float) -> None:
        if not placed.opus:
            return
        parts = self.parts
        if parts.face.state is not FaceState.SPEAKING:
            parts.interruption.voice_begins()
            parts.trigger(Trigger.VOICE_BEGAN, now)
            parts.narrator.voice(True)
        start = parts.track.start_of(placed.utterance_id)
        if start is not None:
            parts.narrator.utterance_placed(placed.utterance_id, start)

    def _give_up_waiting(self, now: float) -> None:
        parts = self.parts
        waited = now - parts.face.since
        state = parts.face.state
        heard_nothing = state is FaceState.LISTENING and waited > LISTENING_S_MAX and not parts.hearing.speaking
        # Only the ear took it for a question; the origin heard none.
        asked_nothing = state is FaceState.THINKING and waited > LISTENING_S_MAX and not parts.turn_ended
        if heard_nothing or asked_nothing or (state is FaceState.THINKING and waited > THINKING_S_MAX):
            parts.trigger(Trigger.QUIET, now)

    # --- moving to another POP -----------------------------------------------------------------------------------

    def own(self, epoch: int, now: float) -> None:
        """The session is `epoch`'s from now on: ours, or another POP's. Old news and repetitions change nothing."""
        parts = self.parts
        if parts.ended:
            return
        if epoch == self.claims.epoch and parts.role is Role.SUCCESSOR:
            parts.role = Role.OWNER
            self._moved = True
            self._words_at = now + HANDOFF_OVERLAP_S_MAX
            parts.narrator.commit(epoch)
            self._user.give_resume(now)
            self.say_opened(now)
        elif epoch > self.claims.epoch:
            parts.role = Role.FORMER
            parts.narrator.words_held = True

    def words_said(self, said: tuple[int, int]) -> None:
        """The former owner has said the words up to this one; the others are ours to say."""
        self.parts.narrator.skip_said(said)
        self.parts.narrator.words_held = False

    def expects(self, epoch: int) -> bool:
        """Its viewer is invited here by a ticket of this epoch, and has not come yet."""
        return self.parts.role is Role.SUCCESSOR and epoch == self.claims.epoch and not self._presence.connected

    def begin_as_successor(self, now: float) -> None:
        """It goes on where another POP has it, seen by nobody yet."""
        self.parts.role = Role.SUCCESSOR
        self.parts.narrator.words_held = True
        self._expected_at = now
        self._presence.expect(now)

    def send_away(self, reason: str) -> None:
        """The viewer shall go on elsewhere, with new tickets for the same session: the origin keeps it."""
        self.parts.narrator.goaway(reason)
        self.parts.role = Role.FORMER
        self._end(reason)

    def release(self) -> None:
        """It is another POP's: close what is here, and tell nobody."""
        self.parts.role = Role.FORMER
        self._end("moved")

    # --- both ----------------------------------------------------------------------------------------------------

    def say_opened(self, now: float, *, missed: bool = False) -> None:
        """Tell the origin that the viewer is here, if it is. Args: missed: the way to the origin was broken."""
        if not self._presence.connected:
            return
        link = self.links.link
        self._presence.life_shown(now)
        self.parts.send_up(
            Opened(
                epoch=self.claims.epoch,
                transport=link.protocol if link else "unknown",
                moved=self._moved,
                missed=missed,
            )
        )

    def _end(self, reason: str) -> None:
        parts = self.parts
        if parts.ended:
            return
        parts.ended = True
        self._presence.went(self._services.clock())
        parts.delivery.end()
        self._services.metrics.speech_underruns.inc(parts.track.underruns)
        self._services.metrics.speech_holes.inc(parts.track.holes)
        self._services.animator.close(parts.slot)
        parts.send_up(Closed(reason=reason if self._presence.begun else "not-opened", epoch=self.claims.epoch))
        self.links.close_all(reason)
        self._on_ended(reason)

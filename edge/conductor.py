"""The conductor: one loop that gives every session of a POP its tick.

A tick is 20 ms and has four phases of 5 ms; a session belongs to one phase, so that a quarter of the sessions is served
at a time. Each phase is the same three steps: gather what every session wants to show, animate all of it in one batch,
let every session send its packet. Nothing else sends media.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from core.avatar.frame import AnimationFrame
from core.limits import PHASES_PER_TICK, TICK_S, TICKS_BEHIND_MAX
from edge.animator import Animator, AnimatorRow

__all__ = ["Conducted", "Conductor"]

_log = logging.getLogger(__name__)
_PHASE_S = TICK_S / PHASES_PER_TICK
_EARLY_S = 0.0005
"""Timers of event loops go by whole milliseconds. A phase that begins a little early loses nothing, one that begins
late loses of its time."""


class Conducted(Protocol):
    """What the conductor asks of a session."""

    def gather(self, due: float, now: float) -> AnimatorRow | None:
        """What to draw for the tick that was due at `due`; None when this tick needs no packet."""

    def emit(self, frame: AnimationFrame, due: float) -> None:
        """The frame for the row just gathered: pack it and send it."""

    def skip(self) -> None:
        """A tick that is too late to send: media time moves on without a packet."""

    def fail(self, reason: str) -> None:
        """It raised in its tick and is served no longer."""


class Conductor:
    """See the module docstring.

    Args:
        animator: draws all rows of a phase in one call.
        observe_lateness: told, per phase, how many seconds late it began.
        before_phase: called before each phase: what came for its sessions is made ready.
        after_phase: called after each phase: transports send what its sessions gave them.
        observe_phase: told, per phase that had frames to make, its number, how late it began, how long it took, how
            many frames it made, and when it was done; all times in seconds.
        clock: monotonic seconds.

    Attributes:
        ticks_skipped: session ticks that were not sent because they would have been too late.
    """

    def __init__(
        self,
        *,
        animator: Animator,
        observe_lateness: Callable[[float], None] = lambda _seconds: None,
        before_phase: Callable[[], None] = lambda: None,
        after_phase: Callable[[], None] = lambda: None,
        observe_phase: Callable[[int, float, float, int, float], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._animator = animator
        self._observe_lateness = observe_lateness
        self._before_phase = before_phase
        self._after_phase = after_phase
        self._observe_phase = observe_phase
        self._clock = clock
        self._phases: list[dict[Conducted, None]] = [{} for _ in range(PHASES_PER_TICK)]
        self.ticks_skipped = 0

    def add(self, session: Conducted) -> None:
        """Serve a session from its phase's next tick on; it joins the emptiest phase."""
        min(self._phases, key=len)[session] = None

    def remove(self, session: Conducted) -> None:
        """Serve it no longer; unknown sessions are fine."""
        for phase in self._phases:
            phase.pop(session, None)

    def step(self, phase: int, due: float, now: float) -> int:
        """Serve one phase.

        Args:
            phase: 0 … 3.
            due: monotonic seconds at which it should have begun.
            now: monotonic seconds now.
        Returns: how many frames it made.
        """
        self._before_phase()
        sessions: list[Conducted] = []
        rows: list[AnimatorRow] = []
        for session in tuple(self._phases[phase]):
            try:
                row = session.gather(due, now)
            except Exception:
                self._expel(session)
                continue
            if row is not None:
                sessions.append(session)
                rows.append(row)
        if not rows:
            return 0
        for session, frame in zip(sessions, self._animator.animate(rows).frames(), strict=True):
            try:
                session.emit(frame, due)
            except Exception:
                self._expel(session)
        return len(rows)

    def _expel(self, session: Conducted) -> None:
        # One broken session must not take the other sessions' ticks with it.
        _log.exception("a session failed in its tick and is served no longer")
        self.remove(session)
        try:
            session.fail("internal-error")
        except Exception:
            _log.exception("and it could not even end")

    async def run(self) -> None:
        """Conduct until cancelled."""
        loop = asyncio.get_running_loop()
        due = self._clock()
        phase = 0
        while True:
            now = self._clock()
            if now < due:
                # A bare future woken by call_later costs a third of asyncio.sleep's bookkeeping.
                woken: asyncio.Future[None] = loop.create_future()
                loop.call_later(max(0.0, due - now - _EARLY_S), _wake, woken)
                await woken
                now = self._clock()
            self._observe_lateness(max(0.0, now - due))
            if now - due > TICKS_BEHIND_MAX * TICK_S:
                due, phase = self._skip(due, phase, now)
            frames = self.step(phase, due, now)
            self._after_phase()
            if frames:
                done = self._clock()
                self._observe_phase(phase, max(0.0, now - due), max(0.0, done - now), frames, done)
            due += _PHASE_S
            phase = (phase + 1) % PHASES_PER_TICK
            if now > due + _PHASE_S:
                await asyncio.sleep(0)  # behind: let packets in between the phases

    def _skip(self, due: float, phase: int, now: float) -> tuple[float, int]:
        """Give up the ticks that are too late to send: every session's media time moves on without a packet."""
        phases = int((now - due) / _PHASE_S)
        for step in range(phases):
            for session in self._phases[(phase + step) % PHASES_PER_TICK]:
                self.ticks_skipped += 1
                session.skip()
        _log.warning("stalled for %.0f ms: skipped %d phases", (now - due) * 1e3, phases)
        return due + phases * _PHASE_S, (phase + phases) % PHASES_PER_TICK


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

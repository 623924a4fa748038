"""Emptying a POP: every session moves elsewhere, unnoticed where that is possible, and nobody new is taken.

Who is silent moves first: a session that speaks has the most to lose. A session that cannot be moved now is tried
again until the deadline; whoever is still here then is sent away, and comes back by itself at another POP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from core.errors import FabricError, RemoteProtocolError
from core.fabric.bus import Bus
from core.limits import (
    DRAIN_DEADLINE_S_MAX,
    DRAIN_MOVES_AT_ONCE,
    DRAIN_RETRY_S,
    HANDOFF_INVITED_S_MAX,
    HANDOFF_STEP_S_MAX,
)
from core.session.handoff_messages import (
    BROKER_SUBJECT,
    DrainProgress,
    Move,
    Moved,
    Refused,
    decode_answer,
    encode_handoff,
)
from core.session.state import FaceState
from edge.session import Session
from edge.session_parts import Role
from edge.sessions import Sessions

__all__ = ["Drain"]

_log = logging.getLogger(__name__)
_MOVE_S_MAX: Final = 3 * HANDOFF_STEP_S_MAX + HANDOFF_INVITED_S_MAX


class Drain:
    """Of one POP.

    Args:
        name: this POP's.
        clock: monotonic seconds.

    Attributes:
        told: called when the POP begins or ceases to take sessions, so that brokers hear of it soon.
    """

    def __init__(
        self,
        *,
        name: str,
        bus: Bus,
        sessions: Sessions,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._bus = bus
        self._sessions = sessions
        self._clock = clock
        self.told: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self._state = "none"
        self._deadline = 0.0
        self._moved = self._failed = self._sent_away = 0
        self._overlap_s_max = 0.0
        self._last_failure = ""
        self._stopping = False
        """Who cannot be moved is sent away by whoever stops this POP."""
        self._alone = False

    def progress(self) -> DrainProgress:
        """How far it is."""
        return DrainProgress(
            state=self._state,
            sessions=len(self._sessions),
            moved=self._moved,
            failed=self._failed,
            sent_away=self._sent_away,
            overlap_s_max=self._overlap_s_max,
            last_failure=self._last_failure,
        )

    def begin(self, deadline_s: float) -> DrainProgress:
        """Begin; where it is under way, it goes on. Args: deadline_s: until then, clipped to a sensible range."""
        if self._state not in ("draining", "drained"):
            self._state = "draining"
            self._deadline = self._clock() + min(max(deadline_s, 0.0), DRAIN_DEADLINE_S_MAX)
            self._moved = self._failed = self._sent_away = 0
            self._overlap_s_max, self._last_failure = 0.0, ""
            self._sessions.accepting = False
            self.told()
            _log.info("this POP is being emptied", extra={"sessions": len(self._sessions)})
            self._task = asyncio.create_task(self._run(), name="drain")
        return self.progress()

    def cancel(self) -> DrainProgress:
        """Take sessions again; moves that have begun are finished, what has moved has moved."""
        if self._state in ("draining", "drained"):
            self._state = "cancelled"
            self._sessions.accepting = True
            self.told()
            _log.info("this POP takes sessions again")
        return self.progress()

    async def wait(self) -> None:
        """Until it is over."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def before_stopping(self, seconds: float) -> None:
        """Move as many as can be moved in so long; at once over when there is nobody to move them to, or to ask."""
        if not len(self._sessions):
            return
        self._alone = False
        self.begin(seconds)
        self._stopping = True
        assert self._task is not None
        await asyncio.wait([self._task], timeout=seconds)

    async def aclose(self) -> None:
        """Stop moving."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # --- the work ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        tried: dict[str, float] = {}
        moving: dict[asyncio.Task[None], str] = {}
        while self._state == "draining":
            if self._stopping and (self._alone or self._clock() >= self._deadline):
                break
            if self._clock() >= self._deadline:
                self._send_away()
            if not len(self._sessions):
                self._state = "drained"
                _log.info("this POP is empty", extra={"moved": self._moved, "sent_away": self._sent_away})
                return
            for session in self._next(tried, set(moving.values()), DRAIN_MOVES_AT_ONCE - len(moving)):
                session_id = session.claims.session_id
                tried[session_id] = self._clock()
                moving[asyncio.create_task(self._move(session))] = session_id
            if moving:
                await asyncio.wait(moving, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(_LOOK_S)
            moving = {task: session_id for task, session_id in moving.items() if not task.done()}
        if moving:
            await asyncio.wait(set(moving))

    def _next(self, tried: dict[str, float], moving: set[str], count: int) -> list[Session]:
        now = self._clock()
        ready = [
            session
            for session in self._sessions.all()
            if session.claims.session_id not in moving
            and session.parts.role is Role.OWNER
            and now - tried.get(session.claims.session_id, -DRAIN_RETRY_S) >= DRAIN_RETRY_S
        ]
        ready.sort(key=lambda session: (session.parts.face.state is not FaceState.IDLE, session.parts.track.active))
        return ready[: max(0, count)]

    async def _move(self, session: Session) -> None:
        request = Move(session_id=session.claims.session_id, epoch=session.claims.epoch, pop=self._name)
        try:
            answer = decode_answer(await self._bus.request(BROKER_SUBJECT, encode_handoff(request), _MOVE_S_MAX))
        except (FabricError, RemoteProtocolError) as error:
            answer = Refused(code=error.code)
        if isinstance(answer, Moved):
            self._moved += 1
            self._overlap_s_max = max(self._overlap_s_max, answer.overlap_s)
            return
        if session.parts.ended:
            return  # its viewer has left meanwhile
        self._failed += 1
        self._last_failure = answer.code if isinstance(answer, Refused) else "bad-message"
        self._alone = self._alone or self._last_failure in _ALONE

    def _send_away(self) -> None:
        for session in self._sessions.all():
            self._sent_away += 1
            session.send_away("draining")


_LOOK_S: Final = 0.1
_ALONE: Final = frozenset(("no-pop", "no-other-pop", "overloaded", "no-responder", "unreachable"))
"""Why a move fails that will fail again in a moment."""

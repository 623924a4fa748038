"""The open sessions of a process: what answers in each, from its first moment to its last.

The broker decides which sessions there are and where; whoever is a `SessionRunner` runs them. `Sessions` does so in
this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from core.errors import FabricError, LocalProtocolError
from core.fabric.bus import Bus
from core.limits import ADOPTED_SILENCE_S_MAX
from core.session.claims import MODE_AGENT, MODE_MIRROR
from core.session.speculation import Outcome
from core.speech.messages import Prepare, encode_prepare, prepare_subject
from origin.agent.session import AgentSession
from origin.dialogue.character import Character
from origin.dialogue.services import Shared
from origin.dialogue.session import DialogueSession
from origin.dialogue.state import TurnMarks
from origin.mirror import MirrorSession

__all__ = ["Ended", "SessionRunner", "Sessions"]

_log = logging.getLogger(__name__)

Ended = Callable[[str], Awaitable[None]]
"""Told the id of a session that is over."""
_Session = DialogueSession | MirrorSession | AgentSession


class SessionRunner(Protocol):
    """Runs sessions."""

    @property
    def count(self) -> int:
        """Sessions that run or are being started."""
        ...

    def has(self, session_id: str) -> bool:
        """Whether it runs here."""
        ...

    async def start(self, session_id: str, character: Character, mode: str, *, on_ended: Ended) -> None:
        """Run a session; it is listening when this returns.

        Args:
            mode: MODE_AGENT or one of core.session.claims.MODES.
            on_ended: told once, whoever ended it, also when it could not start.
        Raises: FabricError, and whatever its pipeline fails with.
        """
        ...

    async def go_on(self, session_id: str, character: Character, mode: str, *, epoch: int, on_ended: Ended) -> None:
        """Run a session that ran elsewhere before; its viewer is still there.

        Args:
            epoch: higher than any it ran with.
        """
        ...

    def agent(self, session_id: str) -> AgentSession | None:
        """The session of this id, if it is open and waits for somebody else's agent."""
        ...

    def announce(self, pop: str, key_id: str) -> None:
        """Tell a POP that somebody has a ticket for it, signed with this key; it may prepare what takes time."""
        ...

    def end(self, session_id: str, reason: str) -> None:
        """End it, if it runs."""
        ...

    def report(self) -> list[dict[str, Any]]:
        """The workers that run them, as JSON can say it; none where they run in this process."""
        ...

    async def aclose(self) -> None:
        """End all."""
        ...


class Sessions:
    """See the module docstring.

    Args:
        on_turn: told the marks of every answered turn.
        on_guess: told what became of every answer that was begun early.
        on_count: told how many sessions there are after every change.
    """

    def __init__(
        self,
        shared: Shared,
        bus: Bus,
        *,
        on_turn: Callable[[TurnMarks], None] = lambda marks: None,
        on_guess: Callable[[Outcome], None] = lambda outcome: None,
        on_count: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._shared = shared
        self._bus = bus
        self._on_turn = on_turn
        self._on_guess = on_guess
        self._on_count = on_count
        self._held: dict[str, _Session] = {}
        self._reapers: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """Sessions that run or are being started."""
        return len(self._held)

    def has(self, session_id: str) -> bool:
        """Whether it runs here."""
        return session_id in self._held

    def agent(self, session_id: str) -> AgentSession | None:
        """The session of this id, if it is open and waits for somebody else's agent."""
        session = self._held.get(session_id)
        return session if isinstance(session, AgentSession) else None

    def announce(self, pop: str, key_id: str) -> None:
        """See `SessionRunner.announce`."""
        with contextlib.suppress(FabricError, LocalProtocolError):  # a POP's name need not be a token of a subject
            self._bus.publish_nowait(prepare_subject(pop), encode_prepare(Prepare(key_id=key_id)))

    async def warm(self, session_id: str) -> None:
        """Open and free one session that nobody sees, so that the first real one loads nothing."""
        character = self._shared.characters[self._shared.config.character]
        session = DialogueSession(session_id, character, self._shared, self._bus)
        await session.start()
        await session.rehearse()
        await session.aclose("warm")

    async def start(self, session_id: str, character: Character, mode: str, *, on_ended: Ended) -> None:
        """See `SessionRunner.start`."""
        session = self._make(mode, session_id, character)
        self._hold(session, on_ended)
        try:
            await session.start()
        except BaseException:
            session.end("not-started")
            raise

    def _make(self, mode: str, session_id: str, character: Character) -> _Session:
        open_s_max = self._shared.config.open_s_max
        if mode == MODE_MIRROR:
            return MirrorSession(session_id, character, self._bus, open_s_max=open_s_max)
        if mode == MODE_AGENT:
            return AgentSession(session_id, character, self._shared, self._bus, open_s_max=open_s_max)
        return DialogueSession(
            session_id,
            character,
            self._shared,
            self._bus,
            on_turn=self._on_turn,
            on_guess=self._on_guess,
            open_s_max=open_s_max,
        )

    async def go_on(self, session_id: str, character: Character, mode: str, *, epoch: int, on_ended: Ended) -> None:
        """See `SessionRunner.go_on`. A conversation goes on without memory; an agent's session cannot."""
        session: DialogueSession | MirrorSession
        if mode == MODE_MIRROR:
            session = MirrorSession(session_id, character, self._bus, open_s_max=ADOPTED_SILENCE_S_MAX)
        else:
            session = DialogueSession(
                session_id,
                character,
                self._shared,
                self._bus,
                on_turn=self._on_turn,
                on_guess=self._on_guess,
                idle_s_max=ADOPTED_SILENCE_S_MAX,
                resumed_epoch=epoch,
                generation=epoch,
            )
        self._hold(session, on_ended)
        try:
            await session.start()
        except (FabricError, TimeoutError):
            session.end("not-started")

    def report(self) -> list[dict[str, Any]]:
        """See `SessionRunner.report`."""
        return []

    def end(self, session_id: str, reason: str) -> None:
        """End it, if it runs."""
        session = self._held.get(session_id)
        if session is not None:
            session.end(reason)

    async def aclose(self) -> None:
        """End all."""
        for session in list(self._held.values()):
            session.end("shutdown")
        await asyncio.gather(*self._reapers)

    def _hold(self, session: _Session, on_ended: Ended) -> None:
        self._held[session.id] = session
        self._on_count(len(self._held))
        reaper = asyncio.get_running_loop().create_task(self._reap(session, on_ended), name=f"reap {session.id}")
        self._reapers.add(reaper)
        reaper.add_done_callback(functools.partial(set.discard, self._reapers))

    async def _reap(self, session: _Session, on_ended: Ended) -> None:
        await session.closed.wait()
        del self._held[session.id]
        self._on_count(len(self._held))
        await on_ended(session.id)
        _log.info("session ended", extra={"session": session.id, "reason": session.reason})

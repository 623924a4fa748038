"""All sessions of a POP: who is here, what the origin says to whom, and that nothing is left of those who went."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from core.errors import AdmissionError, Dropped, FabricError, RemoteProtocolError
from core.fabric.bus import Bus, Subscription
from core.limits import HANDOFFS_AT_ONCE_MAX
from core.session.claims import Claims
from core.session.lease import Fence
from core.session.tenure import EVERY_EPOCH
from core.speech.messages import Owner, SessionEnd, decode_down, down_subject
from edge.conductor import Conductor
from edge.handoff_state import SessionState, resume
from edge.resume import ResumeTokens
from edge.session import Session, SessionServices
from edge.session_links import SessionLink
from edge.session_parts import Role
from edge.transports.link import ViewerLink

__all__ = ["Sessions"]

_log = logging.getLogger(__name__)
_SUBSCRIBE_S = 0.25
"""How often a fabric that is out of reach is asked again for a session that has begun without it."""


class _Held:
    __slots__ = ("listener", "session", "subscription")

    def __init__(self, session: Session, subscription: Subscription) -> None:
        self.session = session
        self.subscription = subscription
        self.listener: asyncio.Task[None] | None = None


class Sessions:
    """Implements `edge.entrance.SessionHost`.

    Args:
        capacity: sessions this POP admits at once.
        admits: whether there is time for one more, told how many there are.
        seed: entropy for a face's behaviour, called once per session.
        token_bytes: random bytes for resume tokens.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        conductor: Conductor,
        services: SessionServices,
        capacity: int,
        seed: Callable[[], int],
        token_bytes: Callable[[int], bytes],
        admits: Callable[[int], bool] = lambda _sessions: True,
    ) -> None:
        self._bus = bus
        self._conductor = conductor
        self._services = services
        self._capacity = capacity
        self._admits = admits
        self._seed = seed
        self._tokens = ResumeTokens(token_bytes)
        self._held: dict[str, _Held] = {}
        self._expected: dict[str, Subscription] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._draining = False
        self.accepting = True
        """Viewers whose session is not here yet are let in."""
        self.on_moving: Callable[[Session, str, int], None] = lambda _session, _word, _epoch: None
        """Told what a viewer says of a move to here."""
        self.on_lost: Callable[[Session, str], None] = lambda _session, _reason: None
        """Told of a session that was to move here and is gone."""

    def __len__(self) -> int:
        return len(self._held)

    async def open(self, claims: Claims) -> SessionLink:
        """Make room for a session, listen to its origin, and open its first link; or another one, for the same viewer
        with a newer ticket.

        Raises: AdmissionError: `overloaded`, `draining`, `session-exists`.
        """
        expected = self._held.get(claims.session_id)
        if expected is not None and expected.session.expects(claims.epoch):
            expected.session.claims = expected.session.parts.claims = claims
            return expected.session.links.open()
        if expected is not None and not self._draining and _comes_again(expected.session.claims, claims):
            return expected.session.links.open()
        return (await self._make(claims, None)).links.open()

    async def expect(self, session_id: str) -> None:
        """A session is about to move here: listen to its origin from now on.

        Raises: AdmissionError: as `open`; FabricError.
        """
        self._check_room(session_id)
        await self.unexpect(session_id)
        while len(self._expected) >= HANDOFFS_AT_ONCE_MAX:
            await self.unexpect(next(iter(self._expected)))  # the oldest, whose broker has died
        self._expected[session_id] = await self._bus.subscribe(down_subject(session_id))

    async def unexpect(self, session_id: str) -> None:
        """It does not move here; unknown ones are fine."""
        subscription = self._expected.pop(session_id, None)
        if subscription is not None:
            await subscription.aclose()

    async def prepare(self, claims: Claims, state: SessionState) -> None:
        """Go on with a session that is another POP's so far: its viewer may come with a ticket of this epoch.

        Raises: AdmissionError: as `open`; FabricError; RemoteProtocolError: `bad-state`.
        """
        await self._make(claims, state)

    def _check_room(self, session_id: str) -> None:
        if self._draining or not self.accepting:
            raise AdmissionError("draining", "This POP is shutting down; ask for a new ticket.")
        if session_id in self._held:
            raise AdmissionError("session-exists", "This session already has a viewer.")
        if len(self._held) >= self._capacity:
            raise AdmissionError("overloaded", "This POP is full; ask for a new ticket.")
        if not self._admits(len(self._held)):
            raise AdmissionError("overloaded", "This POP has no time for another face; ask for a new ticket.")

    async def _make(self, claims: Claims, state: SessionState | None) -> Session:
        """A session that listens to its origin: a new one, or one that goes on with a state."""
        self._check_room(claims.session_id)
        session = Session(
            claims=claims,
            services=self._services,
            seed=self._seed(),
            on_ended=lambda reason: self._ended(claims.session_id, reason),
            close_link=self._close_link,
            issue_resume=lambda: self._tokens.issue(claims.session_id, self._services.clock()),
            on_moving=lambda word, epoch: self.on_moving(session, word, epoch),
        )
        placeholder = _Held(session, _NO_SUBSCRIPTION)
        self._held[claims.session_id] = placeholder  # before the first await: two offers must not both get in
        try:
            placeholder.subscription = await self._subscribe(claims.session_id)
        except BaseException:
            session.fail("fabric-unreachable")
            raise
        if self._held.get(claims.session_id) is not placeholder:  # sent away meanwhile
            await placeholder.subscription.aclose()
            raise AdmissionError("draining", "This POP is shutting down; ask for a new ticket.")
        if state is not None:
            self._go_on(session, state)
        if placeholder.subscription is _NO_SUBSCRIPTION:
            placeholder.listener = asyncio.create_task(self._listen_later(session, placeholder))
            self._conductor.add(session)
            return session
        placeholder.listener = asyncio.create_task(self._listen(session, placeholder.subscription))
        self._conductor.add(session)
        return session

    async def _subscribe(self, session_id: str) -> Subscription:
        """To what the origin says; to nothing for now, if it is out of reach: the viewer has a ticket all the same."""
        expected = self._expected.pop(session_id, None)
        if expected is not None:
            return expected
        try:
            return await self._bus.subscribe(down_subject(session_id))
        except FabricError as error:
            if error.code != "unreachable":
                raise
            return _NO_SUBSCRIPTION

    async def _listen_later(self, session: Session, held: _Held) -> None:
        while held.subscription is _NO_SUBSCRIPTION:
            await asyncio.sleep(_SUBSCRIBE_S)
            if session.parts.ended:
                return
            held.subscription = await self._subscribe(session.claims.session_id)
        session.say_opened(self._services.clock())  # the origin could not hear of its viewer until now
        await self._listen(session, held.subscription)

    def _go_on(self, session: Session, state: SessionState) -> None:
        now = self._services.clock()
        session.begin_as_successor(now)
        try:
            resume(session.parts, state, now)
        except BaseException:
            session.release()
            raise

    def find(self, session_id: str) -> Session | None:
        """A session that is here."""
        held = self._held.get(session_id)
        return held.session if held is not None else None

    def all(self) -> tuple[Session, ...]:
        """Those that are here now."""
        return tuple(held.session for held in self._held.values())

    def thumbprint_of(self, session_id: str) -> str:
        """Of the key that a session's viewer proved to hold; empty: none, or there is no such session."""
        held = self._held.get(session_id)
        return held.session.claims.thumbprint if held is not None else ""

    def resume(self, token: str, session_id: str) -> SessionLink:
        """Open another link of a session that is here.

        Raises: AdmissionError: `draining`, and see `ResumeTokens.redeem`.
        """
        if self._draining:
            raise AdmissionError("draining", "This POP is shutting down; ask for a new ticket.")
        self._tokens.redeem(token, session_id, self._services.clock())
        return self._held[session_id].session.links.open(on_failed=lambda: self._tokens.restore(token))

    @property
    def draining(self) -> bool:
        """Nobody new is let in."""
        return self._draining

    def ids(self) -> tuple[str, ...]:
        """Sessions that are here now."""
        return tuple(self._held)

    def origin_is_back(self) -> None:
        """The way to the origin was broken: it may not know who has come, and what it said may not have come here."""
        for session in self.all():
            if session.parts.owner:
                session.say_opened(self._services.clock(), missed=True)

    def end(self, session_id: str, reason: str) -> None:
        """Say goodbye to one; unknown ones are fine."""
        held = self._held.get(session_id)
        if held is not None:
            held.session.fail(reason)

    async def aclose(self) -> None:
        """Say goodbye to everybody and free everything."""
        self._draining = True
        for session_id in tuple(self._expected):
            await self.unexpect(session_id)
        for held in tuple(self._held.values()):
            held.session.fail("pop-stopping")
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _listen(self, session: Session, subscription: Subscription) -> None:
        fence = Fence()
        async for message in subscription:
            try:
                decoded = decode_down(message.payload)
                if isinstance(decoded, Owner | SessionEnd):  # said by a broker, of POPs
                    self._told(session, decoded)
                    continue
                verdict = fence.receive(decoded.generation, "")
                if isinstance(verdict, Dropped):
                    self._services.metrics.dropped("old-generation")
                    continue
                if verdict == "preview":
                    self._handed_over(session, fence, decoded.generation)
                session.receive(decoded, self._services.clock())
            except RemoteProtocolError as error:
                self._services.metrics.dropped(error.code)
            except Exception:
                _log.exception("a message from the origin broke session %s", session.claims.session_id)
                session.fail("internal-error")

    def _told(self, session: Session, message: Owner | SessionEnd) -> None:
        """A broker says which POP has the session."""
        if isinstance(message, Owner):
            session.own(message.epoch, self._services.clock())
        elif message.epoch in (session.claims.epoch, EVERY_EPOCH):
            session.fail(message.reason)

    def _handed_over(self, session: Session, fence: Fence, generation: int) -> None:
        """Who speaks has the lease: the newest generation is believed. The first one takes over from nobody."""
        first = fence.epoch == 0
        if fence.commit(generation, "") and not first:
            session.hand_over(generation)

    def _ended(self, session_id: str, reason: str) -> None:
        held = self._held.pop(session_id, None)
        if held is None:
            return
        self._tokens.forget(session_id)
        if held.session.parts.role is Role.SUCCESSOR:
            self.on_lost(held.session, reason)
        self._conductor.remove(held.session)
        self._later(self._free(held))
        _log.info("session %s ended: %s", session_id, reason)

    def _close_link(self, link: ViewerLink, reason: str) -> None:
        self._later(link.aclose(reason))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _free(self, held: _Held) -> None:
        await held.subscription.aclose()
        if held.listener is not None:
            await asyncio.wait([held.listener], timeout=1.0)
            held.listener.cancel()


class _NoSubscription:
    dropped = 0

    def __aiter__(self) -> _NoSubscription:
        return self

    async def __anext__(self) -> object:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Nothing to end."""


_NO_SUBSCRIPTION: Subscription = _NoSubscription()  # type: ignore[assignment]


def _comes_again(before: Claims, now: Claims) -> bool:
    """Whether a ticket is the same viewer's, proved by its key, and newer: its link and its resume token are lost."""
    return now.thumbprint != "" and now.thumbprint == before.thumbprint and now.epoch > before.epoch

"""All sessions of a POP: who is here, what the origin says to whom, and that nothing is left of those who went."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from core.errors import AdmissionError, Dropped, RemoteProtocolError
from core.fabric.bus import Bus, Subscription
from core.session.claims import Claims
from core.session.lease import Fence
from core.session.tenure import EVERY_EPOCH
from core.speech.messages import HandedOver, SessionEnd, decode_down, down_subject
from edge.conductor import Conductor
from edge.resume import ResumeTokens
from edge.session import Session, SessionServices
from edge.session_links import SessionLink
from edge.transports.link import ViewerLink

__all__ = ["Sessions"]

_log = logging.getLogger(__name__)


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
        self._closing: set[asyncio.Task[None]] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._held)

    async def open(self, claims: Claims) -> SessionLink:
        """Make room for a session, listen to its origin, and open its first link; or another one, for the same viewer
        with a newer ticket.

        Raises: AdmissionError: `overloaded`, `draining`, `session-exists`.
        """
        if self._draining:
            raise AdmissionError("draining", "This POP is shutting down; ask for a new ticket.")
        if (here := self._held.get(claims.session_id)) is not None:
            if not _comes_again(here.session.claims, claims):
                raise AdmissionError("session-exists", "This session already has a viewer.")
            return here.session.links.open()
        if len(self._held) >= self._capacity:
            raise AdmissionError("overloaded", "This POP is full; ask for a new ticket.")
        if not self._admits(len(self._held)):
            raise AdmissionError("overloaded", "This POP has no time for another face; ask for a new ticket.")
        session = Session(
            claims=claims,
            services=self._services,
            seed=self._seed(),
            on_ended=lambda reason: self._ended(claims.session_id, reason),
            close_link=self._close_link,
            issue_resume=lambda: self._tokens.issue(claims.session_id, self._services.clock()),
        )
        placeholder = _Held(session, _NO_SUBSCRIPTION)
        self._held[claims.session_id] = placeholder  # before the first await: two offers must not both get in
        try:
            placeholder.subscription = await self._bus.subscribe(down_subject(claims.session_id))
        except BaseException:
            session.fail("fabric-unreachable")
            raise
        if self._held.get(claims.session_id) is not placeholder:  # sent away meanwhile
            await placeholder.subscription.aclose()
            raise AdmissionError("draining", "This POP is shutting down; ask for a new ticket.")
        placeholder.listener = asyncio.create_task(self._listen(session, placeholder.subscription))
        self._conductor.add(session)
        return session.links.open()

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

    def end(self, session_id: str, reason: str) -> None:
        """Say goodbye to one; unknown ones are fine."""
        held = self._held.get(session_id)
        if held is not None:
            held.session.fail(reason)

    async def aclose(self) -> None:
        """Say goodbye to everybody and free everything."""
        self._draining = True
        for held in tuple(self._held.values()):
            held.session.fail("pop-stopping")
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _listen(self, session: Session, subscription: Subscription) -> None:
        fence = Fence()
        async for message in subscription:
            try:
                decoded = decode_down(message.payload)
                if isinstance(decoded, SessionEnd):
                    if decoded.epoch in (session.claims.epoch, EVERY_EPOCH):
                        session.fail(decoded.reason)
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

    def _handed_over(self, session: Session, fence: Fence, generation: int) -> None:
        """Who speaks has the lease: the newest generation is believed. The first one takes over from nobody."""
        first = fence.epoch == 0
        if fence.commit(generation, "") and not first:
            utterance_id, packets = session.close_voice()
            message = HandedOver(generation=generation, utterance_id=utterance_id, packets=packets)
            self._services.send_up(session.claims.session_id, message)

    def _ended(self, session_id: str, reason: str) -> None:
        held = self._held.pop(session_id, None)
        if held is None:
            return
        self._tokens.forget(session_id)
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

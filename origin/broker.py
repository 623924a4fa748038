"""Which sessions there are and which POP has each: records in the store, several POPs per ticket, one that wins.

The rules are pure (`core.session.placement`, `tenure`, `proof`); here they meet the store and the bus. Whatever a
request is told is written first, so that an origin that starts again, or another one, says the same.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from core.errors import FabricError, LocalProtocolError, RemoteProtocolError
from core.fabric.bus import Bus, Subscription
from core.fabric.store import Store
from core.host.clock import Clock
from core.limits import AGENT_TOKEN_LIFETIME_S, LEASE_TRIES_MAX
from core.session.claims import ALL_SCOPES, MODE_CONVERSATION
from core.session.tenure import EVERY_EPOCH, Refused, first_tenure
from core.speech.messages import (
    PRESENCE_SUBJECTS,
    Closed,
    PopPresence,
    SessionEnd,
    decode_presence,
    down_subject,
    encode,
    session_of_presence,
    up_subject,
)
from origin.api_keys import UNLIMITED, KeyRecord
from origin.dialogue.services import Shared
from origin.pops import POPS_PREFIX, PopRecord, Pops
from origin.problems import ProblemError
from origin.records import SESSIONS_PREFIX, SessionRecord, can_go_on, decode_session
from origin.request_book import RequestBook
from origin.sessions import SessionRunner
from origin.ticket_office import TicketOffice
from origin.tokens import Signer

__all__ = ["POPS_PREFIX", "Broker", "PopRecord", "SessionRecord", "Wanted"]

_log = logging.getLogger(__name__)

_RETRY_AFTER_S: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A session that is asked for.

    Attributes:
        character: None: the default one.
        mode: MODE_AGENT or one of core.session.claims.MODES.
        thumbprint: of the viewer's key; empty: it has none.
        request_id: the same one gets the same session; empty: every request gets its own.
        body: hash of all that was asked for.
        caller: who asks; request ids of different callers are different.
        key_id, limits: of the API key.
        protocols: what the viewer speaks.
        regions: where its data may be; None: anywhere.
        carrier: the mobile network its address belongs to.
        rtt_ms: what it has measured, by POP.
    """

    character: str | None = None
    mode: str = MODE_CONVERSATION
    thumbprint: str = ""
    request_id: str = ""
    body: str = ""
    caller: str = ""
    key_id: str = ""
    limits: KeyRecord = UNLIMITED.record
    protocols: tuple[str, ...] = ("webrtc", "webtransport")
    regions: tuple[str, ...] | None = None
    carrier: str = ""
    rtt_ms: Mapping[str, float] = field(default_factory=dict[str, float])


class Broker:
    """Opens sessions, gives tickets for them, and ends them.

    Args:
        issuer: who tickets say they are from.
        bus: where POPs say whom they have; None: nobody listens to them.

    Attributes:
        sessions: runs them.
        pops: the POPs there are.
        store, clock: what it works with.
    """

    def __init__(
        self,
        shared: Shared,
        sessions: SessionRunner,
        store: Store,
        key: Signer,
        clock: Clock,
        *,
        issuer: str,
        bus: Bus | None = None,
    ) -> None:
        self._shared = shared
        self.sessions = sessions
        self.store = store
        self.clock = clock
        self._key = key
        self._bus = bus
        self.pops = Pops(store, clock.monotonic)
        self._office = TicketOffice(shared.config, shared.characters, self.pops, key, issuer=issuer)
        self.requests = RequestBook(store, clock)
        self._held: dict[str, str] = {}
        self._opening = Counter[str]()
        self._presence: Subscription | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen to POPs. Raises: FabricError."""
        await self.pops.start()
        loop = asyncio.get_running_loop()
        if self._bus is not None and self._presence is None:
            self._presence = await self._bus.subscribe(PRESENCE_SUBJECTS)
            self._tasks.append(loop.create_task(self._listen(self._presence), name="presence"))
            self._tasks.append(loop.create_task(self.requests.run(), name="old requests"))

    @property
    def count(self) -> int:
        """Sessions that are open or being opened."""
        return self.sessions.count + self._opening.total()

    # --- asking for a session ------------------------------------------------------------------------------------

    async def open(self, wanted: Wanted) -> dict[str, Any]:
        """Open a session, warm its pipeline and mint its tickets; the same request again gets the same session.

        Returns: the body of `POST /v1/sessions` (ARCHITECTURE.md, "Tickets").
        Raises: ProblemError: no such character, no POP, too many sessions, or the fabric is out of reach.
        """
        try:
            await self.pops.start()
            if not wanted.request_id:
                return await self._open(self._identifier(), wanted)
            booking = self.requests.book(wanted.caller, wanted.request_id, wanted.body, self._identifier())
            async with booking as request:
                if not request.first:
                    again = await self._repeat(request.session_id, request.done)
                    if again is not None:
                        return again
                return await self._open(request.session_id, wanted)
        except FabricError as error:
            raise _unreachable(error) from None

    async def _open(self, session_id: str, wanted: Wanted) -> dict[str, Any]:
        config = self._shared.config
        character = self._shared.characters.get(wanted.character or config.character)
        if character is None:
            raise ProblemError(404, "unknown-character", "There is no character of this name.")
        self._check_limits(wanted, character.id)
        now = self.clock.wall()
        record = SessionRecord(
            character=character.id,
            epoch=0,
            pop="",
            created_at=now,
            mode=wanted.mode,
            thumbprint=wanted.thumbprint,
            key=wanted.key_id,
            scopes=_scopes(wanted),
            regions=_regions(wanted),
            carrier=wanted.carrier,
        )
        self._opening[wanted.key_id] += 1
        try:
            placed = await self._office.place(session_id, record, rtt_ms=wanted.rtt_ms)
            self._announce(placed)
            record = msgspec.structs.replace(record.with_tenure(first_tenure(placed)), offered_at=now)
            await self.store.create(SESSIONS_PREFIX + session_id, msgspec.json.encode(record))
            self._held[session_id] = wanted.key_id
        finally:
            self._opening[wanted.key_id] -= 1
        # From here on its record is deleted with it.
        await self.sessions.start(session_id, character, wanted.mode, on_ended=self._forget)
        answer = self._office.answer(session_id, record)
        agent = self.sessions.agent(session_id)
        if agent is not None:
            answer["agent"] = {"token": agent.invite(), "expires_at": now + int(AGENT_TOKEN_LIFETIME_S)}
        return answer

    def _announce(self, pops: tuple[str, ...]) -> None:
        for pop in pops:
            self.sessions.announce(pop, self._key.key_id)

    def _check_limits(self, wanted: Wanted, character_id: str) -> None:
        limits = wanted.limits
        if limits.modes and wanted.mode not in limits.modes:
            raise ProblemError(403, "key-scope", f"This API key may not ask for the mode {wanted.mode}.")
        if limits.characters and character_id not in limits.characters:
            raise ProblemError(403, "key-scope", f"This API key may not ask for the character {character_id}.")
        if self._shared.config.require_proof and not wanted.thumbprint:
            raise ProblemError(
                400, "proof-key-required", "Send the public key (P-256, JWK) that you can prove to hold."
            )
        headers = {"Retry-After": str(_RETRY_AFTER_S)}
        if limits.sessions_max:
            open_now = sum(key == wanted.key_id for key in self._held.values()) + self._opening[wanted.key_id]
            if open_now >= limits.sessions_max:
                raise ProblemError(429, "too-many-sessions-of-key", "All sessions of this API key are taken.", headers)
        if not self._has_room():
            raise ProblemError(503, "too-many-sessions", "All places are taken; try again in a moment.", headers)

    async def _repeat(self, session_id: str, done: bool) -> dict[str, Any] | None:
        """Answer a request that was answered before; None: its session never came to be."""
        try:
            return await self._renew(session_id, same=True)
        except ProblemError as problem:
            if problem.code != "unknown-session":
                raise
        if done:
            raise ProblemError(
                410, "session-ended", "The session of this request has ended; choose another request id."
            )
        return None

    # --- asking again for the same session ------------------------------------------------------------------------

    async def find(self, session_id: str) -> SessionRecord:
        """A session's record. Raises: ProblemError: `unknown-session`, `fabric-unreachable`."""
        try:
            return (await self._read(session_id))[0]
        except FabricError as error:
            raise _unreachable(error) from None

    async def renew(self, session_id: str, avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Fresh tickets for a session, with epochs beyond all before. Nobody is asked and no time is waited for.

        Args:
            avoid: names of POPs where the viewer has just failed.

        Returns: as `open` does.
        Raises: ProblemError: `unknown-session`, `no-pop`, `overloaded`, `fabric-unreachable`.
        """
        try:
            await self.pops.start()
            return await self._renew(session_id, avoid=avoid)
        except FabricError as error:
            raise _unreachable(error) from None

    async def _renew(
        self, session_id: str, *, avoid: frozenset[str] = frozenset(), same: bool = False
    ) -> dict[str, Any]:
        for _ in range(LEASE_TRIES_MAX):
            record, revision = await self._read(session_id)
            if same and self._office.still_good(record, self.clock.wall()):
                return self._office.answer(session_id, record)
            placed = await self._office.place(session_id, record, avoid=avoid)
            self._announce(placed)
            try:
                tenure = record.tenure.offer(placed)
            except LocalProtocolError:
                raise ProblemError(409, "session-worn-out", "This session has no epochs left; open another.") from None
            renewed = msgspec.structs.replace(record.with_tenure(tenure), offered_at=self.clock.wall())
            try:
                await self.store.update(SESSIONS_PREFIX + session_id, msgspec.json.encode(renewed), revision)
            except FabricError as error:
                if error.code not in ("conflict", "not-found"):
                    raise
            else:
                return self._office.answer(session_id, renewed)
        raise FabricError("conflict", "a session's record changes again and again")

    async def _read(self, session_id: str) -> tuple[SessionRecord, int]:
        try:
            entry = await self.store.get(SESSIONS_PREFIX + session_id)
        except (FabricError, LocalProtocolError) as error:
            if isinstance(error, FabricError) and error.code != "not-found":
                raise
        else:
            record = decode_session(entry.key, entry.value)
            if record is not None:
                return record, entry.revision
        raise ProblemError(404, "unknown-session", "There is no such session; it may have ended.")

    # --- POPs that have sessions -----------------------------------------------------------------------------------

    async def _listen(self, subscription: Subscription) -> None:
        async for message in subscription:
            try:
                presence = decode_presence(message.payload)
                await self.claim(session_of_presence(message.subject), presence)
            except RemoteProtocolError:
                _log.warning("a POP's claim on a session cannot be read")
            except (FabricError, LocalProtocolError) as error:
                _log.warning("a POP's claim on a session cannot be judged: %s", error)

    async def claim(self, session_id: str, presence: PopPresence) -> None:
        """Judge a POP's claim on a session, by compare-and-set. Raises: FabricError."""
        for _ in range(LEASE_TRIES_MAX):
            try:
                record, revision = await self._read(session_id)
            except ProblemError:
                if presence.here:
                    self._dismiss(session_id, "ended", presence.epoch)
                return
            if not presence.here:
                if presence.epoch == record.epoch:
                    self.sessions.end(session_id, "closed")
                return
            verdict = record.tenure.open(presence.pop, presence.epoch)
            if isinstance(verdict, Refused):
                self._dismiss(session_id, verdict.reason, presence.epoch)
                return
            if verdict.tenure != record.tenure:
                moved = msgspec.structs.replace(record.with_tenure(verdict.tenure), pop=presence.pop)
                try:
                    await self.store.update(SESSIONS_PREFIX + session_id, msgspec.json.encode(moved), revision)
                except FabricError as error:
                    if error.code not in ("conflict", "not-found"):
                        raise
                    continue
                if verdict.before:
                    self._dismiss(session_id, "superseded", verdict.before)
            return

    def _dismiss(self, session_id: str, reason: str, epoch: int) -> None:
        if self._bus is not None:
            with contextlib.suppress(FabricError):
                self._bus.publish_nowait(down_subject(session_id), encode(SessionEnd(reason=reason, epoch=epoch)))

    # --- the end -------------------------------------------------------------------------------------------------

    async def kick(self, session_id: str, reason: str = "kicked") -> None:
        """End a session wherever it is, at once; its viewer is told why, and no ticket of it opens anything any more.

        Raises: ProblemError: `unknown-session`; FabricError.
        """
        await self._read(session_id)
        await self._delete(session_id)
        self._dismiss(session_id, reason, EVERY_EPOCH)
        self.sessions.end(session_id, reason)
        if self._bus is not None:  # it may run in another process
            with contextlib.suppress(FabricError):
                self._bus.publish_nowait(up_subject(session_id), encode(Closed(reason=reason)))

    async def kick_key(self, key_id: str) -> int:
        """End all sessions that an API key has asked for. Returns: how many. Raises: FabricError."""
        ended = 0
        for session_id, record in await self.records():
            if record.key == key_id:
                with contextlib.suppress(ProblemError):
                    await self.kick(session_id, "key-revoked")
                    ended += 1
        return ended

    async def records(self) -> list[tuple[str, SessionRecord]]:
        """All sessions of the store, by id. Raises: FabricError."""
        found: list[tuple[str, SessionRecord]] = []
        for key in await self.store.keys(SESSIONS_PREFIX):
            session_id = key.removeprefix(SESSIONS_PREFIX)
            with contextlib.suppress(ProblemError):  # it left in between
                found.append((session_id, (await self._read(session_id))[0]))
        return found

    async def adopt(self) -> int:
        """Go on with the sessions whose records an earlier life of this origin left: their viewers are still there.

        Each gets an epoch of its own, which keeps its numbers apart from those of before, and a conversation without
        memory; the POP that has it keeps it. Records that are none, of characters that are gone, or of sessions whose
        agent was somebody else's (its tokens are gone), are deleted: POPs then say goodbye.

        Returns: how many sessions go on.
        Raises: FabricError: the store is out of reach.
        """
        adopted = 0
        for key in await self.store.keys(SESSIONS_PREFIX):
            session_id = key.removeprefix(SESSIONS_PREFIX)
            if self.sessions.has(session_id):
                continue
            with contextlib.suppress(FabricError):  # somebody else is at it, or it is gone
                entry = await self.store.get(key)
                record = decode_session(key, entry.value)
                known = record is not None and can_go_on(record) and record.character in self._shared.characters
                if record is None or not known or not self._has_room():
                    await self.store.delete(key, entry.revision)
                    continue
                record = record.with_tenure(record.tenure.burn())
                await self.store.update(key, msgspec.json.encode(record), entry.revision)
                self._held[session_id] = record.key
                character = self._shared.characters[record.character]
                epoch = record.reserved
                await self.sessions.go_on(session_id, character, record.mode, epoch=epoch, on_ended=self._forget)
                adopted += 1
        if adopted:
            _log.info("sessions of before the restart go on", extra={"sessions": adopted})
        return adopted

    def _has_room(self) -> bool:
        return self.count < self._shared.config.sessions_max

    async def aclose(self) -> None:
        """Free all sessions."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._presence is not None:
            await self._presence.aclose()
        await self.pops.aclose()
        await self.sessions.aclose()

    async def _forget(self, session_id: str) -> None:
        self._held.pop(session_id, None)
        with contextlib.suppress(FabricError):
            await self._delete(session_id)

    async def _delete(self, session_id: str) -> None:
        key = SESSIONS_PREFIX + session_id
        for _ in range(LEASE_TRIES_MAX):
            try:
                await self.store.delete(key, (await self.store.get(key)).revision)
            except FabricError as error:
                if error.code == "not-found":
                    return
                if error.code != "conflict":
                    raise
            else:
                return

    def _identifier(self) -> str:
        return base64.urlsafe_b64encode(self._shared.entropy.token_bytes(16)).rstrip(b"=").decode()


def _scopes(wanted: Wanted) -> tuple[str, ...]:
    allowed = wanted.limits.transports
    scopes = tuple(scope for scope in ALL_SCOPES if not allowed or scope in allowed)
    return tuple(scope for scope in scopes if scope in wanted.protocols) or scopes


def _regions(wanted: Wanted) -> tuple[str, ...] | None:
    """What the key says bounds what the request may say."""
    allowed = wanted.limits.regions
    if wanted.regions is None:
        return allowed or None
    if allowed and not set(wanted.regions) <= set(allowed):
        raise ProblemError(403, "key-scope", "This API key may not ask for that region.")
    return wanted.regions


def _unreachable(error: FabricError) -> ProblemError:
    return ProblemError(503, "fabric-unreachable", f"The fabric cannot be used ({error.code}).")

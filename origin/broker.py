"""Which sessions there are and where they are served: records in the store, one POP per ticket."""

from __future__ import annotations

import base64
import contextlib
import logging
from typing import Any, Final

import msgspec

from core.errors import FabricError
from core.fabric.store import Store
from core.host.clock import Clock
from core.limits import AGENT_TOKEN_LIFETIME_S, EPOCH_MAX, TICKET_LIFETIME_S
from core.session.claims import MODE_CONVERSATION, MODE_MIRROR, MODES
from origin.dialogue.services import Shared
from origin.problems import ProblemError
from origin.sessions import SessionRunner
from origin.tokens import TicketKey

__all__ = ["POPS_PREFIX", "Broker", "PopRecord", "SessionRecord"]

_log = logging.getLogger(__name__)

POPS_PREFIX: Final = "pops."
"""Keys under which POPs announce themselves."""
_SESSIONS: Final = "sessions."
_RETRY_AFTER_S: Final = 2


class WebTransportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where a POP's QUIC endpoint is, as it goes into tickets."""

    url: str
    certificate_hashes: tuple[str, ...] = ()


class PopRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a POP writes into the store about itself; more members are allowed."""

    name: str
    url: str
    started_at: float = 0.0
    webtransport: WebTransportRecord | None = None


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the origin writes into the store about a session; without a mode it is a conversation."""

    character: str
    epoch: int
    pop: str
    created_at: int
    mode: str = MODE_CONVERSATION


def _session_record(key: str, value: bytes | None) -> SessionRecord | None:
    try:
        record = msgspec.json.decode(value or b"", type=SessionRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        _log.warning("store key %s is no session record", key)
        return None
    return record if 0 < record.epoch < EPOCH_MAX and record.mode in MODES else None


class Broker:
    """Opens sessions and frees them.

    Args:
        issuer: who tickets say they are from.

    Attributes:
        sessions: runs them.
    """

    def __init__(
        self, shared: Shared, sessions: SessionRunner, store: Store, key: TicketKey, clock: Clock, *, issuer: str
    ) -> None:
        self._shared = shared
        self.sessions = sessions
        self._store = store
        self._key = key
        self._clock = clock
        self._issuer = issuer
        self._revisions: dict[str, int] = {}
        self._opening = 0

    @property
    def count(self) -> int:
        """Sessions that are open or being opened."""
        return self.sessions.count + self._opening

    async def pops(self) -> list[PopRecord]:
        """The POPs that have announced themselves, by name. Records that are not one are skipped."""
        records: list[PopRecord] = []
        for key in await self._store.keys(POPS_PREFIX):
            with contextlib.suppress(FabricError):  # it left in between
                value = (await self._store.get(key)).value
                try:
                    records.append(msgspec.json.decode(value or b"", type=PopRecord))
                except msgspec.DecodeError:
                    _log.warning("store key %s is no POP record", key)
        return records

    async def open(self, character_id: str | None, mode: str = MODE_CONVERSATION) -> dict[str, object]:
        """Open a session, warm its pipeline and mint its ticket.

        Args:
            mode: MODE_AGENT or one of core.session.claims.MODES.
        Returns: the body of `POST /v1/sessions` (ARCHITECTURE.md, "Tickets").
        Raises: ProblemError: no such character, no POP, too many sessions, or the fabric is out of reach.
        """
        config = self._shared.config
        character = self._shared.characters.get(character_id or config.character)
        if character is None:
            raise ProblemError(404, "unknown-character", "There is no character of this name.")
        if not self._has_room():
            headers = {"Retry-After": str(_RETRY_AFTER_S)}
            raise ProblemError(503, "too-many-sessions", "All places are taken; try again in a moment.", headers)
        session_id, epoch, created_at = self._identifier(), 1, self._clock.wall()
        try:
            self._opening += 1
            try:
                pop = await self._choose_pop()
                self.sessions.announce(pop.name, self._key.key_id)
                record = SessionRecord(
                    character=character.id, epoch=epoch, pop=pop.name, created_at=created_at, mode=mode
                )
                self._revisions[session_id] = await self._store.create(
                    _SESSIONS + session_id, msgspec.json.encode(record)
                )
            finally:
                self._opening -= 1
            # From here on its record is deleted with it.
            await self.sessions.start(session_id, character, mode, on_ended=self._forget)
        except FabricError as error:
            raise ProblemError(503, "fabric-unreachable", f"The fabric cannot be used ({error.code}).") from None
        lifetime_s = min(TICKET_LIFETIME_S, max(1, int(config.open_s_max)))
        token = self._key.mint(
            issuer=self._issuer,
            audience=pop.name,
            session_id=session_id,
            ticket_id=self._identifier(),
            character=character.id,
            epoch=epoch,
            now_wall=created_at,
            lifetime_s=lifetime_s,
            mode=MODE_MIRROR if mode == MODE_MIRROR else MODE_CONVERSATION,
        )
        offer: dict[str, Any] = {"name": pop.name, "url": pop.url, "token": token, "epoch": epoch}
        if pop.webtransport is not None:
            offer["webtransport"] = msgspec.to_builtins(pop.webtransport)
        answer: dict[str, Any] = {
            "session_id": session_id,
            "character": {"id": character.id, "name": character.name, "puppet": character.puppet},
            "pops": [offer],
            "ice_servers": [],
            "expires_at": created_at + lifetime_s,
        }
        agent = self.sessions.agent(session_id)
        if agent is not None:
            answer["agent"] = {"token": agent.invite(), "expires_at": created_at + int(AGENT_TOKEN_LIFETIME_S)}
        return answer

    async def _choose_pop(self) -> PopRecord:
        """The newest start wins: the record of a POP that was killed may still be there."""
        pops = await self.pops()
        if not pops:
            headers = {"Retry-After": str(_RETRY_AFTER_S)}
            raise ProblemError(503, "no-pop", "No POP is running; start one with `python -m edge`.", headers)
        return max(pops, key=lambda record: (record.started_at, record.name))

    async def adopt(self) -> int:
        """Go on with the sessions whose records an earlier life of this origin left: their viewers are still there.

        Each gets a new epoch, which also keeps its numbers apart from those of before, and a conversation without
        memory. Records that are none, of characters that are gone, or of sessions whose agent was somebody else's (its
        tokens are gone), are deleted: POPs then say goodbye.

        Returns: how many sessions go on.
        Raises: FabricError: the store is out of reach.
        """
        adopted = 0
        for key in await self._store.keys(_SESSIONS):
            session_id = key.removeprefix(_SESSIONS)
            if self.sessions.has(session_id):
                continue
            with contextlib.suppress(FabricError):  # somebody else is at it, or it is gone
                entry = await self._store.get(key)
                record = _session_record(key, entry.value)
                if record is None or record.character not in self._shared.characters or not self._has_room():
                    await self._store.delete(key, entry.revision)
                    continue
                record = msgspec.structs.replace(record, epoch=record.epoch + 1)
                self._revisions[session_id] = await self._store.update(key, msgspec.json.encode(record), entry.revision)
                character = self._shared.characters[record.character]
                await self.sessions.go_on(session_id, character, record.mode, epoch=record.epoch, on_ended=self._forget)
                adopted += 1
        if adopted:
            _log.info("sessions of before the restart go on", extra={"sessions": adopted})
        return adopted

    def _has_room(self) -> bool:
        return self.count < self._shared.config.sessions_max

    async def aclose(self) -> None:
        """Free all sessions."""
        await self.sessions.aclose()

    async def _forget(self, session_id: str) -> None:
        with contextlib.suppress(FabricError):
            await self._store.delete(_SESSIONS + session_id, self._revisions.pop(session_id))

    def _identifier(self) -> str:
        return base64.urlsafe_b64encode(self._shared.entropy.token_bytes(16)).rstrip(b"=").decode()

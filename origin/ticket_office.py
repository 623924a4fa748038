"""Tickets: to which POPs a session may go, and the tokens that open it there."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from core.limits import TICKET_LIFETIME_S, TURN_CREDENTIALS_LIFETIME_S
from core.session.claims import MODE_CONVERSATION, MODE_MIRROR, SCOPE_WEBTRANSPORT
from core.session.placement import Client, TurnedAway
from core.session.turn_credentials import turn_credentials
from origin.config import OriginConfig
from origin.dialogue.character import Character
from origin.pops import PopRecord, Pops
from origin.problems import ProblemError
from origin.records import SessionRecord
from origin.tokens import Signer

__all__ = ["TicketOffice"]

_log = logging.getLogger(__name__)

_SAME_TICKET_S_MIN: Final = 10
"""Tickets that are good for at least this long are given again."""
_NO_POP: Final = "No POP may take this session; start one with `python -m edge`."


class TicketOffice:
    """See the module docstring. Everything in a ticket follows from the session's record and the keys: the same record
    gives the same tokens.

    Args:
        issuer: who tickets say they are from.
        pops: the POPs there are.
    """

    def __init__(
        self, config: OriginConfig, characters: Mapping[str, Character], pops: Pops, signer: Signer, *, issuer: str
    ) -> None:
        self._config = config
        self._characters = characters
        self._pops = pops
        self._signer = signer
        self._issuer = issuer

    async def place(
        self,
        session_id: str,
        record: SessionRecord,
        *,
        avoid: frozenset[str] = frozenset(),
        rtt_ms: Mapping[str, float] | None = None,
    ) -> tuple[str, ...]:
        """POPs for a session, best first.

        Raises: ProblemError: `no-pop` or `overloaded`, with Retry-After; FabricError.
        """
        client = Client(
            affinity=record.thumbprint or session_id,
            protocols=frozenset(record.scopes),
            regions=None if record.regions is None else frozenset(record.regions),
            carrier=record.carrier,
            rtt_ms=rtt_ms or {},
        )
        placement = await self._pops.place(client, avoid)
        if isinstance(placement, TurnedAway):
            said = "All POPs are full; try again in a moment." if placement.code == "overloaded" else _NO_POP
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(placement.reasons.items()))
            _log.info("no POP for a session", extra={"reasons": reasons or "none there"})
            raise ProblemError(503, placement.code, said, {"Retry-After": str(placement.retry_after_s)})
        self._pops.took(placement.candidates[0])
        return placement.candidates

    @property
    def _lifetime_s(self) -> int:
        return min(TICKET_LIFETIME_S, max(1, int(self._config.open_s_max)))

    def still_good(self, record: SessionRecord, now_wall: int) -> bool:
        """Whether the newest tickets can be given once more."""
        left_s = record.offered_at + self._lifetime_s - now_wall
        known = all(self._pops.get(name) is not None for name in record.candidates)
        return not record.tenure.opened and left_s >= _SAME_TICKET_S_MIN and known and bool(record.candidates)

    def answer(self, session_id: str, record: SessionRecord) -> dict[str, Any]:
        """The body that a client gets (ARCHITECTURE.md, "Tickets")."""
        character = self._characters[record.character]
        offers: list[dict[str, Any]] = []
        for number, name in enumerate(record.candidates):
            pop = self._pops.get(name)
            if pop is not None:
                offers.append(self._offer(session_id, record, pop, record.tenure.epoch_of(number)))
        return {
            "session_id": session_id,
            "character": {"id": character.id, "name": character.name, "puppet": character.puppet},
            "pops": offers,
            "ice_servers": self._ice_servers(session_id, record.offered_at),
            "issued_at": record.offered_at,
            "expires_at": record.offered_at + self._lifetime_s,
        }

    def _offer(self, session_id: str, record: SessionRecord, pop: PopRecord, epoch: int) -> dict[str, Any]:
        token = self._signer.mint(
            issuer=self._issuer,
            audience=pop.name,
            session_id=session_id,
            ticket_id=_ticket_id(session_id, epoch),
            character=record.character,
            epoch=epoch,
            now_wall=record.offered_at,
            lifetime_s=self._lifetime_s,
            mode=MODE_MIRROR if record.mode == MODE_MIRROR else MODE_CONVERSATION,
            scopes=record.scopes,
            thumbprint=record.thumbprint,
        )
        offer: dict[str, Any] = {"name": pop.name, "url": pop.url, "token": token, "epoch": epoch}
        if pop.webtransport is not None and SCOPE_WEBTRANSPORT in record.scopes:
            offer["webtransport"] = msgspec.to_builtins(pop.webtransport)
        return offer

    def _ice_servers(self, session_id: str, now: int) -> list[dict[str, Any]]:
        config = self._config
        if not config.turn_urls:
            return []
        granted = turn_credentials(config.turn_secret, user=session_id, expires_at=now + TURN_CREDENTIALS_LIFETIME_S)
        return [{"urls": list(config.turn_urls), "username": granted.username, "credential": granted.credential}]


def _ticket_id(session_id: str, epoch: int) -> str:
    """No two tickets have the same session and epoch."""
    digest = hashlib.sha256(f"{session_id}.{epoch}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()

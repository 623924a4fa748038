"""Notices that an origin has forgotten its sessions: it has ended them, or it was started again and knows nobody.

The origin keeps a record `sessions.{id}` in the store as long as it serves a session. A viewer whose record is gone
would speak to nobody for ever, so the POP says goodbye, and the viewer comes again with a new ticket. While the fabric
is out of reach nothing is known, and the face goes on living.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from core.errors import FabricError
from core.fabric.store import Store, stale_reads
from core.limits import ORIGIN_CHECK_S

__all__ = ["OriginWatch", "Watched"]

_PREFIX: Final = "sessions."


class Watched(Protocol):
    """Who keeps the sessions."""

    def ids(self) -> tuple[str, ...]:
        """Sessions that are here now."""

    def end(self, session_id: str, reason: str) -> None:
        """Say goodbye to one; unknown ones are fine."""


class OriginWatch:
    """See the module docstring.

    Args:
        store: where the origin keeps its records.
        sessions: this POP's sessions.
    """

    def __init__(self, store: Store, sessions: Watched) -> None:
        self._store = store
        self._sessions = sessions

    async def check(self) -> None:
        """Look once."""
        here = self._sessions.ids()  # before the question: who comes meanwhile has a record that the answer may lack
        if not here:
            return
        stale = stale_reads(self._store)
        try:
            served = set(await self._store.keys(_PREFIX))
        except FabricError:
            return
        if stale_reads(self._store) != stale:
            return  # a copy from before the fabric broke: a session that it lacks may have begun since
        for session_id in here:
            if _PREFIX + session_id not in served:
                self._sessions.end(session_id, "origin-lost")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(ORIGIN_CHECK_S)
            await self.check()

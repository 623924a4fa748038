"""This POP's own record in the store: where it is, how busy it is, by which certificates its QUIC endpoint is known.

It is written every POP_BEAT_S; an origin sends nobody to a POP whose record stands still.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from core.errors import FabricError
from core.fabric.store import Store
from core.host.clock import Clock
from core.limits import POP_BEAT_S
from edge.certificates import Certificates

__all__ = ["Announcement", "Condition"]

_log = logging.getLogger(__name__)

_FAREWELL_S_MAX: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a POP is.

    Attributes:
        serving: it lets viewers in; False: it is being emptied.
        load: 0 … 1; from core.limits.POP_LOAD_MAX on nobody is sent here.
        sessions, capacity: that are here, and that may be.
    """

    serving: bool = True
    load: float = 0.0
    sessions: int = 0
    capacity: int = 0


class Announcement:
    """The record, written when the POP starts, at every beat, whenever the fabric comes back (it may be a new, empty
    one) and whenever the certificates change.

    Args:
        name: the POP's name.
        url: base URL of its HTTP server.
        webtransport_url: base URL of its QUIC endpoint; empty: it has none.
        certificates: what that is served with.
        region, carrier: see `edge.config`.

    Attributes:
        store: where it is written; None: not yet.
        condition: asked for at every beat.
    """

    def __init__(
        self,
        name: str,
        url: str,
        clock: Clock,
        *,
        webtransport_url: str = "",
        certificates: Certificates | None = None,
        region: str = "",
        carrier: str = "",
    ) -> None:
        self._key = f"pops.{name}"
        self._record: dict[str, object] = {"name": name, "url": url, "started_at": clock.wall()}
        if region:
            self._record["region"] = region
        if carrier:
            self._record["carrier"] = carrier
        self._clock = clock
        self._webtransport_url = webtransport_url
        self._certificates = certificates
        self._hashes: tuple[str, ...] | None = None
        self._beats = 0
        self._left = False
        self._lost = False
        self.store: Store | None = None
        self.condition: Callable[[], Condition] = Condition

    async def publish(self) -> None:
        """Write the record. Raises: FabricError."""
        assert self.store is not None
        self._beats += 1
        hashes: tuple[str, ...] = ()
        if self._certificates is not None:
            hashes = self._certificates.hashes(self._clock.wall())
        await self.store.put(self._key, json.dumps(self._now(hashes)).encode())
        if self._hashes is not None and self._hashes != hashes:
            _log.info("the certificate of WebTransport rotates")
        self._hashes = hashes
        if self._certificates is not None:
            self._certificates.told(hashes, self._clock.wall())

    def _now(self, hashes: tuple[str, ...]) -> dict[str, object]:
        condition = self.condition()
        record = {
            **self._record,
            "beats": self._beats,
            "serving": condition.serving and not self._left,
            "load": round(condition.load, 3),
            "sessions": condition.sessions,
            "capacity": condition.capacity,
            "protocols": ["webrtc"],
        }
        if self._certificates is not None:
            record["protocols"] = ["webrtc", "webtransport"]
            record["webtransport"] = {"url": self._webtransport_url, "certificate_hashes": hashes}
        return record

    async def reconnected(self, connected: bool) -> None:
        """The fabric was lost or is back."""
        if connected and self.store is not None:
            _log.info("the fabric is back")
            await self.publish()
        elif not connected:
            _log.warning("the fabric is gone; sessions go on without their origin")

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(POP_BEAT_S)
            await self.beat()

    async def beat(self) -> None:
        """Write the record again, if the fabric takes it."""
        try:
            await self.publish()
        except FabricError as error:
            if not self._lost:
                _log.warning("this POP cannot say that it lives: %s", error.code)
            self._lost = True
        else:
            self._lost = False

    async def leave(self) -> None:
        """Say that nobody shall be sent here any more; a fabric that does not answer is not waited for."""
        self._left = True
        try:
            async with asyncio.timeout(_FAREWELL_S_MAX):
                await self.publish()
        except (FabricError, TimeoutError):
            pass  # the silence that follows says the same, a little later

"""This POP's own record in the store: where it is, and by which certificates its QUIC endpoint is known."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Final

from core.errors import FabricError
from core.fabric.store import Store
from core.host.clock import Clock
from edge.certificates import Certificates

__all__ = ["Announcement"]

_log = logging.getLogger(__name__)

_CHECK_S: Final = 20.0


class Announcement:
    """The record, written when the POP starts, whenever the fabric comes back (it may be a new, empty one) and whenever
    the certificates change.

    Args:
        name: the POP's name.
        url: base URL of its HTTP server.
        webtransport_url: base URL of its QUIC endpoint; empty: it has none.
        certificates: what that is served with.
    """

    def __init__(
        self, name: str, url: str, clock: Clock, *, webtransport_url: str = "", certificates: Certificates | None = None
    ) -> None:
        self._key = f"pops.{name}"
        self._record: dict[str, object] = {"name": name, "url": url, "started_at": clock.wall()}
        self._clock = clock
        self._webtransport_url = webtransport_url
        self._certificates = certificates
        self._hashes: tuple[str, ...] | None = None
        self.store: Store | None = None

    async def publish(self) -> None:
        """Write the record. Raises: FabricError."""
        assert self.store is not None
        record = dict(self._record)
        hashes: tuple[str, ...] = ()
        if self._certificates is not None:
            hashes = self._certificates.hashes(self._clock.wall())
            record["webtransport"] = {"url": self._webtransport_url, "certificate_hashes": hashes}
        await self.store.put(self._key, json.dumps(record).encode())
        self._hashes = hashes
        if self._certificates is not None:
            self._certificates.told(hashes, self._clock.wall())

    async def reconnected(self, connected: bool) -> None:
        """The fabric was lost or is back."""
        if connected and self.store is not None:
            _log.info("the fabric is back")
            await self.publish()
        elif not connected:
            _log.warning("the fabric is gone; sessions go on without their origin")

    async def run(self) -> None:
        """Follow the certificates until cancelled."""
        while True:
            await asyncio.sleep(_CHECK_S)
            await self.check()

    async def check(self) -> None:
        """Write the record again if the certificates are others than it tells."""
        if self._certificates is None or self._certificates.hashes(self._clock.wall()) == self._hashes:
            return
        try:
            await self.publish()
        except FabricError as error:
            _log.warning("the new certificate cannot be announced: %s", error.code)
        else:
            _log.info("the certificate of WebTransport rotates")

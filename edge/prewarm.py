"""What a POP does for a viewer that is on its way: the origin tells when it mints a ticket for this POP.

What a start costs here beyond a tenth of a millisecond is one thing: asking the origin for its keys when they are new
or aged, a round trip to it. Peer, certificate and the animator's slot cost less than the message that would announce
them (docs/adr/0015-workers.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from core.errors import AdmissionError, FabricError, RemoteProtocolError
from core.fabric.bus import Bus
from core.speech.messages import decode_prepare, prepare_subject
from edge.admission import KeySet

__all__ = ["Prewarm"]

_log = logging.getLogger(__name__)
_AGAIN_S: Final = 1.0


class Prewarm:
    """See the module.

    Args:
        name: of this POP.
        keys: what tickets are checked with.

    Attributes:
        prepared: how often somebody was announced.
    """

    def __init__(self, bus: Bus, name: str, keys: KeySet) -> None:
        self._bus = bus
        self._subject = prepare_subject(name)
        self._keys = keys
        self.prepared = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(FabricError):
                async for message in await self._bus.subscribe(self._subject):
                    await self.prepare(message.payload)
            await asyncio.sleep(_AGAIN_S)

    async def prepare(self, payload: bytes) -> None:
        """Somebody is on their way; what cannot be prepared is done when they are here."""
        try:
            announced = decode_prepare(payload)
        except RemoteProtocolError as error:
            _log.warning("an announcement cannot be understood: %s", error)
            return
        self.prepared += 1
        with contextlib.suppress(AdmissionError):
            await self._keys.key(announced.key_id)

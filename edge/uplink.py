"""What a POP's sessions say to their origins: never blocks a tick, one writer for all sessions."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from core.errors import FabricError
from core.fabric.bus import Bus
from core.limits import UPLINK_QUEUE_MESSAGES_MAX
from core.speech.messages import UpMessage, encode, up_subject

__all__ = ["Uplink"]

_log = logging.getLogger(__name__)


class Uplink:
    """A bounded queue in front of the bus.

    Attributes:
        dropped: messages lost to overflow or to an unreachable bus.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queue: deque[tuple[str, bytes]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._unreachable = False
        self.dropped = 0

    def send(self, session_id: str, message: UpMessage) -> None:
        """Queue one message; never blocks and never raises."""
        if len(self._queue) >= UPLINK_QUEUE_MESSAGES_MAX:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append((up_subject(session_id), encode(message)))
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                subject, payload = self._queue.popleft()
                try:
                    await self._bus.publish(subject, payload)
                except FabricError as error:
                    self.dropped += 1
                    if not self._unreachable:
                        _log.warning("origin unreachable: %s", error.code)
                    self._unreachable = True
                else:
                    if self._unreachable:
                        _log.info("origin reachable again")
                    self._unreachable = False
            self._idle.set()

    async def flush(self, timeout_s: float = 1.0) -> None:
        """Wait until everything queued has been handed to the bus, or the time is up."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            _log.warning("%d messages were not sent", len(self._queue))

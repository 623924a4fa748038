"""Hundreds of WebTransport viewers in one process, on the cheapest QUIC there is; acknowledgements included.

The QUIC client of a viewer sees one in `_SEEN` of the packets that come. It acknowledges the others with it, unseen:
packet numbers have no gaps on a link that loses nothing, and a browser acknowledges every second packet, too.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from core.limits import PHASES_PER_TICK, TICK_S, TICK_SAMPLES
from loadtests.bench._child import Handlers, prepare
from loadtests.bench._viewers import MicrophoneSource
from loadtests.webtransport import WebTransportClient

__all__ = ["make_quic_viewers"]

_SEEN: Final = 2
_SETTLE_S: Final = 0.3
_SHORT_HEADER: Final = 0x40


class _Viewer:
    """Counts what comes to one client."""

    def __init__(self, number: int, url: str) -> None:
        self.number = number
        self.received = 0
        self.sequence_number = 0
        self.client = WebTransportClient(url, f"s{number}", self, engine="qh3")
        self._acknowledge: Any = None
        self._largest = 0

    async def connect(self) -> None:
        await self.client.connect("any")
        self.received = 0
        quic: Any = self.client._quic
        space = next(space for epoch, space in quic._spaces.items() if epoch.name == "ONE_RTT")
        self._acknowledge = space.ack_queue
        self.client.filter_received = self._seen

    def _seen(self, datagram: bytes) -> bool:
        if datagram[0] & 0xC0 != _SHORT_HEADER:
            return True
        self.received += 1
        return self.received % _SEEN == 0

    def claim(self) -> None:
        """Acknowledge what was not looked at, together with what was."""
        ranges = self._acknowledge
        if len(ranges) > 1:
            ranges.add(range(ranges[0].start, ranges[len(ranges) - 1].stop))

    def speak(self, payload: bytes, level: int, tick: int) -> None:
        """Send one microphone packet."""
        self.claim()
        self.client.send_microphone(
            payload,
            timestamp=tick * TICK_SAMPLES & 0xFFFFFFFF,
            sequence_number=self.sequence_number,
            level_dbov=level & 0x7F,
            voice=level >= 0x80,
        )
        self.sequence_number = (self.sequence_number + 1) & 0xFFFF

    def on_unit(self, payload: bytes, timestamp: int, now: float) -> None:
        """See WebTransportEvents."""

    def on_control(self, data: str | bytes, now: float) -> None:
        """See WebTransportEvents."""

    def on_closed(self, reason: str, now: float) -> None:
        """See WebTransportEvents."""


class _Viewers:
    def __init__(self, source: MicrophoneSource) -> None:
        self._viewers: list[_Viewer] = []
        self._source = source
        self._active = 0
        self._sent = 0

    async def join(self, url: str, count: int) -> int:
        """More viewers; how many there are."""
        first = len(self._viewers)
        new = [_Viewer(first + index, url) for index in range(count)]
        await asyncio.gather(*(viewer.connect() for viewer in new))
        self._viewers += new
        return len(self._viewers)

    async def prepare(self) -> None:
        """Put garbage away, and count from now on."""
        await prepare()
        self._sent = 0
        for viewer in self._viewers:
            viewer.received = 0

    async def run(self, active: int, seconds: float) -> dict[str, float]:
        """Let the first `active` microphones run."""
        self._active = active
        cpu_s = time.process_time()
        await asyncio.sleep(seconds)
        cpu_s = time.process_time() - cpu_s
        self._active = 0
        await asyncio.sleep(_SETTLE_S)
        received = sum(viewer.received for viewer in self._viewers)
        return {"sent": self._sent, "received": received, "bad": 0, "cpu_s": cpu_s}

    async def conduct(self) -> None:
        step = 0
        due = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tick, phase = divmod(step, PHASES_PER_TICK)
            for viewer in self._viewers[phase::PHASES_PER_TICK]:
                heard = self._source(viewer.number, tick) if viewer.number < self._active else None
                if heard is not None:
                    viewer.speak(*heard, tick)
                    self._sent += 1
                else:
                    viewer.claim()
            step += 1
            due = max(due + TICK_S / PHASES_PER_TICK, time.monotonic() - 0.1)


async def make_quic_viewers(source: MicrophoneSource) -> Handlers:
    """What a child with viewers can be asked."""
    viewers = _Viewers(source)
    _KEPT.append(asyncio.create_task(viewers.conduct()))
    return {"join": viewers.join, "run": viewers.run, "prepare": viewers.prepare}


_KEPT: list[asyncio.Task[None]] = []

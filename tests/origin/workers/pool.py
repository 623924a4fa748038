"""A fabric, a pool of real worker processes, and viewers as their POPs would be."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry

from core.fabric.bus import Bus
from core.fabric.config import FabricConfig
from core.fabric.opening import OpenFabric, host_fabric
from core.host.entropy import SystemEntropy
from core.session.claims import MODE_CONVERSATION
from core.speech.messages import (
    DownMessage,
    HandedOver,
    Opened,
    SpeechPacket,
    UpMessage,
    decode_down,
    down_subject,
    encode,
    up_subject,
)
from origin.app import OriginMetrics
from origin.config import OriginConfig
from origin.dialogue.character import load_characters
from origin.dialogue.services import Shared
from origin.sessions import Sessions
from origin.workers.controller import WorkerSessions
from origin.workers.opening import open_workers

M = TypeVar("M")


@dataclass
class Pool:
    """What an origin has of its workers.

    Attributes:
        ended: sessions that are over, in the order in which that was told.
        metrics: what the origin counts.
    """

    config: OriginConfig
    fabric: OpenFabric
    sessions: WorkerSessions
    shared: Shared
    metrics: OriginMetrics
    ended: list[str] = field(default_factory=list)

    async def told(self, session_id: str) -> None:
        self.ended.append(session_id)

    async def start(self, session_id: str) -> Caller:
        await self.sessions.start(session_id, self.shared.characters["mira"], MODE_CONVERSATION, on_ended=self.told)
        return await Caller.listen(session_id, self.fabric.bus)

    async def until_over(self, session_id: str, timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while session_id not in self.ended:
                await asyncio.sleep(0.01)

    async def until_counted(self, name: str, timeout_s: float = 5.0) -> None:
        """Until the origin has heard of something that its workers count."""
        async with asyncio.timeout(timeout_s):
            while not any(
                sample.value
                for family in self.metrics.registry.collect()
                for sample in family.samples
                if sample.name == name
            ):
                await asyncio.sleep(0.02)

    def pid_of(self, session_id: str) -> int:
        return next(int(row["pid"]) for row in self.sessions.report() if session_id in row["sessions"])

    async def another(self) -> Pool:
        """What an origin has that starts after this one was killed: nothing but the fabric."""
        fresh = make(self.config, self.fabric)
        await fresh.sessions.open()
        return fresh


def make(config: OriginConfig, fabric: OpenFabric) -> Pool:
    shared = Shared(config, load_characters(), SystemEntropy())
    arguments = ["--set", f"origin.fabric={config.fabric}", "--set", "origin.slots_per_worker=2"]
    metrics = OriginMetrics(CollectorRegistry())
    local = Sessions(shared, fabric.bus)
    sessions = open_workers(config, local, fabric, metrics.registry, arguments, on_counted=metrics.count_elsewhere)
    return Pool(config, fabric, sessions, shared, metrics)


@contextlib.asynccontextmanager
async def open_pool(folder: Path, workers: int = 2, open_s_max: float = 30.0) -> AsyncIterator[Pool]:
    """So many real workers, all warm."""
    config = OriginConfig(fabric=folder / "fabric.sock", workers=workers, slots_per_worker=2, open_s_max=open_s_max)
    fabric = await host_fabric(FabricConfig(), config.fabric)
    pool = make(config, fabric)
    try:
        await pool.sessions.open()
        assert await pool.sessions.wait_warm(workers, 60.0)
        yield pool
    finally:
        await pool.sessions.aclose()
        await fabric.aclose()


@dataclass
class Caller:
    """A viewer as workers see it; says what of an interrupted answer is there, as a POP does.

    Attributes:
        received: when what came, monotonic seconds.
        generation: the newest; what is older is counted in `refused`.
    """

    session_id: str
    bus: Bus
    received: list[tuple[float, DownMessage]] = field(default_factory=list)
    generation: int = 0
    refused: int = 0
    task: asyncio.Task[None] | None = None

    @classmethod
    async def listen(cls, session_id: str, bus: Bus) -> Caller:
        caller = cls(session_id, bus)
        inbox = await bus.subscribe(down_subject(session_id))

        async def read() -> None:
            async for message in inbox:
                await caller._receive(decode_down(message.payload))

        caller.task = asyncio.create_task(read())
        await caller.send(Opened(epoch=1, transport="test"))
        return caller

    async def _receive(self, message: DownMessage) -> None:
        if message.generation < self.generation:
            self.refused += 1
            return
        if message.generation > self.generation:
            packets = self.all(SpeechPacket)
            self.generation, first = message.generation, not self.generation
            if not first:
                newest = packets[-1].utterance_id if packets else 0
                count = sum(packet.utterance_id == newest for packet in packets)
                await self.send(HandedOver(generation=message.generation, utterance_id=newest, packets=count))
        self.received.append((time.monotonic(), message))

    async def send(self, message: UpMessage) -> None:
        await self.bus.publish(up_subject(self.session_id), encode(message))

    def all(self, kind: type[M]) -> list[M]:
        return [message for _, message in self.received if isinstance(message, kind)]

    def since(self, at: float, kind: type[M]) -> list[tuple[float, M]]:
        return [(when, message) for when, message in self.received if when > at and isinstance(message, kind)]

    async def wait(self, kind: type[M], count: int = 1, timeout_s: float = 8.0, since: float = 0.0) -> M:
        async with asyncio.timeout(timeout_s):
            while len(found := self.since(since, kind)) < count:
                await asyncio.sleep(0.005)
        return found[count - 1][1]

    async def leave(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

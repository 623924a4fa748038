"""What a message over the local fabric costs, and how long it is on its way."""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from core.errors import FabricError
from core.fabric.bus import Bus, Subscription
from core.fabric.local import LocalFabricServer, connect_local
from core.fabric.memory import MemoryBus
from loadtests.bench.harness import Result, percentile

__all__ = ["DESCRIPTION", "add_arguments", "run"]

DESCRIPTION = "message bus between origin and POP: CPU per message on each side, latency at a POP's usual load"
_RATE_HZ = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument(
        "--sessions", type=int, default=50, help="talking sessions, 50 messages/s each way (default 50)"
    )
    parser.add_argument("--payload", type=int, default=200, help="payload in bytes (default 200)")
    parser.add_argument("--seconds", type=float, default=None, help="how long (default 10, quick 3)")


def run(options: argparse.Namespace) -> Result:
    """Server in this process, client in another one, both echoing nothing: each side sends and receives at its rate."""
    seconds = options.seconds or (3.0 if options.quick else 10.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fabric.sock"
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_pop, args=(path, options.sessions, options.payload, seconds, theirs))
        process.start()
        try:
            origin, pop = asyncio.run(_origin(path, options.sessions, options.payload, seconds, ours))
        finally:
            process.join(10)
            process.kill()
    messages = origin.sent + origin.received
    figures = {
        "origin_cpu_us_per_message": 1e6 * origin.cpu_s / messages,
        "pop_cpu_us_per_message": 1e6 * pop.cpu_s / (pop.sent + pop.received),
        "down_latency_us_p50": 1e6 * percentile(pop.latencies_s, 50),
        "down_latency_us_p99": 1e6 * percentile(pop.latencies_s, 99),
        "up_latency_us_p50": 1e6 * percentile(origin.latencies_s, 50),
        "up_latency_us_p99": 1e6 * percentile(origin.latencies_s, 99),
        "lost": float(origin.sent - pop.received + pop.sent - origin.received),
        "memory_publish_us": _memory_publish_us(options.payload),
    }
    details = {"sessions": options.sessions, "payload_bytes": options.payload, "seconds": seconds, "messages": messages}
    return Result(figures=figures, details=details)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    sent: int
    cpu_s: float
    latencies_s: list[float] = field(repr=False)

    @property
    def received(self) -> int:
        return len(self.latencies_s)


async def _origin(
    path: Path, sessions: int, payload: int, seconds: float, pipe: Connection
) -> tuple[_Outcome, _Outcome]:
    async with LocalFabricServer(path) as server:
        side = _Side(server.bus, "down", "up", sessions, payload)
        await side.listen()
        await asyncio.to_thread(pipe.recv)  # the POP listens
        pipe.send("go")
        outcome = await side.talk(seconds)
        return outcome, await asyncio.to_thread(pipe.recv)  # the POP leaves first


def _pop(path: Path, sessions: int, payload: int, seconds: float, pipe: Connection) -> None:
    async def main() -> _Outcome:
        bus, _ = await connect_local(path)
        side = _Side(bus, "up", "down", sessions, payload)
        await side.listen()
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        outcome = await side.talk(seconds)
        await bus.aclose()
        return outcome

    pipe.send(asyncio.run(main()))


class _Side:
    """One end: a subscription per session, and a 20 ms tick that sends one message per session in four phases."""

    def __init__(self, bus: Bus, out: str, into: str, sessions: int, payload: int) -> None:
        self._bus = bus
        self._out = [f"session.{number}.{out}" for number in range(sessions)]
        self._into = [f"session.{number}.{into}" for number in range(sessions)]
        self._filler = os.urandom(max(0, payload - 8))
        self._latencies: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def listen(self) -> None:
        for subject in self._into:
            subscription = await self._bus.subscribe(subject)
            self._tasks.append(asyncio.create_task(self._receive(subscription)))

    async def _receive(self, subscription: Subscription) -> None:
        async for message in subscription:
            self._latencies.append(time.monotonic_ns() / 1e9 - int.from_bytes(message.payload[:8], "big") / 1e9)

    async def talk(self, seconds: float) -> _Outcome:
        gc.collect()
        cpu, sent, phases = time.process_time(), 0, 4
        start = time.monotonic()
        for tick in range(int(seconds * _RATE_HZ * phases)):
            for subject in self._out[tick % phases :: phases]:
                self._bus.publish_nowait(subject, time.monotonic_ns().to_bytes(8, "big") + self._filler)
                sent += 1
            await asyncio.sleep(max(0.0, start + (tick + 1) / (_RATE_HZ * phases) - time.monotonic()))
        cpu = time.process_time() - cpu
        await asyncio.sleep(0.3)
        for task in self._tasks:
            task.cancel()
        return _Outcome(sent=sent, cpu_s=cpu, latencies_s=self._latencies)


def _memory_publish_us(payload: int, count: int = 20_000) -> float:
    async def measure() -> float:
        bus = MemoryBus()
        subscription = await bus.subscribe("session.a.down")
        data = os.urandom(payload)
        start = time.perf_counter()
        for _ in range(count):
            bus.publish_nowait("session.a.down", data)
        elapsed = time.perf_counter() - start
        if subscription.dropped + len(subscription) != count:
            raise FabricError("unreachable", "messages are missing")
        await bus.aclose()
        return 1e6 * elapsed / count

    return asyncio.run(measure())

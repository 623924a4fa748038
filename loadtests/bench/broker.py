"""Leases: how many per second on each store, how long one takes, and that of fifty who race exactly one wins."""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import FabricError
from core.fabric.memory import MemoryStore
from core.fabric.nats import NatsLink
from core.fabric.nats_server import NatsServer, NatsServerSpec
from core.fabric.nats_store import NatsStore
from core.fabric.sqlite import SqliteStore
from core.fabric.stepping import perform
from core.fabric.store import Store
from core.session.booking import Offer, book, cancel
from core.session.lease import Lease, acquire, end
from loadtests.bench.harness import Result, percentile
from loadtests.tcp_relay import TcpRelay

if TYPE_CHECKING:
    from loadtests.bench._tickets import TicketFigures

__all__ = ["DESCRIPTION", "add_arguments", "run"]

DESCRIPTION = "broker: leases and tickets per second on memory, SQLite and NATS (hub, leaf 15 ms away), races"
_CLIENTS = 64
_RACERS = 50
_LINK_S_MAX = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--seconds", type=float, default=None, help="per store (default 8, quick 2)")
    parser.add_argument("--races", type=int, default=None, help="per store (default 40, quick 8)")
    parser.add_argument("--delay-ms", type=float, default=15.0, help="one way between leaf and hub (default 15)")


def run(options: argparse.Namespace) -> Result:
    """Each store in turn; all of it in this process but the NATS servers."""
    seconds = options.seconds or (2.0 if options.quick else 8.0)
    races = options.races or (8 if options.quick else 40)
    return asyncio.run(_run(seconds, races, options.delay_ms / 1_000))


@dataclass(slots=True)
class _Measured:
    """What one store did."""

    leases_per_s: float = 0.0
    bookings_per_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    alone_s: list[float] = field(default_factory=list)
    winners: list[int] = field(default_factory=list)
    tickets: TicketFigures | None = None

    def details(self) -> dict[str, Any]:
        loaded, alone = self.latencies_s, self.alone_s
        return {
            "leases_per_s": round(self.leases_per_s, 1),
            "bookings_per_s": round(self.bookings_per_s, 1),
            "ms_p50_under_load": round(1e3 * percentile(loaded, 50), 3),
            "ms_p99_under_load": round(1e3 * percentile(loaded, 99), 3),
            "ms_p50_alone": round(1e3 * percentile(alone, 50), 3),
            "ms_p99_alone": round(1e3 * percentile(alone, 99), 3),
            "races": len(self.winners),
            "winners_min": min(self.winners),
            "winners_max": max(self.winners),
            **(self.tickets.details() if self.tickets is not None else {}),
        }


async def _run(seconds: float, races: int, delay_s: float) -> Result:
    from loadtests.bench._tickets import measure_tickets  # Pipecat takes a second to load

    measured: dict[str, _Measured] = {}
    with tempfile.TemporaryDirectory() as folder:
        memory = MemoryStore()
        measured["memory"] = await _measure([memory], seconds, races)
        measured["memory"].tickets = await measure_tickets(memory, seconds)
        sqlite = await SqliteStore.open(Path(folder) / "fabric.sqlite")
        measured["sqlite"] = await _measure([sqlite], seconds, races)
        measured["sqlite"].tickets = await measure_tickets(sqlite, seconds)
        await sqlite.aclose()
        async with _nats(Path(folder), delay_s) as (hub, leaf):
            measured["nats"] = await _measure([hub], seconds, races)
            measured["nats"].tickets = await measure_tickets(hub, seconds)
            measured["nats_leaf"] = await _measure([leaf], seconds, max(1, races // 4))
            together = await _races([hub, leaf], races)
    winners = [*together, *itertools.chain.from_iterable(each.winners for each in measured.values())]
    if min(winners) < 1:
        raise FabricError("conflict", "a race had no winner")
    figures = {
        "leases_per_s_memory": measured["memory"].leases_per_s,
        "leases_per_s_sqlite": measured["sqlite"].leases_per_s,
        "leases_per_s_nats": measured["nats"].leases_per_s,
        **{f"tickets_per_s_{name}": each.tickets.per_s for name, each in measured.items() if each.tickets is not None},
        "lease_ms_p99_nats": 1e3 * percentile(measured["nats"].alone_s, 99),
        "race_winners_max": float(max(winners)),
    }
    details = {name: each.details() for name, each in measured.items()}
    settings = {
        "clients": _CLIENTS,
        "racers": _RACERS,
        "leaf_delay_ms_one_way": 1e3 * delay_s,
        "races_between_hub_and_leaf": len(together),
        "lease": "a slot read and leased by compare-and-set, and ended again within the time counted: two writes",
        "booking": "the same for a request that may be repeated: three more writes (booked, confirmed, forgotten)",
        "ticket": "POST /v1/sessions with a request id and a key: three tokens; four writes, its end included",
        "lease_ms_p99_nats": "one at a time at the hub, without its end",
        "durability": "every write is flushed to the disk before it is acknowledged, on SQLite and on NATS",
    }
    return Result(figures=figures, details={**details, "settings": settings})


async def _measure(stores: Sequence[Store], seconds: float, races: int) -> _Measured:
    measured = _Measured()
    gc.collect()
    began = time.perf_counter()
    loads = await asyncio.gather(*(_lease_for(stores[0], f"c{client}", seconds) for client in range(_CLIENTS)))
    measured.latencies_s = list(itertools.chain.from_iterable(loads))
    measured.leases_per_s = len(measured.latencies_s) / (time.perf_counter() - began)
    measured.alone_s = await _lease_for(stores[0], "alone", seconds / 2)
    began = time.perf_counter()
    counts = await asyncio.gather(*(_book_for(stores[0], f"b{client}", seconds / 2) for client in range(_CLIENTS)))
    measured.bookings_per_s = sum(counts) / (time.perf_counter() - began)
    measured.winners = await _races(stores, races)
    return measured


async def _lease_for(store: Store, client: str, seconds: float) -> list[float]:
    """Lease a slot and end that, again and again; gives how long each took until it was leased."""
    took: list[float] = []
    deadline = time.perf_counter() + seconds
    while (began := time.perf_counter()) < deadline:
        slot = f"{client}.{len(took) % 2}"
        lease = await perform(store, acquire(slot, holder=client, life="1", request=f"r{len(took)}"))
        took.append(time.perf_counter() - began)
        if not isinstance(lease, Lease):
            raise FabricError("conflict", f"no lease of {slot}: {lease.reason}")
        await perform(store, end(slot, lease.epoch, "released"))
        await asyncio.sleep(0)  # a store in memory never waits for anything
    return took


async def _book_for(store: Store, client: str, seconds: float) -> int:
    """Book, end and forget, again and again; gives how often."""
    offers = [Offer(slot=f"{client}.{number}", worker=client, life="1") for number in range(2)]
    deadline = time.perf_counter() + seconds
    for number in itertools.count():
        if time.perf_counter() > deadline:
            return number
        lease = await perform(store, book(f"{client}-{number}", offers))
        if not isinstance(lease, Lease):
            raise FabricError("conflict", f"no lease for {client}: {lease.reason}")
        await perform(store, end(lease.resource, lease.epoch, "released"))
        await perform(store, cancel(lease.request))
        await asyncio.sleep(0)
    raise AssertionError


_RACES = itertools.count()


async def _races(stores: Sequence[Store], count: int) -> list[int]:
    """Winners of each race of fifty for one slot."""
    winners: list[int] = []
    for _ in range(count):
        slot = f"race-{next(_RACES)}"
        results = await asyncio.gather(
            *(
                perform(stores[racer % len(stores)], acquire(slot, holder="w", life="1", request=f"r{racer}"))
                for racer in range(_RACERS)
            )
        )
        winners.append(sum(isinstance(result, Lease) for result in results))
    return winners


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@asynccontextmanager
async def _nats(folder: Path, delay_s: float) -> AsyncIterator[tuple[Store, Store]]:
    """A hub, and a leaf node whose way to it is long; the store's bucket is at the hub."""
    ports = _free_ports(5)
    async with AsyncExitStack() as stack:
        hub = NatsServer(
            NatsServerSpec(name="hub", port=ports[0], http_port=ports[1], leaf_port=ports[2], directory=folder / "hub")
        )
        stack.callback(hub.stop)
        await asyncio.to_thread(hub.start)
        relay = TcpRelay(("127.0.0.1", ports[2]), delay_s)
        await relay.start()
        stack.push_async_callback(relay.aclose)
        leaf = NatsServer(
            NatsServerSpec(
                name="pop-a",
                port=ports[3],
                http_port=ports[4],
                hub_leaf_port=relay.address[1],
                directory=folder / "leaf",
            )
        )
        stack.callback(leaf.stop)
        await asyncio.to_thread(leaf.start)
        async with asyncio.timeout(_LINK_S_MAX):
            while not await asyncio.to_thread(leaf.linked):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        stores: list[Store] = []
        for server in (hub, leaf):
            link = NatsLink(server.url)
            await link.start()
            stack.push_async_callback(link.aclose)
            stores.append(await _open(link))
        yield stores[0], stores[1]


async def _open(link: NatsLink) -> Store:
    """The bucket, as soon as what the hub offers has crossed the link."""
    async with asyncio.timeout(_LINK_S_MAX):
        while True:
            try:
                return await NatsStore.open(link)
            except FabricError:
                await asyncio.sleep(0.05)

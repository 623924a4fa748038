"""The same tests for all fabrics: what memory promises, a file, the Unix socket and NATS keep."""

from __future__ import annotations

import asyncio
import itertools
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.errors import FabricError
from core.fabric.bus import Bus, Message
from core.fabric.local import LocalFabricServer, connect_local
from core.fabric.memory import MemoryBus, MemoryStore
from core.fabric.nats import NatsBus, NatsLink
from core.fabric.nats_server import NatsServer, NatsServerSpec
from core.fabric.nats_store import NatsStore
from core.fabric.sqlite import SqliteStore
from core.fabric.store import Store


async def _at_once() -> None:
    """Where one server or one memory holds all subscriptions, they are in place when `subscribe` returns."""


@dataclass(frozen=True)
class Fabric:
    """Two parties on one fabric.

    Attributes:
        settle: waits until what either party subscribes to has reached the other.
    """

    bus: Bus
    other_bus: Bus
    store: Store
    other_store: Store
    settle: Callable[[], Awaitable[None]] = _at_once


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # Not tmp_path: its names are too long for a Unix socket.
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "fabric.sock"


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass(frozen=True)
class Nats:
    """A hub and a leaf node of it, on loopback."""

    hub: NatsServer
    leaf: NatsServer


def start_nats(folder: Path) -> Nats:
    ports = free_ports(5)
    hub = NatsServerSpec(name="hub", port=ports[0], http_port=ports[1], leaf_port=ports[2], directory=folder / "hub")
    leaf = NatsServerSpec(
        name="pop-a", port=ports[3], http_port=ports[4], hub_leaf_port=ports[2], directory=folder / "leaf"
    )
    servers = Nats(NatsServer(hub), NatsServer(leaf))
    try:
        servers.hub.start()
        servers.leaf.start()
        wait_linked(servers)
    except BaseException:
        stop_nats(servers)
        raise
    return servers


def stop_nats(servers: Nats) -> None:
    servers.leaf.stop()
    servers.hub.stop()


def wait_linked(servers: Nats, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not (servers.hub.linked() and servers.leaf.linked()):
        if time.monotonic() > deadline:
            pytest.fail("the leaf node does not reach its hub")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def nats_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """For all tests that stop none of them."""
    servers = start_nats(tmp_path_factory.mktemp("nats"))
    yield servers
    stop_nats(servers)


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[Nats]:
    """For tests that stop or wipe servers."""
    servers = start_nats(tmp_path)
    yield servers
    stop_nats(servers)


BUCKETS = itertools.count()


async def nats_fabric(stack: AsyncExitStack, url: str, other_url: str) -> Fabric:
    bucket = f"bucket-{next(BUCKETS)}"
    parties: list[tuple[NatsBus, NatsStore]] = []
    for place in (url, other_url):
        link = NatsLink(place)
        await link.start()
        bus = NatsBus(link, bucket)
        stack.push_async_callback(bus.aclose)
        parties.append((bus, await NatsStore.open(link, bucket=bucket, domain="hub")))
        stack.push_async_callback(parties[-1][1].aclose)
    (bus, store), (other_bus, other_store) = parties
    if url == other_url:
        return Fabric(bus, other_bus, store, other_store)

    async def echo(message: Message) -> bytes:
        return message.payload

    await other_bus.respond(f"{bucket}.settle", echo)

    async def settle() -> None:
        # The question crosses the link after the asker's subscriptions, the answer after the other's.
        async with asyncio.timeout(10):
            while True:
                try:
                    await bus.request(f"{bucket}.settle", b"")
                    return
                except FabricError as error:
                    assert error.code == "no-responder"
                    await asyncio.sleep(0.01)

    await settle()
    return Fabric(bus, other_bus, store, other_store, settle)


KINDS = (
    "memory", "sqlite", "sqlite-client", "server-client", "client-server", "client-client",
    "nats-hub", "nats-leaf", "nats-hub-leaf", "nats-leaf-hub",
)  # fmt: skip


@pytest.fixture(params=KINDS)
async def fabric(request: pytest.FixtureRequest, socket_path: Path) -> AsyncIterator[Fabric]:
    async with AsyncExitStack() as stack:
        kind: str = request.param
        if kind.startswith("nats"):
            servers: Nats = request.getfixturevalue("nats_servers")
            urls = {"hub": servers.hub.url, "leaf": servers.leaf.url}
            places = kind.split("-")[1:]
            yield await nats_fabric(stack, urls[places[0]], urls[places[-1]])
        elif kind in ("memory", "sqlite"):
            bus = MemoryBus()
            stack.push_async_callback(bus.aclose)
            on_disk = socket_path.with_name("fabric.sqlite")
            store: Store = MemoryStore() if kind == "memory" else await SqliteStore.open(on_disk)
            stack.push_async_callback(store.aclose)
            yield Fabric(bus, bus, store, store)
        else:
            yield await socket_fabric(stack, kind, socket_path)


async def socket_fabric(stack: AsyncExitStack, kind: str, socket_path: Path) -> Fabric:
    hosted = await SqliteStore.open(socket_path.with_name("fabric.sqlite")) if kind == "sqlite-client" else None
    server = await stack.enter_async_context(LocalFabricServer(socket_path, hosted))
    bus, store = await connect_local(socket_path)
    stack.push_async_callback(bus.aclose)
    if kind in ("server-client", "sqlite-client"):
        return Fabric(server.bus, bus, server.store, store)
    if kind == "client-server":
        return Fabric(bus, server.bus, store, server.store)
    other_bus, other_store = await connect_local(socket_path)
    stack.push_async_callback(other_bus.aclose)
    return Fabric(bus, other_bus, store, other_store)


@pytest.fixture
async def server(socket_path: Path) -> AsyncIterator[LocalFabricServer]:
    async with LocalFabricServer(socket_path) as server:
        yield server

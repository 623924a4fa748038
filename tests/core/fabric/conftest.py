"""The same tests for both fabrics: what memory promises, the Unix socket keeps."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.fabric.bus import Bus
from core.fabric.local import LocalFabricServer, connect_local
from core.fabric.memory import MemoryBus, MemoryStore
from core.fabric.store import Store


@dataclass(frozen=True)
class Fabric:
    """Two parties on one fabric."""

    bus: Bus
    other_bus: Bus
    store: Store
    other_store: Store


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


@pytest.fixture(params=["memory", "server-client", "client-server", "client-client"])
async def fabric(request: pytest.FixtureRequest, socket_path: Path) -> AsyncIterator[Fabric]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            memory_bus, memory_store = MemoryBus(), MemoryStore()
            yield Fabric(memory_bus, memory_bus, memory_store, memory_store)
            await memory_bus.aclose()
            await memory_store.aclose()
            return
        server = await stack.enter_async_context(LocalFabricServer(socket_path))
        bus, store = await connect_local(socket_path)
        stack.push_async_callback(bus.aclose)
        if request.param == "server-client":
            yield Fabric(server.bus, bus, server.store, store)
        elif request.param == "client-server":
            yield Fabric(bus, server.bus, store, server.store)
        else:
            other_bus, other_store = await connect_local(socket_path)
            stack.push_async_callback(other_bus.aclose)
            yield Fabric(bus, other_bus, store, other_store)


@pytest.fixture
async def server(socket_path: Path) -> AsyncIterator[LocalFabricServer]:
    async with LocalFabricServer(socket_path) as server:
        yield server

"""The fabric as the configuration says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core.errors import ConfigError, FabricError
from core.fabric.bus import Bus
from core.fabric.config import FabricConfig
from core.fabric.memory import MemoryStore
from core.fabric.opening import host_fabric, join_fabric
from core.fabric.sqlite import SqliteStore
from core.fabric.store import Store
from tests.core.fabric.conftest import BUCKETS, Nats, free_ports


async def meet(bus: Bus, other_bus: Bus, store: Store, other_store: Store) -> None:
    subscription = await other_bus.subscribe("a")
    await bus.publish("a", b"1")
    assert (await anext(aiter(subscription))).payload == b"1"
    await store.put("k", b"2")
    assert (await other_store.get("k")).value == b"2"


@pytest.mark.parametrize("store", ["memory", "sqlite", "nats"])
@pytest.mark.parametrize("bus", ["local", "nats"])
async def test_every_combination(nats_servers: Nats, socket_path: Path, store: str, bus: str) -> None:
    config = FabricConfig(
        store=store,  # type: ignore[arg-type]
        bus=bus,  # type: ignore[arg-type]
        url=nats_servers.hub.url,
        namespace=f"bucket-{next(BUCKETS)}",
    )
    async with await host_fabric(config, socket_path) as origin, await join_fabric(config, socket_path) as pop:
        assert socket_path.exists() == config.needs_socket == ((store, bus) != ("nats", "nats"))
        await meet(origin.bus, pop.bus, origin.store, pop.store)
        await meet(pop.bus, origin.bus, pop.store, origin.store)
    assert not socket_path.exists()
    assert socket_path.with_suffix(".sqlite").exists() == (store == "sqlite")


async def test_records_outlive_the_origin_but_not_what_others_write_again(socket_path: Path) -> None:
    config = FabricConfig()
    async with await host_fabric(config, socket_path) as origin:
        await origin.store.put("sessions.a", b"1")
        await origin.store.put("pops.a", b"2")
    async with await host_fabric(config, socket_path, forget="pops.") as origin:
        assert isinstance(origin.store, SqliteStore)
        assert await origin.store.keys("") == ["sessions.a"]


async def test_a_memory_store_forgets(socket_path: Path) -> None:
    config = FabricConfig(store="memory")
    async with await host_fabric(config, socket_path) as origin:
        assert isinstance(origin.store, MemoryStore)
        await origin.store.put("sessions.a", b"1")
    async with await host_fabric(config, socket_path) as origin:
        assert await origin.store.keys("") == []


async def test_a_second_origin_is_refused_and_leaves_the_first_alone(socket_path: Path) -> None:
    async with await host_fabric(FabricConfig(), socket_path) as origin:
        with pytest.raises(ConfigError, match="another process owns"):
            await host_fabric(FabricConfig(), socket_path)
        await origin.store.put("k", b"")


async def test_without_a_server_the_way_out_is_named(socket_path: Path) -> None:
    (port,) = free_ports(1)
    config = FabricConfig(store="nats", bus="nats", url=f"nats://127.0.0.1:{port}", connect_s=0.2)
    with pytest.raises(FabricError, match=r"fabric\.url"):
        await host_fabric(config, socket_path)


async def test_without_the_client_the_way_out_is_named(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "core.fabric.nats", None)
    with pytest.raises(ConfigError, match=r"visavis\[nats\]"):
        await join_fabric(FabricConfig(store="nats", bus="nats"), socket_path)

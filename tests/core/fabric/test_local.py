"""What only the Unix socket can go through: losses, restarts, strangers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.errors import FabricError
from core.fabric import frames
from core.fabric.bus import Message
from core.fabric.frames import encode
from core.fabric.local import LocalBus, LocalFabricServer, connect_local
from core.fabric.memory import MemoryStore
from tests.core.fabric.conftest import until


async def test_nobody_there(socket_path: Path) -> None:
    with pytest.raises(FabricError) as caught:
        await connect_local(socket_path, timeout_s=0.1)
    assert caught.value.code == "unreachable"


async def test_a_client_that_comes_first_waits_for_the_server(socket_path: Path) -> None:
    connecting = asyncio.create_task(connect_local(socket_path, timeout_s=5))
    await asyncio.sleep(0.02)
    async with LocalFabricServer(socket_path):
        bus, _ = await connecting
        assert bus.connected
        await bus.aclose()


async def test_a_restart_of_the_server_is_survived(socket_path: Path) -> None:
    told: list[bool] = []
    first = LocalFabricServer(socket_path)
    await first.start()
    bus, store = await connect_local(socket_path, on_connection=told.append)
    subscription = await bus.subscribe("a.*")

    async def responder(message: Message) -> bytes:
        return message.payload[::-1]

    await bus.respond("ask", responder)
    watch = await store.watch("k.")
    old = await store.put("k.kept", b"1")
    await store.put("k.lost", b"1")
    assert [(await anext(watch)).key for _ in range(2)] == ["k.kept", "k.lost"]

    await first.aclose()
    await until(lambda: not bus.connected)
    bus.publish_nowait("a.b", b"into the void")
    assert bus.dropped == 1
    for attempt in (store.get("k"), bus.request("ask", b""), bus.subscribe("b")):
        with pytest.raises(FabricError) as caught:
            await attempt
        assert caught.value.code == "unreachable"

    async with LocalFabricServer(socket_path) as second:
        await second.store.put("k.kept", b"2")
        await until(lambda: told == [False, True])
        changes = {entry.key: entry for entry in [await anext(watch), await anext(watch)]}
        assert changes["k.kept"].value == b"2"
        assert changes["k.kept"].revision > old
        assert changes["k.lost"].value is None
        await until(lambda: second.peers == 1)
        assert await second.bus.request("ask", b"abc") == b"cba"
        await second.bus.publish("a.b", b"back")
        assert await anext(subscription) == Message("a.b", b"back")
        await bus.aclose()


async def test_a_lost_connection_fails_what_is_in_progress(server: LocalFabricServer) -> None:
    async def never(_: Message) -> bytes:
        await asyncio.Event().wait()
        return b""

    await server.bus.respond("ask", never)
    bus, _ = await connect_local(server.path)
    asking = asyncio.create_task(bus.request("ask", b""))
    await asyncio.sleep(0.01)
    await server.aclose()
    with pytest.raises(FabricError) as caught:
        await asking
    assert caught.value.code == "unreachable"
    await bus.aclose()


async def test_a_responder_that_dies_meanwhile_is_unreachable(server: LocalFabricServer) -> None:
    asked = asyncio.Event()

    async def dying(_: Message) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    bus, _ = await connect_local(server.path)
    await bus.respond("ask", dying)
    asking = asyncio.create_task(server.bus.request("ask", b"", timeout_s=5))
    await asked.wait()
    await bus.aclose()
    with pytest.raises(FabricError) as caught:
        await asking
    assert caught.value.code == "unreachable"
    with pytest.raises(FabricError) as caught:
        await server.bus.request("ask", b"")
    assert caught.value.code == "no-responder"


async def test_an_asker_that_dies_leaves_nothing(server: LocalFabricServer) -> None:
    cancelled = asyncio.Event()

    async def slow(_: Message) -> bytes:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    await server.bus.respond("ask", slow)
    bus, _ = await connect_local(server.path)
    asking = asyncio.create_task(bus.request("ask", b""))
    await asyncio.sleep(0.01)
    asking.cancel()
    await bus.aclose()
    await asyncio.wait_for(cancelled.wait(), 5)
    await until(lambda: server.peers == 0)


async def test_leaving_frees_everything_at_the_server(server: LocalFabricServer) -> None:
    before = len(asyncio.all_tasks())
    for _ in range(20):
        bus, store = await connect_local(server.path)
        await bus.subscribe("a")
        await bus.subscribe("b.>")
        await store.watch("")
        await store.put("k", b"")
        await bus.aclose()
    await until(lambda: server.peers == 0)
    assert len(server.bus._sinks) == 0
    assert isinstance(server.store, MemoryStore)
    assert server.store._watches == []
    assert len(asyncio.all_tasks()) == before


async def test_an_answer_after_the_timeout_is_ignored(server: LocalFabricServer) -> None:
    release = asyncio.Event()

    async def late(_: Message) -> bytes:
        await release.wait()
        return b"late"

    bus, _ = await connect_local(server.path)
    await bus.respond("ask", late)
    with pytest.raises(FabricError, match="no answer"):
        await server.bus.request("ask", b"", timeout_s=0.02)
    release.set()
    assert await server.bus.request("ask", b"") == b"late"
    await bus.aclose()


async def test_closing_the_store_ends_its_watches_only(server: LocalFabricServer) -> None:
    bus, store = await connect_local(server.path)
    watch = await store.watch("")
    await store.aclose()
    assert [entry async for entry in watch] == []
    await bus.publish("a", b"")
    await bus.aclose()
    await bus.aclose()


async def test_a_server_that_is_none(socket_path: Path) -> None:
    async def stranger(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp ready\r\n")
        writer.close()

    listener = await asyncio.start_unix_server(stranger, str(socket_path))
    with pytest.raises(FabricError, match="no fabric"):
        await connect_local(socket_path, timeout_s=0.2)
    listener.close()
    await listener.wait_closed()


async def test_a_hung_server_times_out(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.fabric.local._REQUEST_GRACE_S", 0.01)
    welcome = encode(frames.Welcome(frames.VERSION))
    held: list[asyncio.StreamWriter] = []

    async def hung(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        writer.write(welcome)

    listener = await asyncio.start_unix_server(hung, str(socket_path))
    bus, _ = await connect_local(socket_path)
    assert isinstance(bus, LocalBus)
    with pytest.raises(FabricError) as caught:
        await bus.request("a", b"", timeout_s=0.02)
    assert caught.value.code == "timeout"
    await bus.aclose()
    for writer in held:
        writer.close()
    listener.close()
    await listener.wait_closed()


async def test_a_watch_of_very_many_keys_survives_a_restart(socket_path: Path) -> None:
    first = LocalFabricServer(socket_path)
    await first.start()
    bus, store = await connect_local(socket_path)
    watch = await store.watch("")
    for number in range(1_400):
        await first.store.put(f"{number}.{'k' * 240}", b"")
    async with asyncio.timeout(10):
        for _ in range(1_400):
            await anext(watch)
    await first.aclose()
    async with LocalFabricServer(socket_path) as second:
        await second.store.put("new", b"")
        async with asyncio.timeout(10):
            assert (await anext(watch)).key == "new"
        await bus.aclose()

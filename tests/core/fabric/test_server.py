"""The server's end: the socket file, strangers, peers that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest

from core import limits
from core.errors import ConfigError, FabricError
from core.fabric import frames
from core.fabric.frames import encode
from core.fabric.local import LocalFabricServer, connect_local
from tests.core.fabric.conftest import until


async def test_the_socket_is_private_and_goes_with_the_server(socket_path: Path) -> None:
    async with LocalFabricServer(socket_path):
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    assert not socket_path.exists()


async def test_a_stale_socket_is_replaced(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    assert socket_path.exists()
    async with LocalFabricServer(socket_path):
        bus, store = await connect_local(socket_path)
        assert await store.keys("") == []
        await bus.aclose()


async def test_a_living_server_is_not_replaced(server: LocalFabricServer) -> None:
    with pytest.raises(ConfigError, match="already serves"):
        await LocalFabricServer(server.path).start()
    bus, _ = await connect_local(server.path)
    await bus.aclose()


async def test_what_is_no_socket_is_left_alone(socket_path: Path) -> None:
    socket_path.write_text("precious")
    with pytest.raises(ConfigError, match="is no socket"):
        await LocalFabricServer(socket_path).start()
    assert socket_path.read_text() == "precious"


async def test_a_path_too_long_for_a_socket_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long"):
        await LocalFabricServer(tmp_path / ("x" * 120)).start()


HELLO = encode(frames.Hello(frames.VERSION))


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x03abc",
        b"\xff" * 100,
        HELLO + b"\x00\x00\x00\x02\x91\xc1",
        encode(frames.Publish("a", b"")),
        encode(frames.Hello(99)),
        HELLO + HELLO,
        HELLO + encode(frames.Publish("a..b", b"")),
        HELLO + encode(frames.Subscribe(1, 2, "")),
        HELLO + encode(frames.Respond(1, 2, "a.>.b")),
        HELLO + encode(frames.Subscribe(1, 2, "a")) + encode(frames.Subscribe(1, 2, "a")),
        HELLO + encode(frames.StoreCall(1, "drop-tables", "a")),
        HELLO + encode(frames.StoreCall(1, "put", "not a key")),
    ],
    ids=range(14),
)
async def test_a_stranger_is_disconnected_and_harms_nobody(server: LocalFabricServer, garbage: bytes) -> None:
    bus, _ = await connect_local(server.path)
    subscription = await bus.subscribe("a")
    reader, writer = await asyncio.open_unix_connection(str(server.path))
    writer.write(garbage)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1_000):
                pass
    writer.close()
    await server.bus.publish("a", b"still here")
    assert (await anext(subscription)).payload == b"still here"
    assert server.peers == 1
    await bus.aclose()


async def test_random_bytes_harm_nobody(server: LocalFabricServer) -> None:
    bus, store = await connect_local(server.path)
    for seed in range(30):
        _, writer = await asyncio.open_unix_connection(str(server.path))
        writer.write((HELLO if seed % 2 else b"") + os.urandom(seed * 7 + 1))
        writer.close()
    assert await store.put("k", b"") > 0
    await until(lambda: server.peers == 1)
    await bus.aclose()


async def test_a_client_that_does_not_read_loses_the_oldest_and_slows_nobody(server: LocalFabricServer) -> None:
    reader, writer = await asyncio.open_unix_connection(str(server.path))
    writer.write(HELLO + encode(frames.Subscribe(1, 2, "flood")) + encode(frames.Subscribe(2, 3, "calm")))
    bus, _ = await connect_local(server.path)
    subscription = await bus.subscribe("calm")
    await until(lambda: server.peers == 2)
    payload = bytes(4_096)
    for _ in range(3 * limits.FABRIC_QUEUE_MESSAGES_MAX):
        await server.bus.publish("flood", payload)
        await asyncio.sleep(0)
    await server.bus.publish("calm", b"")
    assert (await anext(subscription)).payload == b""
    assert server.dropped > limits.FABRIC_QUEUE_MESSAGES_MAX / 2
    received: list[frames.ServerFrame] = []
    splitter = frames.FrameSplitter()
    async with asyncio.timeout(10):
        while frames.Deliver(3, "calm", b"") not in received[-1:]:
            data = await reader.read(1 << 20)
            received += [frames.decode_server(body) for body in splitter.push(data)]
    delivered = sum(isinstance(frame, frames.Deliver) and frame.route == 2 for frame in received)
    assert delivered + server.dropped == 3 * limits.FABRIC_QUEUE_MESSAGES_MAX
    writer.close()
    await bus.aclose()


async def test_a_silent_stranger_is_let_go(server: LocalFabricServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.fabric.server._HANDSHAKE_S_MAX", 0.02)
    reader, writer = await asyncio.open_unix_connection(str(server.path))
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_more_keys_than_one_answer_can_name(server: LocalFabricServer) -> None:
    bus, store = await connect_local(server.path)
    watch = await store.watch("")
    for number in range(1_400):
        await server.store.put(f"{number}.{'k' * 240}", b"")
    with pytest.raises(FabricError) as caught:
        await store.keys("")
    assert caught.value.code == "too-large"
    assert len(await store.keys("1000.")) == 1
    assert [(await anext(watch)).key[:2] for _ in range(2)] == ["0.", "1."]
    await bus.aclose()

from __future__ import annotations

import asyncio
import socket

import pytest

from core.errors import ConfigError
from loadtests.tcp_relay import TcpRelay


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


async def test_bytes_arrive_late_in_order_and_complete() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    relay = TcpRelay(server.sockets[0].getsockname()[:2], 0.03)
    await relay.start()
    reader, writer = await asyncio.open_connection(*relay.address)
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    assert loop.time() - began >= 0.06
    sent = bytes(range(256)) * 4_000
    writer.write(sent)
    writer.write_eof()
    received = b""
    while chunk := await reader.read(65_536):
        received += chunk
    assert received == sent
    writer.close()
    await relay.aclose()
    server.close()


async def test_a_target_that_is_not_there_ends_the_connection() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        relay = TcpRelay(nobody.getsockname(), 0.0)
        await relay.start()
        reader, writer = await asyncio.open_connection(*relay.address)
        assert await reader.read() == b""
        writer.close()
        await relay.aclose()


async def test_an_address_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot listen"):
            await TcpRelay(("127.0.0.1", 1), 0.0).start(taken.getsockname())

"""The UDP endpoint: what strangers send, and what it says to them."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from core.errors import ConfigError
from edge.transports.quic.endpoint import open_udp
from edge.transports.quic.engine import EngineName, load_engine
from tests.edge.peers import until
from tests.edge.webtransport import Inn, engine, inn

__all__ = ["engine"]

INITIAL = b"\xc3\x00\x00\x00\x01\x08DESTINAT\x08SOURCEID"


@pytest.fixture
async def place(engine: EngineName) -> AsyncIterator[Inn]:
    async with inn(engine) as made:
        yield made


@pytest.fixture
def stranger(place: Inn) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        udp.connect(("127.0.0.1", place.server.port))
        yield udp


def padded(start: bytes, size: int = 1_200) -> bytes:
    return start + bytes(size - len(start))


async def answer(udp: socket.socket) -> bytes:
    async with asyncio.timeout(2.0):
        return await asyncio.get_running_loop().sock_recv(udp, 2_048)


async def test_unknown_versions_are_negotiated(place: Inn, stranger: socket.socket) -> None:
    stranger.send(padded(b"\xc3\x1a\x2a\x3a\x4a\x08DESTINAT\x08SOURCEID"))
    reply = await answer(stranger)
    assert reply[0] & 0x80
    assert reply[1:] == b"\0\0\0\0\x08SOURCEID\x08DESTINAT\x00\x00\x00\x01"
    assert len(place.server.endpoint) == 0


async def test_nobody_is_made_to_answer_an_answer(place: Inn, stranger: socket.socket) -> None:
    stranger.send(padded(b"\xc3\x00\x00\x00\x00\x08DESTINAT\x08SOURCEID"))  # a negotiation itself
    stranger.send(b"\xc3\x1a\x2a\x3a\x4a\x08DESTINAT\x08SOURCEID")  # smaller than its answer may be
    await until(lambda: place.dropped["quic-malformed"] >= 2)
    with pytest.raises(BlockingIOError):
        stranger.recv(2_048)


@pytest.mark.parametrize(
    "datagram",
    [
        INITIAL,
        padded(INITIAL, 1_199),
        padded(b"\xe3" + INITIAL[1:]),  # a handshake packet of nobody
        padded(b"\xc3\x00\x00\x00\x01\x02DE\x08SOURCEID"),
        b"\x41DESTINATxxxxxxxxxxxxxxxxxxxxxxxx",
        b"\x41",
    ],
)
async def test_packets_of_no_connection(place: Inn, stranger: socket.socket, datagram: bytes) -> None:
    stranger.send(datagram)
    await until(lambda: place.dropped["quic-unknown-connection"])
    assert len(place.server.endpoint) == 0


async def test_noise(place: Inn, stranger: socket.socket) -> None:
    guest = await place.guest().enter()
    chance = random.Random(7)
    for _ in range(2_000):
        start = chance.choice((b"", INITIAL, b"\x41" + place.link._carrier._engine.host_cid))  # type: ignore[attr-defined]
        stranger.send(start + chance.randbytes(chance.randrange(1_250)))
        if chance.random() < 0.05:
            await asyncio.sleep(0)
    place.link.send_control("still here")
    await until(lambda: guest.control)
    assert guest.control == ["still here"]


def test_a_port_that_is_taken() -> None:
    with open_udp("127.0.0.1", 0) as first, pytest.raises(ConfigError, match="webtransport_port"):
        open_udp("127.0.0.1", first.getsockname()[1])


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "edge.transports.quic.qh3_engine", None)
    with pytest.raises(ConfigError, match="pip install qh3"):
        load_engine("qh3")


async def test_a_timer_that_stays_due_costs_little(place: Inn) -> None:
    guest = await place.guest().enter()
    (peer,) = place.server.endpoint._peers
    rung = 0

    def count(now: float) -> None:
        nonlocal rung
        rung += 1

    peer.engine.get_timer = lambda: 1.0  # long ago
    peer.engine.handle_timer = count
    place.link.send_control("one")
    await until(lambda: guest.control)
    await asyncio.sleep(1.0)
    assert 2 < rung < 20
    place.link.send_control("two")
    await until(lambda: guest.control == ["one", "two"])

"""The relay with real sockets on the loopback interface, and its command line."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from typing import cast

import pytest

from core.errors import ConfigError
from loadtests.impair import add_arguments, main, profile_of
from loadtests.link_model import LinkProfile
from loadtests.profiles import PROFILES
from loadtests.relay import Relay


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(b"echo " + data, addr)


class _Client(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait(data)


async def _converse(profile: LinkProfile, count: int, answers: int, *, clients: int = 1) -> tuple[list[bytes], Relay]:
    loop = asyncio.get_running_loop()
    echo, _ = await loop.create_datagram_endpoint(_Echo, local_addr=("127.0.0.1", 0))
    relay = await Relay.start(("127.0.0.1", 0), echo.get_extra_info("sockname"), profile, seed=1)
    received, transports = [], []
    try:
        for name in range(clients):
            transport, client = await loop.create_datagram_endpoint(_Client, remote_addr=relay.address)
            transports.append(transport)
            for number in range(count):
                transport.sendto(f"{name}/{number}".encode())
            received += [await asyncio.wait_for(client.received.get(), 5.0) for _ in range(answers)]
    finally:
        await relay.aclose()
        for transport in (*transports, echo):
            transport.close()
        await asyncio.sleep(0)
    return received, relay


async def test_a_perfect_link_carries_both_ways_for_each_sender() -> None:
    received, relay = await _converse(PROFILES["perfect"], 5, 5, clients=2)
    assert received == [f"echo {name}/{number}".encode() for name in range(2) for number in range(5)]
    report = relay.report()
    assert report["senders"] == 2
    assert report["to_target"] == report["from_target"] == {"delivered": 10}


async def test_it_loses_and_delays() -> None:
    profile = LinkProfile(name="x", loss_enter=0.5, loss_leave=0.5, delay_s=0.03)
    loop = asyncio.get_running_loop()
    started = loop.time()
    _, relay = await _converse(profile, 100, 5)
    assert loop.time() - started >= 0.06
    assert relay.report()["to_target"]["lost"] > 10


async def test_it_duplicates() -> None:
    received, _ = await _converse(LinkProfile(name="x", duplicate=1.0), 1, 4)
    assert received == [b"echo 0/0"] * 4


async def test_what_the_path_is_like_changes_while_it_is_in_use() -> None:
    loop = asyncio.get_running_loop()
    echo, _ = await loop.create_datagram_endpoint(_Echo, local_addr=("127.0.0.1", 0))
    target = echo.get_extra_info("sockname")
    relay = await Relay.start(("127.0.0.1", 0), target, PROFILES["perfect"], seed=1)
    clients = [await loop.create_datagram_endpoint(_Client, remote_addr=relay.address) for _ in range(2)]
    (old_path, old), (new_path, new) = clients

    async def answer(client: _Client, transport: asyncio.DatagramTransport, text: bytes) -> bytes:
        transport.sendto(text)
        return await asyncio.wait_for(client.received.get(), 5.0)

    try:
        assert await answer(old, old_path, b"1") == b"echo 1"
        relay.impair(LinkProfile(name="slow", delay_s=0.05))
        started = loop.time()
        assert await answer(old, old_path, b"2") == b"echo 2"
        assert loop.time() - started >= 0.1
        relay.impair(PROFILES["perfect"])
        relay.paused = True
        old_path.sendto(b"3")
        await asyncio.sleep(0.05)
        relay.paused = False
        relay.cut()
        old_path.sendto(b"4")
        assert await answer(new, new_path, b"5") == b"echo 5"
        assert old.received.empty()
        report = relay.report()
        assert report["refused"] == {"paused": 1, "cut": 1}
        assert report["to_target"] == {"delivered": 3}
    finally:
        await relay.aclose()
        for transport in (old_path, new_path, echo):
            transport.close()
        await asyncio.sleep(0)


async def test_it_tampers() -> None:
    loop = asyncio.get_running_loop()
    relay = await Relay.start(("127.0.0.1", 0), ("127.0.0.1", 9), PROFILES["perfect"], seed=1, tamper=0.5)
    transport, _ = await loop.create_datagram_endpoint(_Client, remote_addr=relay.address)
    try:
        for _ in range(100):
            transport.sendto(bytes(40))
        while relay.report()["to_target"].get("delivered", 0) < 100:
            await asyncio.sleep(0.01)
        assert sum(relay.report()["tampered"].values()) > 30
    finally:
        await relay.aclose()
        transport.close()
        await asyncio.sleep(0)


async def test_an_address_in_use_is_one_clear_mistake() -> None:
    relay = await Relay.start(("127.0.0.1", 0), ("127.0.0.1", 9), PROFILES["perfect"], seed=1)
    try:
        with pytest.raises(ConfigError, match="cannot listen on"):
            await Relay.start(relay.address, ("127.0.0.1", 9), PROFILES["perfect"], seed=1)
    finally:
        await relay.aclose()


def _options(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--to", "127.0.0.1:9", *flags])


def test_flags_change_a_profile() -> None:
    profile = profile_of(
        _options("--profile", "lte-good", "--loss", "10%", "--burst", "2", "--delay-ms", "80", "--rate-kbps", "500",
                 "--outage", "10", "0.5")
    )  # fmt: skip
    assert profile.loss == pytest.approx(0.1)
    assert profile.loss_leave == 0.5
    assert profile.delay_s == pytest.approx(0.08)
    assert profile.jitter_s == PROFILES["lte-good"].jitter_s
    assert profile.rate_bps == 500_000.0
    assert profile.outage_s == (0.5, 0.5)
    assert profile_of(_options("--profile", "train")) is PROFILES["train"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--profile", "3g"), ("--burst", "2"), ("--loss", "90%"), ("--loss", "10%", "--burst", "0.5"),
        ("--delay-ms", "-1"), ("--trace", "/no/such/file"), ("--duration", "0"), ("--rate-kbps", "0"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--to", "127.0.0.1:9", *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("impair: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("flags", [("--to", "nowhere"), ("--to", "a:70000"), ("--loss", "2"), ("--loss", "x"), ()])
def test_unreadable_flags_end_with_2(flags: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(flags)
    assert caught.value.code == 2


def test_the_command_speaks_json() -> None:
    command = [sys.executable, "-m", "loadtests.impair", "--to", "127.0.0.1:9", "--duration", "0.05", "--json"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.splitlines()
    first, last = map(json.loads, lines)
    assert first["listening"].startswith("127.0.0.1:")
    assert last["senders"] == 0

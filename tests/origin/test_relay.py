"""Credentials for relays at a real relay: coturn, where it is installed (Debian: coturn)."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection

from origin.dialogue.services import Shared
from tests.origin.desk import desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "north"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = shutil.which("turnserver")
    if server is None:
        pytest.skip("coturn is not installed")
    folder: Path = tmp_path_factory.mktemp("relay")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            str(server), "-n", "--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=visavis",
            "--listening-ip=127.0.0.1", f"--listening-port={port}", "--relay-ip=127.0.0.1", "--allow-loopback-peers",
            "--no-tls", "--no-dtls", "--no-cli", f"--pidfile={folder}/pid", f"--db={folder}/db", "--log-file=stdout",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    deadline = time.monotonic() + 10
    try:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"turn:127.0.0.1:{port}?transport=udp"
    finally:
        process.terminate()
        process.wait(5)


async def relayed(server: RTCIceServer) -> bool:
    """Whether a client gets an address at the relay; refused credentials raise nothing and yield none."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[server]))
    try:
        peer.createDataChannel("x")
        async with asyncio.timeout(20):
            await peer.setLocalDescription(await peer.createOffer())
        return " typ relay" in peer.localDescription.sdp
    finally:
        await peer.close()


async def test_a_relay_takes_what_a_ticket_says_and_nothing_else(shared: Shared, relay: str) -> None:
    async with desk(shared, turn_urls=(relay,), turn_secret=SECRET) as place:
        place.clock.advance(time.time() - place.clock.wall())
        await place.store.put("pops.a", (await place.store.get("pops.a")).value or b"")
        await asyncio.sleep(0)
        (server,) = (await place.ticket())["ice_servers"]
    granted = RTCIceServer(urls=server["urls"], username=server["username"], credential=server["credential"])
    assert await relayed(granted)
    assert not await relayed(RTCIceServer(urls=server["urls"], username=server["username"], credential="forged"))
    later = str(int(server["username"].partition(":")[0]) + 1) + ":" + server["username"].partition(":")[2]
    assert not await relayed(RTCIceServer(urls=server["urls"], username=later, credential=server["credential"]))

"""Links to real aiortc peers on loopback."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import RemoteProtocolError
from core.limits import (
    ACCESS_UNIT_SIZE_BYTES_MAX,
    CONTROL_MESSAGE_SIZE_BYTES_MAX,
    ICE_CANDIDATES_MAX,
    LINK_SILENCE_S_MAX,
)
from edge.transports import webrtc
from edge.transports.link import MicrophoneUnit
from edge.transports.webrtc import WebRtcLink, WebRtcTransport
from tests.edge.peers import Listener, Viewer, until


class Call:
    """A viewer and its link."""

    def __init__(self, transport: WebRtcTransport, microphone: list[bytes] | None = None) -> None:
        self.viewer = Viewer(microphone)
        self.listener = Listener()
        self.transport = transport
        self.link: WebRtcLink

    async def connect(self) -> Call:
        self.link, answer = await self.transport.accept(await self.viewer.offer(), self.listener)
        await self.viewer.accept(answer)
        await until(self.listener.connected.is_set)
        return self

    async def aclose(self) -> None:
        await asyncio.gather(self.link.aclose("test-over"), self.viewer.aclose())


@pytest.fixture
async def transport() -> AsyncIterator[WebRtcTransport]:
    made = WebRtcTransport(loopback=True, entropy=random.Random(1).random)
    yield made
    await made.aclose()
    assert len(made) == 0


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def opus(number: int, size: int) -> bytes:
    return b"\x78" + number.to_bytes(2) + random.Random(number).randbytes(size - 3)


async def test_access_units_arrive_untouched_and_in_order(transport: WebRtcTransport) -> None:
    call = await Call(transport).connect()
    assert not call.link.microphone
    sent = [opus(number, 40 + number * 10) for number in range(100)]
    start = (1 << 32) - 960 * 20
    for number, payload in enumerate(sent):
        assert call.link.send_packet(payload, start + number * 960)
    await until(lambda: len(call.viewer.packets) == 100)
    assert [payload for _, _, payload in call.viewer.packets] == sent
    assert [timestamp for _, timestamp, _ in call.viewer.packets] == [
        (start + number * 960) % (1 << 32) for number in range(100)
    ]
    first = call.viewer.packets[0][0]
    assert [number for number, _, _ in call.viewer.packets] == [(first + index) & 0xFFFF for index in range(100)]
    assert call.link.packets_sent == 100
    await call.aclose()
    assert call.listener.reasons == ["test-over"]


async def test_microphone_packets_arrive_untouched_with_their_levels(transport: WebRtcTransport) -> None:
    sent = [opus(number, 1_000 if number == 7 else 80) for number in range(30)]
    viewer_levels = iter(range(30))
    call = Call(transport, sent)
    sender = call.viewer.peer.getSenders()[0]
    following = sender._next_encoded_frame

    async def with_level(codec: object) -> object:
        frame = await following(codec)  # type: ignore[arg-type]
        if frame is not None:
            frame.audio_level = -next(viewer_levels)
        return frame

    sender._next_encoded_frame = with_level  # type: ignore[method-assign, assignment]
    await call.connect()
    assert call.link.microphone
    await until(lambda: len(call.listener.units) == 30)
    units = call.listener.units
    assert [unit.payload for unit in units] == sent
    assert [unit.level_dbov for unit in units] == list(range(30))
    assert [unit.timestamp - units[0].timestamp for unit in units] == [960 * index for index in range(30)]
    assert [unit.sequence_number - units[0].sequence_number for unit in units] == list(range(30))
    assert call.link.packets_received == 30
    await call.aclose()


async def test_control_messages_both_ways(transport: WebRtcTransport) -> None:
    call = Call(transport)
    call.link, answer = await transport.accept(await call.viewer.offer(), call.listener)
    call.link.send_control("before it is open")
    await call.viewer.accept(answer)
    await call.viewer.opened.wait()
    call.viewer.channel.send("hello")
    call.viewer.channel.send(b"\x01\x02")
    call.viewer.channel.send("x" * (CONTROL_MESSAGE_SIZE_BYTES_MAX + 1))
    call.viewer.channel.send("still here")
    call.link.send_control("after")
    await until(lambda: len(call.listener.control) == 3 and len(call.viewer.messages) == 2)
    assert call.listener.control == ["hello", b"\x01\x02", "still here"]
    assert call.viewer.messages == ["before it is open", "after"]
    assert call.link.dropped["control-oversize"] == 1
    other = call.viewer.peer.createDataChannel("other")
    await until(lambda: call.link.dropped["unknown-channel"] == 1)
    await until(lambda: other.readyState == "closed")
    await call.aclose()
    call.link.send_control("too late")
    assert call.link.dropped["not-connected"] == 1


async def test_control_messages_that_nobody_fetches_are_bounded(transport: WebRtcTransport) -> None:
    viewer, listener = Viewer(), Listener()
    link, _ = await transport.accept(await viewer.offer(), listener)
    for _ in range(100):
        link.send_control("x")
    assert link.dropped["control-overflow"] == 36
    await link.aclose("test-over")
    await viewer.aclose()


async def test_oversize_and_early_packets_are_counted(transport: WebRtcTransport) -> None:
    viewer, listener = Viewer(), Listener()
    link, answer = await transport.accept(await viewer.offer(), listener)
    assert not link.send_packet(b"\xf8\xff\xfe", 0)
    assert link.dropped["not-connected"] == 1
    await viewer.accept(answer)
    await until(listener.connected.is_set)
    assert not link.send_packet(bytes(ACCESS_UNIT_SIZE_BYTES_MAX + 1), 0)
    assert link.dropped["access-unit-oversize"] == 1
    assert link.send_packet(b"\xf8" + bytes(ACCESS_UNIT_SIZE_BYTES_MAX - 1), 960)
    await until(lambda: len(viewer.packets) == 1)
    await link.aclose("test-over")
    assert not link.send_packet(b"\xf8\xff\xfe", 1_920)
    await viewer.aclose()


async def test_garbage_datagrams_are_counted_and_harm_nobody(transport: WebRtcTransport) -> None:
    call = await Call(transport).connect()
    pair = call.viewer.peer.getTransceivers()[0].receiver.transport.transport._connection._nominated[1]
    entropy = random.Random(3)
    with socket.socket(
        socket.AF_INET6 if ":" in pair.remote_addr[0] else socket.AF_INET, socket.SOCK_DGRAM
    ) as stranger:
        for first in (0, 1, 19, 20, 22, 63, 64, 127, 128, 144, 191, 192, 255):
            for size in (0, 1, 2, 11, 12, 13, 40, 400, 1_499, 1_501, 2_500, 9_000):
                stranger.sendto((bytes([first]) + entropy.randbytes(size))[:size], pair.remote_addr)
        stranger.sendto(b"\x80\xc8" + entropy.randbytes(60), pair.remote_addr)
    await until(lambda: sum(call.link.dropped.values()) > 90)
    assert {"datagram-size", "datagram-unknown", "srtp-refused"} <= set(call.link.dropped)
    call.link.send_packet(b"\xf8\xff\xfe", 0)
    await until(lambda: call.viewer.channel.readyState == "open")
    call.viewer.channel.send("alive")
    await until(lambda: call.viewer.packets and call.listener.control)
    assert not call.listener.closed.is_set()
    await call.aclose()


async def test_a_replayed_datagram_is_counted(transport: WebRtcTransport) -> None:
    call = Call(transport, [opus(number, 50) for number in range(3)])
    call.link, answer = await transport.accept(await call.viewer.offer(), call.listener)
    peer = call.link._peer
    receive, datagrams = peer._srtp_received, list[bytes]()

    def tapped(datagram: bytes) -> None:
        datagrams.append(datagram)
        receive(datagram)

    peer._srtp_received = tapped  # type: ignore[method-assign]
    await call.viewer.accept(answer)
    await until(lambda: len(call.listener.units) == 3)
    for datagram in datagrams:
        receive(datagram)
    assert call.link.dropped["srtp-replayed"] >= 3
    assert len(call.listener.units) == 3
    await call.aclose()


async def test_reports_both_ways(transport: WebRtcTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "_REPORT_INTERVAL_S", 0.05)
    call = await Call(transport, [opus(number, 50) for number in range(400)]).connect()
    timestamp = 0

    def flowing() -> bool:
        nonlocal timestamp
        timestamp += 960
        call.link.send_packet(b"\xf8\xff\xfe", timestamp)
        return call.link.remote is not None and call.link.remote.round_trip_s is not None

    await until(flowing, 8.0)
    assert call.link.remote is not None
    assert call.link.remote.fraction_lost == 0.0
    assert 0.0 <= (call.link.remote.round_trip_s or 9.0) < 0.5
    stats = await call.viewer.peer.getStats()
    kinds = {report.type for report in stats.values()}
    assert "remote-outbound-rtp" in kinds
    assert "remote-inbound-rtp" in kinds
    await call.aclose()


async def test_the_viewer_hangs_up(transport: WebRtcTransport) -> None:
    call = await Call(transport).connect()
    await call.viewer.aclose()
    await until(call.listener.closed.is_set)
    assert call.listener.reasons == ["closed-by-viewer"]
    await call.link.aclose("again")
    assert call.listener.reasons == ["closed-by-viewer"]
    assert len(transport) == 0


async def test_a_viewer_that_falls_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "_REPORT_INTERVAL_S", 0.02)
    ahead_s = 0.0
    loop = asyncio.get_running_loop()
    transport = WebRtcTransport(loopback=True, clock=lambda: loop.time() + ahead_s)
    call = await Call(transport).connect()
    ahead_s = LINK_SILENCE_S_MAX + 1.0
    await until(call.listener.closed.is_set)
    assert call.listener.reasons == ["connection-lost"]
    await call.aclose()


async def test_a_viewer_that_never_connects(transport: WebRtcTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "LINK_CONNECT_S_MAX", 0.05)
    viewer, listener = Viewer(), Listener()
    link, _ = await transport.accept(await viewer.offer(), listener)
    await until(listener.closed.is_set)
    assert listener.reasons == ["connect-timeout"]
    await link.aclose("again")
    assert len(transport) == 0
    await viewer.aclose()


async def test_trickled_candidates(transport: WebRtcTransport) -> None:
    viewer, listener = Viewer(), Listener()
    offer = await viewer.offer()
    candidates = [line for line in offer.splitlines() if line.startswith("a=candidate:")]
    link, answer = await transport.accept(
        "\n".join(x for x in offer.splitlines() if x not in candidates) + "\n", listener
    )
    await viewer.accept(answer)
    await link.add_candidate("a=mid:0\r\n" + "\r\n".join(candidates) + "\r\na=end-of-candidates\r\n")
    with pytest.raises(RemoteProtocolError) as caught:
        await link.add_candidate("a=candidate:\r\n")
    assert caught.value.code == "bad-candidate"
    flood = "".join(f"a=candidate:1 1 udp 1 127.0.0.1 {port} typ host\r\n" for port in range(1, ICE_CANDIDATES_MAX + 1))
    with pytest.raises(RemoteProtocolError) as caught:
        await link.add_candidate(flood)
    assert caught.value.code == "too-many-candidates"
    await until(listener.connected.is_set)
    await link.aclose("test-over")
    await link.add_candidate("a=end-of-candidates\r\n")
    await viewer.aclose()


async def test_a_bad_offer_leaves_nothing(transport: WebRtcTransport) -> None:
    listener = Listener()
    with pytest.raises(RemoteProtocolError):
        await transport.accept("v=0\r\n", listener)
    viewer = Viewer()
    offer = await viewer.offer()
    with pytest.raises(RemoteProtocolError) as caught:
        await transport.accept(offer.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256"), listener)
    assert caught.value.code == "bad-sdp"
    await viewer.aclose()
    assert len(transport) == 0
    assert listener.reasons == []


async def test_fifty_links_in_a_row_leave_nothing() -> None:
    transport = WebRtcTransport(loopback=True)

    async def once() -> None:
        call = await Call(transport, [opus(1, 50)]).connect()
        call.link.send_packet(b"\xf8\xff\xfe", 0)
        await until(lambda: call.viewer.packets)
        await call.aclose()

    await once()  # imports and caches settle
    await asyncio.sleep(0)
    tasks, descriptors = len(asyncio.all_tasks()), open_files()
    for _ in range(50):
        await once()
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) <= tasks
    assert open_files() <= descriptors
    assert len(transport) == 0


async def test_a_listener_that_breaks_ends_its_link_only(
    transport: WebRtcTransport, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Listener):
        def on_microphone(self, unit: MicrophoneUnit, now: float) -> None:
            raise ZeroDivisionError

    call = Call(transport, [opus(1, 50)] * 10)
    call.listener = Broken()
    link, answer = await transport.accept(await call.viewer.offer(), call.listener)
    await call.viewer.accept(answer)
    await until(lambda: call.listener.reasons == ["internal-error"])
    assert link.closing
    assert len(caplog.records) == 1
    await asyncio.gather(link.aclose("test-over"), call.viewer.aclose())

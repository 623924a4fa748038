"""A viewer for tests: a real aiortc peer in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from edge.transports.link import MicrophoneUnit

DTX_SILENCE = bytes.fromhex("f8fffe")


class Microphone(MediaStreamTrack):
    """Sends the given Opus packets untouched, 20 ms of media time each, then falls silent."""

    kind = "audio"

    def __init__(self, packets: list[bytes], interval_s: float = 0.002) -> None:
        super().__init__()
        self._packets = list(packets)
        self._interval_s = interval_s
        self._timestamp = 0

    async def recv(self) -> Any:
        if not self._packets:
            await asyncio.Event().wait()
        await asyncio.sleep(self._interval_s)
        packet = av.Packet(self._packets.pop(0))
        packet.pts = self._timestamp
        packet.time_base = Fraction(1, 48_000)
        self._timestamp += 960
        return packet


class Viewer:
    """Offers audio and a control channel; collects the RTP payloads it gets, before any jitter buffer."""

    def __init__(self, microphone: list[bytes] | None = None) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.packets: list[tuple[int, int, bytes]] = []
        self.levels: list[object] = []
        self.messages: list[str | bytes] = []
        self.channel: RTCDataChannel = self.peer.createDataChannel("control")
        self.channel.on("message", self.messages.append)
        self.opened = asyncio.Event()
        self.channel.on("open", self.opened.set)
        if microphone is None:
            transceiver = self.peer.addTransceiver("audio", direction="recvonly")
        else:
            transceiver = self.peer.addTransceiver(Microphone(microphone), direction="sendrecv")
        self.receiver = transceiver.receiver
        handle = self.receiver._handle_rtp_packet

        async def collect(packet: object, arrival_time_ms: int) -> None:
            self.packets.append((packet.sequence_number, packet.timestamp, packet.payload))  # type: ignore[attr-defined]
            await handle(packet, arrival_time_ms=arrival_time_ms)  # type: ignore[arg-type]

        self.receiver._handle_rtp_packet = collect  # type: ignore[method-assign]

    async def offer(self) -> str:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def accept(self, answer: str) -> None:
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))

    async def aclose(self) -> None:
        await self.peer.close()


class Listener:
    """Records what a link tells."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.closed = asyncio.Event()
        self.reasons: list[str] = []
        self.units: list[MicrophoneUnit] = []
        self.control: list[str | bytes] = []

    def on_connected(self, now: float) -> None:
        self.connected.set()

    def on_microphone(self, unit: MicrophoneUnit, now: float) -> None:
        self.units.append(unit)

    def on_control(self, data: str | bytes, now: float) -> None:
        self.control.append(data)

    def on_closed(self, reason: str, now: float) -> None:
        self.reasons.append(reason)
        self.closed.set()


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Wait for something that happens in other tasks."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)

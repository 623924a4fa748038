"""Hundreds of WebRTC viewers in one process, made as cheap as possible, so that the server is what is measured.

ICE, DTLS and SCTP are set up by aiortc, for real. Then each viewer's socket is read and written directly: microphone
packets are protected by libsrtp and sent, what comes is counted, one packet in `_SAMPLE` is decrypted and looked at.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Final, cast

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtcpRrPacket

from core.limits import PHASES_PER_TICK, TICK_S
from loadtests.bench._child import Handlers, prepare

__all__ = ["LOOPBACK", "MicrophoneSource", "Viewer", "WebRtcViewers", "make_webrtc_viewers", "on_loopback_only"]

LOOPBACK: Final = "127.0.0.1"
MicrophoneSource = Callable[[int, int], "tuple[bytes, int] | None"]
"""(viewer, tick) → Opus packet and audio level byte (RFC 6464) to send in that 20 ms tick, None: nothing."""

_READS_EVERY: Final = 5
"""Ticks from one look into a viewer's socket to the next."""
_REPORT_EVERY: Final = 100
"""Ticks from one receiver report to the next: 2 s."""
_SAMPLE: Final = 50
_CONNECT_S_MAX: Final = 30.0
_SETTLE_S: Final = 0.3
_HEADER: Final = struct.Struct("!BBHLLHHBBBB")
_LEVEL_URI: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"


def on_loopback_only(ice: Any) -> None:
    """Let an aioice connection gather candidates on 127.0.0.1 and nowhere else."""
    gather = ice.get_component_candidates

    async def only_loopback(component: int, addresses: list[str], **options: Any) -> Any:
        return await gather(component=component, addresses=[LOOPBACK], **options)

    ice.get_component_candidates = only_loopback


class Viewer:
    """One viewer; its media are sent and received by WebRtcViewers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.peer.createDataChannel("control")
        transceiver = self.peer.addTransceiver("audio", direction="sendrecv")
        self.connected = asyncio.Event()
        sender, receiver = cast(Any, transceiver.sender), cast(Any, transceiver.receiver)

        async def ready(_parameters: object) -> None:
            self.connected.set()

        async def nothing(*_arguments: object) -> None:
            return None

        sender.send, sender.stop, receiver.receive, receiver.stop = ready, nothing, nothing, nothing
        self._dtls = receiver.transport
        self._ice = self._dtls.transport.iceGatherer._connection
        on_loopback_only(self._ice)
        self.ssrc: int = sender._ssrc
        self.level_extension_id = 0
        self.payload_type = 0
        self.sequence_number = 0
        self.received = 0
        self.first_number = self.newest_number = -1
        self.bad = 0

    async def offer(self) -> str:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def accept(self, answer: str) -> None:
        level = re.search(rf"a=extmap:(\d+) {_LEVEL_URI}", answer)
        self.level_extension_id = int(level[1]) if level else 0
        payload_type = re.search(r"a=rtpmap:(\d+) opus/48000/2", answer)
        self.payload_type = int(payload_type[1]) if payload_type else 0
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))

    async def take_socket(self) -> None:
        """Wait until media may flow, then read the socket ourselves."""
        await asyncio.wait_for(self.connected.wait(), _CONNECT_S_MAX)
        pair = self._ice._nominated[1]
        self.protocol = pair.protocol
        self.address: tuple[str, int] = pair.remote_addr
        transport = self.protocol.transport
        found = transport.get_extra_info("socket")
        self.socket: socket.socket = found._sock if hasattr(found, "_sock") else found
        cast(Any, asyncio.get_running_loop())._remove_reader(self.socket.fileno())
        self.protect: Callable[[bytes], bytes] = self._dtls._tx_srtp.protect
        self.protect_rtcp: Callable[[bytes], bytes] = self._dtls._tx_srtp.protect_rtcp
        self.unprotect: Callable[[bytes], bytes] = self._dtls._rx_srtp.unprotect

    def read(self, look: Callable[[Viewer, bytes], None] | None) -> None:
        """Everything that has come; `look` sees the newest packet of it."""
        receive = self.socket.recv
        newest = b""
        count = 0
        while True:
            try:
                datagram = receive(2_048)
            except BlockingIOError:
                break
            if not 128 <= datagram[0] < 192:
                self.protocol.datagram_received(datagram, self.address)
            elif not 192 <= datagram[1] <= 208:
                newest = datagram
                count += 1
        if not count:
            return
        self.received += count
        self.newest_number = newest[2] << 8 | newest[3]
        if self.first_number < 0:
            self.first_number = self.newest_number - count + 1
        if look is not None or self.received % _SAMPLE < count:
            self._inspect(newest, look)

    @property
    def expected(self) -> int:
        """Packets that should have come, by their sequence numbers: the first of them and all after it."""
        return (self.newest_number - self.first_number + 1) & 0xFFFF if self.received else 0

    def _inspect(self, datagram: bytes, look: Callable[[Viewer, bytes], None] | None) -> None:
        try:
            packet = self.unprotect(datagram)
        except Exception:
            self.bad += 1
            return
        if look is not None:
            look(self, packet)

    def speak(self, payload: bytes, level: int, tick: int) -> None:
        """Send one microphone packet."""
        sequence_number = self.sequence_number
        self.sequence_number = (sequence_number + 1) & 0xFFFF
        extension = self.level_extension_id << 4
        header = _HEADER.pack(
            0x90,
            self.payload_type,
            sequence_number,
            tick * 960 & 0xFFFFFFFF,
            self.ssrc,
            0xBEDE,
            1,
            extension,
            level,
            0,
            0,
        )
        self.socket.sendto(self.protect(header + payload), self.address)

    def report(self) -> None:
        """Send an empty receiver report, as every viewer does now and then."""
        self.socket.sendto(self.protect_rtcp(bytes(RtcpRrPacket(ssrc=self.ssrc))), self.address)


class WebRtcViewers:
    """All viewers; see the module docstring.

    Args:
        source: what their microphones hear.
        look: called with a viewer's newest packet whenever its socket is read; without, a sample is decrypted.
    """

    def __init__(self, source: MicrophoneSource, look: Callable[[Viewer, bytes], None] | None = None) -> None:
        self.viewers: list[Viewer] = []
        self._source = source
        self._look = look
        self._new: list[Viewer] = []
        self._active = 0
        self._sent = 0

    async def offers(self, count: int) -> list[str]:
        """Offers of `count` more viewers."""
        first = len(self.viewers)
        self._new = [Viewer(first + index) for index in range(count)]
        return list(await asyncio.gather(*(viewer.offer() for viewer in self._new)))

    async def accept(self, answers: list[str]) -> int:
        """The answers to them; returns when all are connected, with how many there are."""
        new, self._new = self._new, []
        await asyncio.gather(*(viewer.accept(answer) for viewer, answer in zip(new, answers, strict=True)))
        for viewer in new:
            await viewer.take_socket()
            self.viewers.append(viewer)
        return len(self.viewers)

    async def prepare(self) -> None:
        """Put garbage away, and count from now on."""
        await prepare()
        await self.count()

    async def count(self) -> None:
        """Count from now on."""
        self._sent = 0
        for viewer in self.viewers:
            viewer.read(None)
            viewer.received = viewer.bad = 0
            viewer.first_number = -1

    async def run(self, active: int, seconds: float) -> dict[str, float]:
        """Let the first `active` microphones run.

        Returns: what they sent; what was received since `prepare`, and what should have been; the CPU seconds it took.
        """
        self._active = active
        cpu_s = time.process_time()
        await asyncio.sleep(seconds)
        cpu_s = time.process_time() - cpu_s
        self._active = 0
        await asyncio.sleep(_SETTLE_S)
        received = sum(viewer.received for viewer in self.viewers)
        expected = sum(viewer.expected for viewer in self.viewers)
        bad = sum(viewer.bad for viewer in self.viewers)
        return {"sent": self._sent, "received": received, "expected": expected, "bad": bad, "cpu_s": cpu_s}

    async def conduct(self) -> None:
        """Read, speak and report for ever."""
        step = 0
        due = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tick, phase = divmod(step, PHASES_PER_TICK)
            for viewer in self.viewers[phase::PHASES_PER_TICK]:
                turn = tick + viewer.number
                if turn % _READS_EVERY == 0:
                    viewer.read(self._look)
                if viewer.number < self._active and (heard := self._source(viewer.number, tick)) is not None:
                    viewer.speak(*heard, tick)
                    self._sent += 1
                if turn % _REPORT_EVERY == 0:
                    viewer.report()
            step += 1
            due = max(due + TICK_S / PHASES_PER_TICK, time.monotonic() - 0.1)


async def make_webrtc_viewers(source: MicrophoneSource) -> Handlers:
    """What a child with viewers can be asked."""
    viewers = WebRtcViewers(source)
    task = asyncio.create_task(viewers.conduct())
    _KEPT.append(task)
    return {"offers": viewers.offers, "accept": viewers.accept, "run": viewers.run, "prepare": viewers.prepare}


_KEPT: list[asyncio.Task[None]] = []

"""The servers that the benchmark of transports compares: each sends every session 50 packets a second and takes its
microphone."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any, Final

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.rtp import RtpPacket

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.host.clock import SystemClock
from core.limits import TICK_S, TICK_SAMPLES
from edge.animator import AnimatorRow
from edge.certificates import RotatingCertificates
from edge.conductor import Conductor
from edge.transports.link import MicrophoneUnit, ViewerLink
from edge.transports.quic.endpoint import open_udp
from edge.transports.quic.engine import EngineName, load_engine
from edge.transports.webrtc import WebRtcTransport
from edge.transports.webtransport.server import WebTransportServer
from loadtests.bench._child import Handlers, Usage, prepare
from loadtests.bench._viewers import LOOPBACK, on_loopback_only

__all__ = ["Listener", "Sender", "make_aiortc", "make_webrtc", "make_webtransport"]

PAYLOAD: Final = b"\xfb\x41\x9c" + bytes(23) + b"\0\0vv" + bytes(150)
"""As long as an access unit with voice, motion and its repair symbols."""
_SETTLE_S: Final = 0.3
_CONNECTIONS_MAX: Final = 4_000


class Outcome:
    """What a server did in one trial."""

    def __init__(self) -> None:
        self.active = 0
        self.sent = 0
        self.received = 0
        self.lateness = array("d")

    async def run(self, active: int, seconds: float) -> dict[str, float]:
        """Serve the first `active` sessions; what was sent, received, how late, and CPU seconds it took."""
        self.sent = self.received = 0
        self.lateness = array("d")
        self.active = active
        usage = Usage.now()
        await asyncio.sleep(seconds)
        used = usage.since()
        self.active = 0
        await asyncio.sleep(_SETTLE_S)
        late = sorted(self.lateness) or [0.0]
        return {
            "sent": self.sent,
            "received": self.received,
            **used,
            "lateness_s_p50": late[len(late) // 2],
            "lateness_s_p99": late[int(len(late) * 0.99)],
        }


class Listener:
    """A session's ears: counts."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self.connected = asyncio.Event()

    def on_connected(self, now: float) -> None:
        """See LinkEvents."""
        self.connected.set()

    def on_microphone(self, unit: MicrophoneUnit, now: float) -> None:
        """See LinkEvents."""
        self._outcome.received += 1

    def on_control(self, data: str | bytes, now: float) -> None:
        """See LinkEvents."""

    def on_closed(self, reason: str, now: float) -> None:
        """See LinkEvents."""


class Sender:
    """A session that the conductor serves: no face, only its packet."""

    def __init__(self, number: int, link: ViewerLink, outcome: Outcome) -> None:
        self._number = number
        self._link = link
        self._outcome = outcome
        self._media_time = 0
        self._row = AnimatorRow(slot=0, media_time=0, state=0)  # type: ignore[arg-type]

    def gather(self, due: float, now: float) -> AnimatorRow | None:
        """See edge.conductor.Conducted."""
        return self._row if self._number < self._outcome.active else None

    def emit(self, frame: AnimationFrame, due: float) -> None:
        """See edge.conductor.Conducted."""
        if self._link.send_packet(PAYLOAD, self._media_time):
            self._outcome.sent += 1
        self._media_time += TICK_SAMPLES
        self._outcome.lateness.append(time.monotonic() - due)

    def skip(self) -> None:
        """See edge.conductor.Conducted."""
        if self._number < self._outcome.active:
            self._outcome.lateness.append(1.0)
        self._media_time += TICK_SAMPLES

    def fail(self, reason: str) -> None:
        """See edge.conductor.Conducted."""


class _NoFace:
    """Stands where the conductor expects its animator."""

    def animate(self, _rows: object) -> _NoFace:
        return self

    def frame(self, _index: int) -> AnimationFrame:
        return REST_FRAME


def conducted(after_phase: Callable[[], None] = lambda: None) -> tuple[Conductor, asyncio.Task[None]]:
    """A conductor without a face, running."""
    conductor = Conductor(animator=_NoFace(), after_phase=after_phase)  # type: ignore[arg-type]
    return conductor, asyncio.create_task(conductor.run())


async def make_webrtc() -> Handlers:
    """WebRTC as the POP does it: one loop sends for all, microphone packets are taken as they arrive."""
    outcome = Outcome()
    conductor, task = conducted()
    transport = WebRtcTransport(loopback=True)
    count = 0

    async def answer(offers: list[str]) -> list[str]:
        nonlocal count
        answers: list[str] = []
        for offer in offers:
            link, text = await transport.accept(offer, Listener(outcome))
            conductor.add(Sender(count, link, outcome))
            answers.append(text)
            count += 1
        return answers

    return _handlers(outcome, answer, task)


async def make_aiortc() -> Handlers:
    """WebRTC as aiortc does it: a track with a task for each session, microphones decoded."""
    outcome = Outcome()
    peers: list[RTCPeerConnection] = []
    tasks: set[asyncio.Task[None]] = set()

    async def answer(offers: list[str]) -> list[str]:
        return [await _accept(offer) for offer in offers]

    async def _accept(offer: str) -> str:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        sender = peer.addTrack(_Track(len(peers), outcome))
        ice: Any = sender.transport.transport.iceGatherer
        on_loopback_only(ice._connection)

        def consume(track: MediaStreamTrack) -> None:
            tasks.add(asyncio.create_task(_consume(track)))

        peer.on("track", consume)
        peers.append(peer)
        _count(peer.getTransceivers()[0].receiver, outcome)
        await peer.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return peer.localDescription.sdp

    return _handlers(outcome, answer, tasks)


class _Track(MediaStreamTrack):
    """A packet every 20 ms while its session is active."""

    kind = "audio"

    def __init__(self, number: int, outcome: Outcome) -> None:
        super().__init__()
        self._number = number
        self._outcome = outcome
        self._due = 0.0
        self._timestamp = 0

    async def recv(self) -> Any:
        """See MediaStreamTrack."""
        while self._number >= self._outcome.active:
            self._due = 0.0
            await asyncio.sleep(TICK_S)
        now = time.monotonic()
        self._due = self._due + TICK_S if self._due else now + TICK_S
        await asyncio.sleep(max(0.0, self._due - now))
        self._outcome.lateness.append(time.monotonic() - self._due)
        self._outcome.sent += 1
        packet = av.Packet(PAYLOAD)
        packet.pts = self._timestamp
        packet.time_base = Fraction(1, 48_000)
        self._timestamp += TICK_SAMPLES
        return packet


def _count(receiver: RTCRtpReceiver, outcome: Outcome) -> None:
    """Count packets as they arrive: the jitter buffer behind keeps some of them."""
    handle = receiver._handle_rtp_packet

    async def counted(packet: RtpPacket, arrival_time_ms: int) -> None:
        outcome.received += 1
        await handle(packet, arrival_time_ms=arrival_time_ms)

    receiver._handle_rtp_packet = counted  # type: ignore[method-assign]


async def _consume(track: MediaStreamTrack) -> None:
    while True:
        await track.recv()


async def make_webtransport(engine: EngineName) -> Handlers:
    """WebTransport as the POP does it."""
    outcome = Outcome()
    senders: list[Sender] = []

    async def admit(_token: str, _session_id: str, _request: object) -> _Entry:
        return _Entry(outcome, conductor, senders)

    udp = open_udp(LOOPBACK, 0)
    server = WebTransportServer(
        udp,
        engine=load_engine(engine),
        certificates=RotatingCertificates(),
        admit=admit,
        clock=SystemClock(),
        capacity=_CONNECTIONS_MAX,
    )
    conductor, task = conducted(server.flush)

    async def url() -> str:
        return f"https://{LOOPBACK}:{server.port}"

    _KEPT.append((server, task))
    return {"url": url, "run": outcome.run, "prepare": prepare}


class _Entry:
    """An admitted viewer of WebTransport."""

    def __init__(self, outcome: Outcome, conductor: Conductor, senders: list[Sender]) -> None:
        self.events = Listener(outcome)
        self._outcome = outcome
        self._conductor = conductor
        self._senders = senders

    def attach(self, link: ViewerLink) -> None:
        """See edge.entrance.Entry."""
        sender = Sender(len(self._senders), link, self._outcome)
        self._senders.append(sender)
        self._conductor.add(sender)

    def abandon(self, reason: str) -> None:
        """See edge.entrance.Entry."""


def _handlers(outcome: Outcome, answer: Callable[[list[str]], Awaitable[list[str]]], keep: object) -> Handlers:
    handlers: dict[str, Callable[..., Awaitable[Any]]] = {"answer": answer, "run": outcome.run}
    _KEPT.append(keep)  # the loop holds its tasks weakly
    return {**handlers, "prepare": prepare}


_KEPT: list[object] = []

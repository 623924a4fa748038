"""A viewer's end of a WebTransport link, without a browser: hello, datagrams, control messages, keyframe copies.

It speaks SPEC.md section 10 over aioquic or qh3, acknowledges as browsers do (within 25 ms), and has one UDP socket of
its own, so that tests can take its datagrams away or let it move to another port like a phone behind a NAT.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import importlib
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from core.errors import Dropped, RemoteProtocolError, VisavisError
from core.wire.webtransport import (
    CONTROL_FEEDBACK,
    CONTROL_HELLO,
    CONTROL_TEXT,
    CapsuleReader,
    ControlReader,
    MicrophoneDatagram,
    decode_unit,
    encode_close,
    encode_control,
    encode_hello,
    encode_microphone,
    session_path,
)

__all__ = ["EngineName", "WebTransportClient", "WebTransportEvents", "WebTransportRefusedError"]

EngineName = Literal["aioquic", "qh3"]

_MAX_ACK_DELAY_S: Final = 0.025
_CONNECT_S_MAX: Final = 10.0
_LAST_WORD_S: Final = 0.05
_DATAGRAM_SIZE_BYTES_MAX: Final = 1_200
_SOCKET_BUFFER_SIZE_BYTES: Final = 1 << 20


class WebTransportRefusedError(VisavisError):
    """There is no session.

    Attributes:
        code: the POP's error code (`token-expired`, `overloaded` …), or `unreachable`, `certificate`, `http-404` ….
    """

    def __init__(self, code: str) -> None:
        super().__init__(f"the POP takes no WebTransport session: {code}")
        self.code = code


class WebTransportEvents(Protocol):
    """What a client tells. Called from the event loop."""

    def on_unit(self, payload: bytes, timestamp: int, now: float) -> None:
        """An access unit came, as datagram or as keyframe copy; the timestamp has 32 bits."""

    def on_control(self, data: str | bytes, now: float) -> None:
        """A control message came: text = RTVI, bytes = feedback."""

    def on_closed(self, reason: str, now: float) -> None:
        """The session is over; comes once after it was open. The POP's error code, `connection-lost` or `closed`."""


@dataclass(frozen=True, slots=True)
class _Library:
    connection: Any
    http: Any
    quic_events: Any
    http_events: Any
    configuration: Any


@dataclass(slots=True)
class _Answer:
    whole: asyncio.Future[None]
    status: int = 0
    body: bytes = b""


def _library(name: EngineName) -> _Library:
    return _Library(
        importlib.import_module(f"{name}.quic.connection").QuicConnection,
        importlib.import_module(f"{name}.h3.connection").H3Connection,
        importlib.import_module(f"{name}.quic.events"),
        importlib.import_module(f"{name}.h3.events"),
        importlib.import_module(f"{name}.quic.configuration").QuicConfiguration,
    )


class WebTransportClient:
    """One link. Make it with `connect`.

    Args:
        url: the ticket's `webtransport.url`.
        session_id: the session to talk to.
        events: told of what comes.
        certificate_hashes: base64 SHA-256 of certificates that are trusted; empty: whatever is shown is trusted, which
            is good enough for a load test.
        engine: who does QUIC here.
        clock: monotonic seconds.

    Attributes:
        headers: of the session's request.
        lone_streams: keyframe copies received.
        dropped: datagrams that were none of ours.
        filter_received: tests: datagrams for which it says False are lost on the way here.
    """

    def __init__(
        self,
        url: str,
        session_id: str,
        events: WebTransportEvents,
        *,
        certificate_hashes: Sequence[str] = (),
        engine: EngineName = "aioquic",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        self._address: Any = (parts.hostname or "", parts.port or 443)
        self._events = events
        self._hashes = certificate_hashes
        self._clock = clock
        self._library = _library(engine)
        self._loop = asyncio.get_running_loop()
        self._udp: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._http: Any = None
        self._stream_id = -1
        self._control_id = -1
        self._control = ControlReader()
        self._capsules = CapsuleReader()
        self._alone: dict[int, bytes] = {}
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._welcome: asyncio.Future[None] = self._loop.create_future()
        self._closed = asyncio.Event()
        self._over = False
        self._answers: dict[int, _Answer] = {}
        self.headers = {
            ":method": "CONNECT",
            ":protocol": "webtransport",
            ":scheme": "https",
            ":authority": parts.netloc,
            ":path": session_path(session_id),
        }
        self.lone_streams = 0
        self.dropped = 0
        self.filter_received: Callable[[bytes], bool] = lambda data: True
        self._quic = self._make_connection(parts.hostname or "")

    def _make_connection(self, host: str) -> Any:
        configuration = self._library.configuration(
            is_client=True,
            alpn_protocols=["h3"],
            server_name=host,
            max_datagram_frame_size=65_536,
            max_datagram_size=_DATAGRAM_SIZE_BYTES_MAX,
            verify_mode=0,
            supported_versions=[1],
        )
        connection = self._library.connection(configuration=configuration)
        connection._ack_delay = _MAX_ACK_DELAY_S
        return connection

    # --- life --------------------------------------------------------------------------------------------------------

    async def connect(self, token: str, proof: str = "") -> None:
        """Open the session and say hello.

        Args:
            token: a ticket's or a resume token.
            proof: of the key that it is bound to.

        Raises: WebTransportRefusedError: the POP's reason, or why it cannot be reached.
        """
        await self.open()
        self.send_raw_control(encode_hello(token, proof))
        await self._arrival(self._welcome)

    async def open(self) -> None:
        """Open the session and its control stream, without a hello.

        Raises: WebTransportRefusedError.
        """
        infos = await self._loop.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)
        family, self._address = infos[0][0], infos[0][4]
        self._bind(family)
        self._quic.connect(self._address, now=self._clock())
        self._flush()
        await self._arrival(self._accepted)
        self._control_id = self._http.create_webtransport_stream(self._stream_id)

    async def _arrival(self, arrival: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S_MAX):
                await asyncio.shield(arrival)
        except TimeoutError:
            self._end("unreachable")
            raise WebTransportRefusedError("unreachable") from None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Another request on the same connection. Returns: status and body."""
        stream_id = self._quic.get_next_available_stream_id()
        answer = self._answers[stream_id] = _Answer(self._loop.create_future())
        headers = {":method": "GET", ":scheme": "https", ":authority": self.headers[":authority"], ":path": path}
        self._send_headers(stream_id, headers, end=True)
        await answer.whole
        return answer.status, answer.body

    def close(self, reason: str = "") -> None:
        """Say goodbye: a close capsule with that reason, and the connection is closed."""
        if not self._over and self._stream_id >= 0:
            with contextlib.suppress(Exception):  # the stream may be closed by now
                self._http.send_data(self._stream_id, encode_close(0, reason), True)
            self._flush()
        self._hang_up("closed")

    def vanish(self) -> None:
        """Be gone without a word, like a phone that lost its network; nothing after `close`."""
        self._end("closed")

    async def wait_closed(self) -> None:
        """Until the session is over."""
        await self._closed.wait()

    @property
    def connected(self) -> bool:
        """The hello was answered and the session is not over."""
        return self._welcome.done() and not self._over

    def rebind(self) -> None:
        """Go on from another UDP port, as after a NAT forgot the old one."""
        assert self._udp is not None
        family = self._udp.family
        self._unbind()
        self._bind(family)

    # --- sending -----------------------------------------------------------------------------------------------------

    def send_microphone(
        self, payload: bytes, *, timestamp: int, sequence_number: int, level_dbov: int = 127, voice: bool = False
    ) -> None:
        """Send a microphone packet (feedback in its padding); lost like any datagram."""
        unit = MicrophoneDatagram(payload, timestamp, sequence_number, level_dbov, voice)
        self.send_raw_datagram(encode_microphone(unit))

    def send_feedback(self, feedback: bytes) -> None:
        """Send bare feedback (SPEC.md section 5) as a datagram."""
        self.send_raw_datagram(feedback)

    def send_control(self, data: str | bytes) -> None:
        """Send a control message: text = RTVI, bytes = feedback."""
        kind = CONTROL_TEXT if isinstance(data, str) else CONTROL_FEEDBACK
        self.send_raw_control(encode_control(kind, data.encode() if isinstance(data, str) else data))

    def send_raw_control(self, data: bytes) -> None:
        """Bytes on the control stream, whatever they are."""
        if not self._over:
            self._quic.send_stream_data(self._control_id, data)
            self._flush()

    def send_raw_datagram(self, data: bytes) -> None:
        """A datagram of the session, whatever it is."""
        if not self._over:
            self._quic.send_datagram_frame(bytes((self._stream_id // 4,)) + data)
            self._flush()

    def send_raw_stream(self, data: bytes, *, unidirectional: bool, end: bool = True) -> int:
        """A new stream of the session with these bytes; its id."""
        stream_id: int = self._http.create_webtransport_stream(self._stream_id, is_unidirectional=unidirectional)
        self._quic.send_stream_data(stream_id, data, end)
        self._flush()
        return stream_id

    def send_raw_capsule(self, data: bytes) -> None:
        """Bytes on the CONNECT stream, whatever they are."""
        self._http.send_data(self._stream_id, data, False)
        self._flush()

    # --- the socket --------------------------------------------------------------------------------------------------

    def _bind(self, family: int) -> None:
        self._udp = socket.socket(family, socket.SOCK_DGRAM)
        self._udp.setblocking(False)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_SIZE_BYTES)
        self._udp.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104  # a client's port
        self._loop.add_reader(self._udp.fileno(), self._readable)

    def _unbind(self) -> None:
        if self._udp is not None:
            self._loop.remove_reader(self._udp.fileno())
            self._udp.close()
            self._udp = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _readable(self) -> None:
        now = self._clock()
        while self._udp is not None:
            try:
                data, address = self._udp.recvfrom(2_048)
            except BlockingIOError:
                break
            except OSError:
                continue
            if self.filter_received(data):
                self._quic.receive_datagram(data, address, now)
        self._take_events(now)
        self._flush()

    def _flush(self) -> None:
        now = self._clock()
        udp = self._udp
        if udp is None:
            return
        for data, address in self._quic.datagrams_to_send(now):
            with contextlib.suppress(OSError):
                udp.sendto(data, address)
        at = self._quic.get_timer()
        if at is None:
            return
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.001, at - now), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._clock()
        at = self._quic.get_timer()
        if at is not None and at <= now:
            self._quic.handle_timer(now)
            self._take_events(now)
        self._flush()

    # --- what comes --------------------------------------------------------------------------------------------------

    def _take_events(self, now: float) -> None:
        quic = self._library.quic_events
        while (event := self._quic.next_event()) is not None:
            match event:
                case quic.DatagramFrameReceived():
                    self._datagram_received(event.data[1:], now)
                case quic.HandshakeCompleted():
                    self._request()
                case quic.ConnectionTerminated():
                    self._end("connection-lost")
                case quic.StreamDataReceived() if event.stream_id == self._control_id:
                    # The library takes answers on a stream it opened itself for those of a request.
                    for kind, content in self._control.receive(event.data):
                        self._control_received(kind, content, now)
                case _ if self._http is not None:
                    for found in self._http.handle_event(event):
                        self._http_event(found, now)

    def _request(self) -> None:
        if self._hashes and self._certificate_hash() not in self._hashes:
            self._hang_up("certificate")
            return
        self._http = self._library.http(self._quic, enable_webtransport=True)
        self._stream_id = self._quic.get_next_available_stream_id()
        self._send_headers(self._stream_id, self.headers, end=False)

    def _send_headers(self, stream_id: int, headers: dict[str, str], *, end: bool) -> None:
        self._http.send_headers(stream_id, [(name.encode(), value.encode()) for name, value in headers.items()], end)
        self._flush()

    def _certificate_hash(self) -> str:
        if hasattr(self._quic, "get_peercert"):
            der = bytes(self._quic.get_peercert().public_bytes())
        else:
            certificate: x509.Certificate = self._quic.tls._peer_certificate
            der = certificate.public_bytes(Encoding.DER)
        return base64.b64encode(hashlib.sha256(der).digest()).decode()

    def _http_event(self, event: object, now: float) -> None:
        http = self._library.http_events
        match event:
            case http.HeadersReceived() if event.stream_id == self._stream_id:
                status = dict(event.headers).get(b":status", b"").decode()
                if status != "200":
                    self._hang_up(f"http-{status}")
                elif not self._accepted.done():
                    self._accepted.set_result(None)
            case http.DataReceived() if event.stream_id == self._stream_id:
                with contextlib.suppress(RemoteProtocolError):
                    closed = self._capsules.receive(event.data)
                    if closed is not None or event.stream_ended:
                        # What was said before on the control stream may be in a packet behind this one.
                        self._loop.call_later(_LAST_WORD_S, self._hang_up, closed.reason if closed else "closed")
            case http.HeadersReceived() | http.DataReceived() if event.stream_id in self._answers:
                answer = self._answers[event.stream_id]
                if isinstance(event, http.HeadersReceived):
                    answer.status = int(dict(event.headers)[b":status"])
                else:
                    answer.body += event.data
                if event.stream_ended and not answer.whole.done():
                    answer.whole.set_result(None)
            case http.WebTransportStreamDataReceived():
                self._alone_received(event.stream_id, event.data, event.stream_ended, now)

    def _control_received(self, kind: int, content: bytes, now: float) -> None:
        if kind == CONTROL_HELLO:
            if not self._welcome.done():
                self._welcome.set_result(None)
        elif kind == CONTROL_TEXT:
            self._events.on_control(content.decode(), now)
        elif kind == CONTROL_FEEDBACK:
            self._events.on_control(content, now)

    def _alone_received(self, stream_id: int, data: bytes, ended: bool, now: float) -> None:
        data = self._alone.pop(stream_id, b"") + data
        if ended:
            self.lone_streams += 1
            self._datagram_received(data, now)
        else:
            self._alone[stream_id] = data

    def _datagram_received(self, data: bytes, now: float) -> None:
        unit = decode_unit(data)
        if isinstance(unit, Dropped):
            self.dropped += 1
        elif not self._over:
            self._events.on_unit(*unit, now)

    def _hang_up(self, reason: str) -> None:
        if self._over:
            return
        self._quic.close(error_code=0x100)
        self._flush()
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        was_open = self._welcome.done()
        for arrival in (self._accepted, self._welcome):
            if not arrival.done():
                arrival.set_exception(WebTransportRefusedError(reason))
                arrival.exception()  # seen: nobody may be waiting for it
        self._unbind()
        self._closed.set()
        if was_open:
            self._events.on_closed(reason, self._clock())

"""One viewer's QUIC connection: its HTTP/3 requests, its WebTransport session, and the link that comes of it.

A connection carries one session. The session is accepted at once, so that refusals can say why: the viewer's first
control message is its hello, with the token; until that is admitted nothing else is listened to.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Final, Protocol

from core.errors import RemoteProtocolError, VisavisError
from core.limits import (
    LINK_CONNECT_S_MAX,
    LINK_DATAGRAMS_PER_S_MAX,
    LINK_FLOOD_DATAGRAMS_MAX,
    UNKNOWN_STREAMS_MAX,
)
from core.session.proof import ProvenRequest
from core.wire.webtransport import (
    CONTROL_HELLO,
    CapsuleReader,
    ControlReader,
    decode_hello,
    encode_close,
    session_of_path,
)
from edge.transports.link import LinkEvents, ViewerLink
from edge.transports.quic.endpoint import QuicPeer
from edge.transports.quic.engine import (
    Event,
    RequestData,
    RequestReceived,
    SessionStreamData,
    StreamAborted,
)
from edge.transports.webtransport.link import WebTransportLink

__all__ = ["Entry", "SessionHost", "WebTransportSession"]

_log = logging.getLogger(__name__)

_FAREWELL_S: Final = 1.0
"""How long a viewer may take to answer after it was told that the session is over."""

_PARTING_S: Final = 0.25
"""How long a viewer that has answered may take to close the connection itself. Were it closed at once, its end could
overtake the reason on the way to the page: Chromium hands both over by different ways."""


class Entry(Protocol):
    """What an admitted viewer's link is made with; see `edge.entrance.Entry`."""

    @property
    def events(self) -> LinkEvents:
        """Told of the link."""
        ...

    def attach(self, link: ViewerLink) -> None:
        """The link is being set up."""

    def abandon(self, reason: str) -> None:
        """There will be no link."""


class SessionHost(Protocol):
    """What a session needs of the server."""

    allowed_origins: tuple[str, ...]
    clock: Callable[[], float]
    on_dropped: Callable[[str], None]

    async def admit(self, token: str, session_id: str, request: ProvenRequest) -> Entry:
        """Let a viewer in. Raises: VisavisError."""
        ...

    def health(self) -> dict[str, object]:
        """What GET /healthz says."""
        ...

    def forget(self, session: WebTransportSession) -> None:
        """The connection is over."""


class WebTransportSession:
    """Implements `ConnectionHandler` for the endpoint and `Carrier` for its link."""

    def __init__(self, host: SessionHost, peer: QuicPeer) -> None:
        self._host = host
        self._peer = peer
        self._engine = peer.engine
        self._session_id: str | None = None
        self._authority = ""
        self._path = ""
        self._stream_id = -1
        self._prefix = b""
        self._capsules = CapsuleReader()
        self._control_id = -1
        self._control = ControlReader()
        self._admitting: asyncio.Task[None] | None = None
        self._link: WebTransportLink | None = None
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._unknown_streams: set[int] = set()
        self._datagram_budget = float(LINK_DATAGRAMS_PER_S_MAX)
        self._budget_at = host.clock()
        self._flood = 0
        self._wait(LINK_CONNECT_S_MAX, "connect-timeout")

    @property
    def open(self) -> bool:
        """There is a link."""
        return self._link is not None

    # --- ConnectionHandler -------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """See ConnectionHandler."""
        return self._link is not None and self._link.waiting

    def fill(self, now: float) -> None:
        """See ConnectionHandler."""
        if self._link is not None:
            self._link.fill(now)

    def on_datagram(self, data: bytes, now: float) -> None:
        """See ConnectionHandler."""
        if self._link is None:
            if not self._closing:
                self._host.on_dropped("datagram-early")
        elif not self._afford(now):
            self._link.drop("datagram-flood")
            self._flood += 1
            if self._flood > LINK_FLOOD_DATAGRAMS_MAX:
                self.close("flood")
        elif data.startswith(self._prefix):
            self._link.datagram_received(data[len(self._prefix) :])
        else:
            self._link.drop("datagram-session")

    def _afford(self, now: float) -> bool:
        budget = self._datagram_budget + (now - self._budget_at) * LINK_DATAGRAMS_PER_S_MAX
        self._datagram_budget = min(float(LINK_DATAGRAMS_PER_S_MAX), budget) - 1.0
        self._budget_at = now
        if self._datagram_budget < 0.0:
            self._datagram_budget = 0.0
            return False
        return True

    def on_event(self, event: Event, now: float) -> None:
        """See ConnectionHandler."""
        if self._closing:
            if isinstance(event, RequestData) and event.ended:
                self._wait(_PARTING_S, "parting")
            return
        match event:
            case RequestReceived():
                self._request(event)
            case RequestData() if event.stream_id == self._stream_id:
                self._capsule(event)
            case SessionStreamData():
                self._stream(event)
            case StreamAborted() if event.stream_id in (self._stream_id, self._control_id):
                self._over("closed-by-viewer")
                self._hang_up()
            case _:
                pass

    def on_terminated(self, reason: str, now: float) -> None:
        """See ConnectionHandler."""
        self._over(reason)
        if self._timer is not None:
            self._timer.cancel()
        self._host.forget(self)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _request(self, event: RequestReceived) -> None:
        headers = event.headers
        path = headers.get(b":path", b"").decode("ascii", "replace")
        if headers.get(b":method") == b"GET" and path == "/healthz":
            body = json.dumps(self._host.health()).encode()
            kind = (b"content-type", b"application/json")
            self._engine.respond(event.stream_id, [(b":status", b"200"), kind], end=False)
            self._engine.send_body(event.stream_id, body, end=True)
            return
        session_id = session_of_path(path)
        if headers.get(b":method") != b"CONNECT" or session_id is None:
            self._refuse(event.stream_id, 404)
        elif not headers.get(b":protocol", b"").startswith(b"webtransport"):
            self._refuse(event.stream_id, 400)
        elif not self._origin_allowed(headers.get(b"origin", b"").decode("ascii", "replace")):
            self._host.on_dropped("origin-refused")
            self._refuse(event.stream_id, 403)
        elif self._session_id is not None:
            self._host.on_dropped("second-session")
            self._refuse(event.stream_id, 429)
        else:
            self._session_id, self._stream_id = session_id, event.stream_id
            self._authority = headers.get(b":authority", b"").decode("ascii", "replace")
            self._path = path.partition("?")[0]
            self._prefix = _integer(event.stream_id // 4)
            draft = (b"sec-webtransport-http3-draft", b"draft02")
            self._engine.respond(event.stream_id, [(b":status", b"200"), draft], end=False)
            self._peer.wake()

    def _refuse(self, stream_id: int, status: int) -> None:
        self._engine.respond(stream_id, [(b":status", str(status).encode())], end=True)

    def _origin_allowed(self, origin: str) -> bool:
        allowed = self._host.allowed_origins
        return not origin or "*" in allowed or origin in allowed

    def _capsule(self, event: RequestData) -> None:
        try:
            closed = self._capsules.receive(event.data)
        except RemoteProtocolError as error:
            self.close(error.code)
            return
        if closed is not None or event.ended:
            self._over("closed-by-viewer")
            self._engine.send_body(self._stream_id, b"", end=True)
            self._hang_up()

    # --- streams of the session --------------------------------------------------------------------------------------

    def _stream(self, event: SessionStreamData) -> None:
        if event.session_id != self._stream_id or event.stream_id & 3:
            self._unknown_stream(event)
            return
        if self._control_id < 0:
            self._control_id = event.stream_id
        if event.stream_id != self._control_id:
            self._unknown_stream(event)
            return
        try:
            messages = self._control.receive(event.data)
        except RemoteProtocolError as error:
            self.close(error.code)
            return
        for kind, content in messages:
            if self._closing:
                return
            if self._link is not None and kind != CONTROL_HELLO:
                self._link.control_received(kind, content)
            elif self._link is None and self._admitting is None:
                self._hello(kind, content)
            else:
                self._host.on_dropped("second-hello" if kind == CONTROL_HELLO else "control-early")
        if event.ended and not self._closing:
            self._over("closed-by-viewer")
            self._hang_up()

    def _unknown_stream(self, event: SessionStreamData) -> None:
        """Streams nobody asked for are refused and counted; too many of them end the session."""
        if event.stream_id in self._unknown_streams:
            return
        self._unknown_streams.add(event.stream_id)
        self._host.on_dropped("unknown-stream")
        if len(self._unknown_streams) > UNKNOWN_STREAMS_MAX:
            self.close("too-many-streams")
        else:
            self._engine.refuse_stream(event.stream_id)

    def _hello(self, kind: int, content: bytes) -> None:
        try:
            if kind != CONTROL_HELLO:
                raise RemoteProtocolError("bad-hello", "The first message is a hello.")
            hello = decode_hello(content)
        except RemoteProtocolError as error:
            self.close(error.code)
            return
        assert self._session_id is not None
        request = ProvenRequest(
            proof=hello.proof, method="CONNECT", path=self._path, authorities=frozenset({self._authority})
        )
        task = asyncio.get_running_loop().create_task(self._admit(hello.token, self._session_id, request))
        self._admitting = task

    async def _admit(self, token: str, session_id: str, request: ProvenRequest) -> None:
        try:
            entry = await self._host.admit(token, session_id, request)
        except VisavisError as error:
            self.close(getattr(error, "code", "internal-error"))
            return
        except Exception:
            _log.exception("a hello could not be answered")
            self.close("internal-error")
            return
        if self._closing:
            entry.abandon("closed-by-viewer")
            return
        if self._timer is not None:
            self._timer.cancel()
        self._link = WebTransportLink(self, entry.events, clock=self._host.clock, on_dropped=self._host.on_dropped)
        entry.attach(self._link)
        self._link.connected()
        self._peer.wake()

    # --- Carrier -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """See Carrier."""
        self._peer.wake()

    @property
    def room_bytes(self) -> int:
        """See Carrier."""
        return self._engine.room_bytes()

    @property
    def control_busy(self) -> bool:
        """See Carrier."""
        return self._engine.stream_busy(self._control_id)

    @property
    def lone_streams(self) -> int:
        """See Carrier."""
        return self._engine.alone

    def send_datagram(self, data: bytes) -> None:
        """See Carrier."""
        self._engine.send_datagram(self._prefix + data)

    def send_control(self, data: bytes) -> None:
        """See Carrier."""
        self._engine.send_stream(self._control_id, data)

    def send_alone(self, data: bytes) -> None:
        """See Carrier."""
        self._engine.send_alone(self._stream_id, data)

    def close(self, reason: str) -> None:
        """Close the session; the viewer learns the reason. The connection follows when it has heard it."""
        if self._closing:
            return
        if self._session_id is not None:
            if self._link is not None:
                self._link.fill(self._host.clock())  # what was said before goes before
            try:
                self._engine.send_body(self._stream_id, encode_close(int(reason not in _ORDERLY), reason), end=True)
            except Exception:  # the library has its own idea of when a stream may be written to
                _log.exception("a session could not say why it ends")
        self._over(reason)
        self._wait(_FAREWELL_S, "farewell")
        self._peer.wake()

    def hang_up(self) -> None:
        """End the connection at once, with what was said so far."""
        self._hang_up()

    # --- the end -----------------------------------------------------------------------------------------------------

    def _over(self, reason: str) -> None:
        self._closing = True
        link, self._link = self._link, None
        if link is not None:
            link.lost(reason)

    def _hang_up(self) -> None:
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._peer.wake()
        self._peer.close()

    def _wait(self, seconds: float, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._rung, reason)

    def _rung(self, reason: str) -> None:
        self._timer = None
        if self._closing or self._session_id is None:
            self._hang_up()
        else:
            self.close(reason)


_ORDERLY: Final = frozenset(("viewer-left", "closed-by-viewer", "replaced"))
"""Reasons that are nobody's fault: close code 0."""


def _integer(value: int) -> bytes:
    """A variable-length integer (RFC 9000 section 16)."""
    if value < 0x40:
        return bytes((value,))
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    return (value & 0x3FFFFFFF | 0x80000000).to_bytes(4, "big")

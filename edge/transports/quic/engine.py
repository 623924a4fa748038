"""The seam between our endpoint and whoever does QUIC and HTTP/3: sans-IO, the caller has socket and clock.

aioquic and qh3 (a fork of it) have the same classes; `Library` names them, `EngineConnection` is what the rest of the
POP sees of one connection. What reaches into a library's insides is in that library's own file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from core.errors import ConfigError
from core.limits import LINK_SILENCE_S_MAX, QUIC_STREAM_WINDOW_SIZE_BYTES
from edge.certificates import Certificate

__all__ = [
    "CONNECTION_ID_SIZE_BYTES",
    "MAX_DATAGRAM_SIZE_BYTES",
    "Address",
    "ConnectionIdIssued",
    "ConnectionIdRetired",
    "EngineConnection",
    "EngineName",
    "Event",
    "Library",
    "QuicEngine",
    "RequestData",
    "RequestReceived",
    "SessionStreamData",
    "StreamAborted",
    "Terminated",
    "load_engine",
]

Address = Any
"""What the socket says of where a datagram came from; compared and handed back, never read here."""
EngineName = Literal["aioquic", "qh3"]

CONNECTION_ID_SIZE_BYTES: Final = 8
MAX_DATAGRAM_SIZE_BYTES: Final = 1_200
"""UDP payload: what every QUIC path carries (RFC 9000 section 14)."""


@dataclass(frozen=True, slots=True)
class ConnectionIdIssued:
    """Datagrams may come with this id from now on."""

    connection_id: bytes


@dataclass(frozen=True, slots=True)
class ConnectionIdRetired:
    """And no longer with this one."""

    connection_id: bytes


@dataclass(frozen=True, slots=True)
class Terminated:
    """The connection is over.

    Attributes:
        idle: nothing was received for too long.
    """

    error_code: int
    reason: str
    idle: bool


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """An HTTP/3 request's headers came."""

    stream_id: int
    headers: dict[bytes, bytes]
    ended: bool


@dataclass(frozen=True, slots=True)
class RequestData:
    """Bytes of an HTTP/3 request's body: capsules, on a CONNECT stream."""

    stream_id: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class SessionStreamData:
    """Bytes of a stream that belongs to a WebTransport session."""

    stream_id: int
    session_id: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class StreamAborted:
    """The viewer reset a stream."""

    stream_id: int


Event = (
    ConnectionIdIssued
    | ConnectionIdRetired
    | Terminated
    | RequestReceived
    | RequestData
    | SessionStreamData
    | StreamAborted
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The classes of a library, its connection and HTTP/3 already made fit for our use.

    Attributes:
        connection: a QuicConnection that also has the members of `_Quic`.
        http: an H3Connection that announces WebTransport.
        quic_events, http_events, tls: modules.
        configuration: QuicConfiguration.
    """

    name: EngineName
    connection: Any
    http: Any
    quic_events: Any
    http_events: Any
    configuration: Any
    tls: Any


class QuicEngine(Protocol):
    """Makes the server's side of connections."""

    name: EngineName

    def configure(self, certificate: Certificate) -> object:
        """What new connections are made with; again whenever the certificate changes."""

    def accept(self, configuration: object, original_destination_connection_id: bytes) -> EngineConnection:
        """A connection whose first datagram has just come."""


def load_engine(name: EngineName) -> QuicEngine:
    """The engine of that name.

    Raises: ConfigError: it is not installed.
    """
    try:
        module = importlib.import_module(f"edge.transports.quic.{name}_engine")
    except ImportError as error:
        raise ConfigError(f"the QUIC engine {name} cannot be used ({error}); install it: pip install {name}") from None
    return _Engine(module.LIBRARY)


class _Engine:
    def __init__(self, library: Library) -> None:
        self._library = library
        self.name = library.name

    def configure(self, certificate: Certificate) -> object:
        """See QuicEngine."""
        configuration = self._library.configuration(
            is_client=False,
            alpn_protocols=["h3"],
            connection_id_length=CONNECTION_ID_SIZE_BYTES,
            idle_timeout=LINK_SILENCE_S_MAX,
            max_datagram_frame_size=65_536,
            max_datagram_size=MAX_DATAGRAM_SIZE_BYTES,
            max_data=4 * QUIC_STREAM_WINDOW_SIZE_BYTES,
            max_stream_data=QUIC_STREAM_WINDOW_SIZE_BYTES,
            supported_versions=[1],
        )
        leaf, *chain = self._library.tls.load_pem_x509_certificates(certificate.chain_pem)
        configuration.certificate, configuration.certificate_chain = leaf, chain
        configuration.private_key = self._library.tls.load_pem_private_key(certificate.key_pem)
        return configuration

    def accept(self, configuration: object, original_destination_connection_id: bytes) -> EngineConnection:
        """See QuicEngine."""
        quic = self._library.connection(
            configuration=configuration, original_destination_connection_id=original_destination_connection_id
        )
        return EngineConnection(self._library, quic)


class EngineConnection:
    """One QUIC connection that speaks HTTP/3 with WebTransport.

    Attributes:
        host_cid: the connection id it told the viewer first.
    """

    def __init__(self, library: Library, quic: Any) -> None:
        self._library = library
        self._quic = quic
        self._http: Any = None
        self._alone: set[int] = set()
        self.host_cid: bytes = quic.host_cid
        self.receive_datagram = quic.receive_datagram
        self.datagrams_to_send = quic.datagrams_to_send
        self.get_timer = quic.get_timer
        self.handle_timer = quic.handle_timer
        self.room_bytes: Callable[[], int] = quic.room_bytes
        self.urgent = quic.urgent
        self.send_datagram = quic.send_datagram_frame

    # --- what came ---------------------------------------------------------------------------------------------------

    @property
    def established(self) -> bool:
        """The handshake is complete."""
        return bool(self._quic._handshake_complete)

    @property
    def address(self) -> Address:
        """Where the viewer is now."""
        return self._quic._network_paths[0].addr

    def take_datagrams(self) -> list[bytes]:
        """The DATAGRAM frames that came since the last call."""
        received: list[bytes] = self._quic.datagrams_received
        if received:
            self._quic.datagrams_received = []
        return received

    def events(self) -> Iterator[Event]:
        """What else came since the last call."""
        quic = self._library.quic_events
        while (event := self._quic.next_event()) is not None:
            match event:
                case quic.ConnectionIdIssued():
                    yield ConnectionIdIssued(event.connection_id)
                case quic.ConnectionIdRetired():
                    yield ConnectionIdRetired(event.connection_id)
                case quic.ConnectionTerminated():
                    yield Terminated(event.error_code, event.reason_phrase, event.reason_phrase == "Idle timeout")
                case quic.ProtocolNegotiated():
                    self._http = self._library.http(self._quic, enable_webtransport=True)
                case _ if self._http is not None:
                    yield from self._http_events(event)
                    if isinstance(event, quic.StreamReset):
                        yield StreamAborted(event.stream_id)

    def _http_events(self, event: object) -> Iterator[Event]:
        http = self._library.http_events
        for found in self._http.handle_event(event):
            match found:
                case http.HeadersReceived():
                    yield RequestReceived(found.stream_id, dict(found.headers), found.stream_ended)
                case http.DataReceived():
                    yield RequestData(found.stream_id, found.data, found.stream_ended)
                case http.WebTransportStreamDataReceived():
                    yield SessionStreamData(found.stream_id, found.session_id, found.data, found.stream_ended)

    # --- what goes ---------------------------------------------------------------------------------------------------

    def respond(self, stream_id: int, headers: list[tuple[bytes, bytes]], *, end: bool) -> None:
        """Answer a request with headers."""
        self._http.send_headers(stream_id, headers, end)

    def send_body(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """Bytes of an answer's body, or of capsules."""
        self._http.send_data(stream_id, data, end)

    def send_stream(self, stream_id: int, data: bytes) -> None:
        """Raw bytes on a WebTransport stream."""
        self._quic.send_stream_data(stream_id, data)

    def send_alone(self, session_id: int, data: bytes) -> None:
        """A new unidirectional stream with these bytes and nothing more."""
        stream_id = self._http.create_webtransport_stream(session_id, is_unidirectional=True)
        self._quic.send_stream_data(stream_id, data, True)
        self._alone.add(stream_id)

    def stream_busy(self, stream_id: int) -> bool:
        """Bytes for this stream still wait to be sent for the first time."""
        stream = self._quic._streams.get(stream_id)
        return stream is not None and not stream.sender.buffer_is_empty

    @property
    def alone(self) -> int:
        """Streams of `send_alone` that the viewer has not acknowledged."""
        self._alone.intersection_update(self._quic._streams)
        return len(self._alone)

    def refuse_stream(self, stream_id: int) -> None:
        """Tell the viewer to stop sending on a stream, and send nothing on it ourselves."""
        self._quic.stop_stream(stream_id, _REQUEST_REJECTED)
        if not stream_id & 2:
            self._quic.reset_stream(stream_id, _REQUEST_REJECTED)

    def close(self, error_code: int = 0x100, reason: str = "") -> None:
        """End the connection; the next datagrams to send say so. 0x100: H3_NO_ERROR."""
        self._quic.close(error_code=error_code, reason_phrase=reason)


_REQUEST_REJECTED: Final = 0x10B
"""H3_REQUEST_REJECTED (RFC 9114 section 8.1)."""

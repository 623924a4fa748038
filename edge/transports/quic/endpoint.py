"""One UDP socket for all QUIC connections of a POP.

Datagrams are taken from the socket in batches and handed to the connection their connection id names. What a batch made
necessary goes out at its end if it cannot wait (handshakes, control messages); everything else leaves once per
connection and conductor phase: `flush` sends what transports have queued, with acknowledgements riding along. No
connection has a timer of its own: `flush` serves all whose time has come, and one loop timer calls it when no conductor
does. Nothing queues behind the socket: a datagram that the kernel does not take is lost like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from core.errors import ConfigError
from core.limits import (
    LINK_CONNECT_S_MAX,
    PHASES_PER_TICK,
    QUIC_BATCH_DATAGRAMS_MAX,
    QUIC_HALF_OPEN_MAX,
    QUIC_HALF_OPEN_PER_ADDRESS_MAX,
    TICK_S,
)
from edge.transports.quic.engine import (
    CONNECTION_ID_SIZE_BYTES,
    MAX_DATAGRAM_SIZE_BYTES,
    Address,
    ConnectionIdIssued,
    ConnectionIdRetired,
    EngineConnection,
    Event,
    Terminated,
)

__all__ = ["ConnectionHandler", "Endpoint", "QuicPeer", "open_udp"]

_log = logging.getLogger(__name__)

_PHASE_S: Final = TICK_S / PHASES_PER_TICK
_SOON_S: Final = 0.025
"""How long an acknowledgement may wait: the shortest timer there is, but for handshakes, which are flushed at once."""
_OVERDUE_S_MAX: Final = 1.0
_VERSION_1: Final = b"\x00\x00\x00\x01"
_SOCKET_BUFFER_SIZE_BYTES: Final = 4 << 20


class ConnectionHandler(Protocol):
    """Who speaks over a connection. Called from the event loop; must return quickly."""

    def on_datagram(self, data: bytes, now: float) -> None:
        """A DATAGRAM frame came."""

    def on_event(self, event: Event, now: float) -> None:
        """Something else came."""

    def fill(self, now: float) -> None:
        """The connection is about to be flushed: hand over what waits and fits."""

    @property
    def waiting(self) -> bool:
        """Something waits to be handed over."""

    def on_terminated(self, reason: str, now: float) -> None:
        """The connection is over; comes exactly once, and nothing after it."""


def open_udp(host: str, port: int) -> socket.socket:
    """A bound, non-blocking UDP socket.

    Raises: ConfigError: one line that says which port is taken and how to take another.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_DGRAM)
    found.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_SIZE_BYTES)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise ConfigError(
            f"cannot use UDP {host}:{port} ({error.strerror}); choose another with webtransport_port"
        ) from error
    return found


class QuicPeer:
    """One connection, as the endpoint keeps it.

    Attributes:
        engine: does the protocol.
        handler: speaks over it.
    """

    __slots__ = ("_endpoint", "address", "connection_ids", "engine", "established", "handler", "overdue", "queued_at")

    def __init__(self, endpoint: Endpoint, engine: EngineConnection, address: str) -> None:
        self._endpoint = endpoint
        self.engine = engine
        self.handler: ConnectionHandler | None = None
        self.address = address
        self.connection_ids: set[bytes] = set()
        self.established = False
        self.queued_at: float | None = None
        self.overdue = 0

    def wake(self) -> None:
        """Flush it in this phase: something waits."""
        self._endpoint.wake(self)

    def close(self, error_code: int = 0x100, reason: str = "") -> None:
        """End the connection now; `on_terminated` comes when it is over."""
        self.engine.close(error_code, reason)
        self._endpoint.flush_one(self)


class Endpoint:
    """See the module docstring.

    Args:
        udp: a bound, non-blocking socket; the endpoint's own from now on.
        accept: makes the engine's side of a connection whose first datagram named this connection id.
        handle: makes the handler of a new connection.
        capacity: connections at once, whatever their state.
        clock: monotonic seconds.
        on_dropped: counts what is dropped, by reason.

    Attributes:
        datagrams_sent, datagrams_received: UDP datagrams so far.
    """

    def __init__(
        self,
        udp: socket.socket,
        *,
        accept: Callable[[bytes], EngineConnection],
        handle: Callable[[QuicPeer], ConnectionHandler],
        capacity: int,
        clock: Callable[[], float],
        on_dropped: Callable[[str], None],
    ) -> None:
        self._udp = udp
        self._accept = accept
        self._handle = handle
        self._capacity = capacity
        self._clock = clock
        self._on_dropped = on_dropped
        self._loop = asyncio.get_running_loop()
        self._by_id: dict[bytes, QuicPeer] = {}
        self._peers: set[QuicPeer] = set()
        self._half_open: Counter[str] = Counter()
        self._awake: dict[QuicPeer, None] = {}
        self._deadlines: list[tuple[float, int, QuicPeer]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.datagrams_sent = 0
        self.datagrams_received = 0
        self._loop.add_reader(udp.fileno(), self._readable)

    def __len__(self) -> int:
        return len(self._peers)

    @property
    def port(self) -> int:
        """UDP port it listens on."""
        return int(self._udp.getsockname()[1])

    def close(self) -> None:
        """Stop at once; connections that are still there are lost without a word."""
        self._loop.remove_reader(self._udp.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        for peer in tuple(self._peers):
            self._forget(peer, "pop-stopping")
        self._udp.close()

    # --- in --------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        now = self._clock()
        touched: dict[QuicPeer, None] = {}
        receive = self._udp.recvfrom
        for _ in range(QUIC_BATCH_DATAGRAMS_MAX):
            try:
                data, address = receive(2_048)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue  # an ICMP error of something we sent
            self.datagrams_received += 1
            peer = self._route(data, address)
            if peer is None:
                continue
            try:
                peer.engine.receive_datagram(data, address, now)
            except Exception:
                self._broken(peer)
                continue
            touched[peer] = None
        for peer in touched:
            try:
                self._drain(peer, now)
            except Exception:
                self._broken(peer)

    def _route(self, data: bytes, address: Address) -> QuicPeer | None:
        if not data:
            return None
        if not data[0] & 0x80:  # a short header: all but the first few datagrams
            peer = self._by_id.get(data[1 : 1 + CONNECTION_ID_SIZE_BYTES])
            if peer is None:
                self._on_dropped("quic-unknown-connection")
            return peer
        if len(data) < 7:
            self._on_dropped("quic-malformed")
            return None
        destination_end = 6 + data[5]
        destination = data[6:destination_end]
        peer = self._by_id.get(destination)
        if peer is not None:
            return peer
        if data[1:5] != _VERSION_1:
            self._negotiate(data, destination, destination_end, address)
            return None
        if data[0] & 0x30 or len(data) < MAX_DATAGRAM_SIZE_BYTES or not 8 <= len(destination) <= 20:
            self._on_dropped("quic-unknown-connection")
            return None
        return self._open(destination, address)

    def _negotiate(self, data: bytes, destination: bytes, destination_end: int, address: Address) -> None:
        """Version negotiation (RFC 9000 section 17.2.1); never in answer to one, nor to what is too small to be one."""
        if data[1:5] == b"\0\0\0\0" or len(data) < MAX_DATAGRAM_SIZE_BYTES or destination_end >= len(data):
            self._on_dropped("quic-malformed")
            return
        source = data[destination_end + 1 : destination_end + 1 + data[destination_end]]
        ids = bytes((len(source),)) + source + bytes((len(destination),)) + destination
        self._send(bytes((0x80 | os.urandom(1)[0],)) + b"\0\0\0\0" + ids + _VERSION_1, address)

    def _open(self, destination: bytes, address: Address) -> QuicPeer | None:
        host = str(address[0])
        if (
            len(self._peers) >= self._capacity
            or self._half_open.total() >= QUIC_HALF_OPEN_MAX
            or self._half_open[host] >= QUIC_HALF_OPEN_PER_ADDRESS_MAX
        ):
            self._on_dropped("quic-too-many")
            return None
        engine = self._accept(destination)
        peer = QuicPeer(self, engine, host)
        peer.handler = self._handle(peer)
        self._peers.add(peer)
        self._half_open[host] += 1
        for connection_id in (destination, engine.host_cid):
            self._by_id[connection_id] = peer
            peer.connection_ids.add(connection_id)
        self._loop.call_later(LINK_CONNECT_S_MAX, self._give_up, peer)
        return peer

    def _give_up(self, peer: QuicPeer) -> None:
        if peer in self._peers and not peer.established:
            self._on_dropped("quic-handshake-timeout")
            self._forget(peer, "connect-timeout")

    def _drain(self, peer: QuicPeer, now: float) -> None:
        """Tell the handler what came, and send at once what cannot wait."""
        handler = peer.handler
        if handler is None:
            return
        for data in peer.engine.take_datagrams():
            handler.on_datagram(data, now)
        self._tell_events(peer, now)
        if peer.handler is None:
            return
        if peer.engine.urgent() or handler.waiting:
            self._flush(peer, now)
        else:
            self._schedule(peer, now)

    def _tell_events(self, peer: QuicPeer, now: float) -> None:
        for event in peer.engine.events():
            match event:
                case ConnectionIdIssued():
                    self._by_id[event.connection_id] = peer
                    peer.connection_ids.add(event.connection_id)
                case ConnectionIdRetired():
                    self._by_id.pop(event.connection_id, None)
                    peer.connection_ids.discard(event.connection_id)
                case Terminated():
                    self._forget(peer, "connection-lost" if event.idle else "closed-by-viewer")
                    return
                case _ if peer.handler is not None:
                    peer.handler.on_event(event, now)
        if not peer.established and peer.engine.established:
            peer.established = True
            self._no_longer_half_open(peer)

    def _no_longer_half_open(self, peer: QuicPeer) -> None:
        self._half_open[peer.address] -= 1
        if self._half_open[peer.address] <= 0:
            del self._half_open[peer.address]

    def _broken(self, peer: QuicPeer) -> None:
        _log.exception("a QUIC connection failed")
        self._forget(peer, "internal-error")

    def _forget(self, peer: QuicPeer, reason: str) -> None:
        if peer not in self._peers:
            return
        self._peers.discard(peer)
        self._awake.pop(peer, None)
        if not peer.established:
            self._no_longer_half_open(peer)
        for connection_id in peer.connection_ids:
            self._by_id.pop(connection_id, None)
        handler, peer.handler = peer.handler, None
        if handler is not None:
            handler.on_terminated(reason, self._clock())

    # --- out -------------------------------------------------------------------------------------------------------

    def wake(self, peer: QuicPeer) -> None:
        """Flush a connection in this phase."""
        if not self._awake:
            self._arm(self._clock() + _PHASE_S)
        self._awake[peer] = None

    def flush(self) -> None:
        """Send what waits and serve the timers whose time has come; the conductor calls it after each phase."""
        now = self._clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            at, _, peer = heapq.heappop(self._deadlines)
            if at != peer.queued_at:
                continue  # an earlier deadline was queued since, and has been served
            peer.queued_at = None
            deadline = peer.engine.get_timer()
            if deadline is None or peer.handler is None:
                continue
            if deadline <= now:
                self._expire(peer, now)
            else:
                self._queue(peer, deadline)
        awake, self._awake = self._awake, {}
        for peer in awake:
            self._flush(peer, now)
        if self._deadlines:
            self._arm(self._deadlines[0][0])

    def flush_one(self, peer: QuicPeer) -> None:
        """Send what one connection has to say at once."""
        if peer in self._peers:
            self._flush(peer, self._clock())

    def _expire(self, peer: QuicPeer, now: float) -> None:
        try:
            peer.engine.handle_timer(now)
            self._tell_events(peer, now)
        except Exception:
            self._broken(peer)
            return
        self._flush(peer, now)

    def _flush(self, peer: QuicPeer, now: float) -> None:
        handler = peer.handler
        if handler is None:
            return
        self._awake.pop(peer, None)
        try:
            handler.fill(now)
            datagrams = peer.engine.datagrams_to_send(now)
        except Exception:
            self._broken(peer)
            return
        for data, address in datagrams:
            self._send(data, address)
        self._schedule(peer, now)

    def _send(self, data: bytes, address: Address) -> None:
        try:
            self._udp.sendto(data, address)
        except OSError:
            self._on_dropped("udp-send")
            return
        self.datagrams_sent += 1

    def _schedule(self, peer: QuicPeer, now: float) -> None:
        """Note a connection's next deadline; not now if it will be looked at soon: that it may come a little late costs
        less than computing it for every packet."""
        if peer.queued_at is not None and peer.queued_at <= now + _SOON_S:
            return
        deadline = peer.engine.get_timer()
        if deadline is None:
            return
        if deadline > now:
            peer.overdue = 0
        else:
            # Served, and still due: nothing may be sent to an address that is not validated, or the library (qh3) never
            # sends a late acknowledgement of the handshake.
            deadline = now + min(_PHASE_S * 2**peer.overdue, _OVERDUE_S_MAX)
            peer.overdue = min(peer.overdue + 1, 16)
        if peer.queued_at is None or deadline < peer.queued_at:
            self._queue(peer, deadline)

    def _queue(self, peer: QuicPeer, deadline: float) -> None:
        peer.queued_at = deadline
        heapq.heappush(self._deadlines, (deadline, next(self._order), peer))
        self._arm(deadline)

    def _arm(self, at: float) -> None:
        """Be called at `at`, rounded up to a phase, unless the timer rings earlier anyway."""
        if self._timer is not None:
            if self._timer_at <= at + _PHASE_S:
                return
            self._timer.cancel()
        self._timer_at = at + _PHASE_S
        self._timer = self._loop.call_later(max(0.0, self._timer_at - self._clock()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.flush()

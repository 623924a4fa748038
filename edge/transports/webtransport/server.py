"""The POP's WebTransport server: an endpoint, its certificate, and the sessions of those who came."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from core.host.clock import Clock
from core.session.proof import ProvenRequest
from edge.certificates import Certificates
from edge.transports.quic.endpoint import Endpoint, QuicPeer
from edge.transports.quic.engine import EngineConnection, QuicEngine
from edge.transports.webtransport.session import Entry, WebTransportSession

__all__ = ["WebTransportServer"]


class WebTransportServer:
    """Serves until it is closed.

    Args:
        udp: a bound, non-blocking socket; the server's own from now on.
        engine: does QUIC and HTTP/3.
        certificates: what it is served with; looked at for every new connection.
        admit: lets a viewer in, from its token, its session and what it came with; raises VisavisError.
        capacity: connections at once.
        allowed_origins: web origins whose pages may come; "*" means all.
        health: what GET /healthz says.
        on_dropped: counts what is dropped, by reason.
    """

    def __init__(
        self,
        udp: socket.socket,
        *,
        engine: QuicEngine,
        certificates: Certificates,
        admit: Callable[[str, str, ProvenRequest], Awaitable[Entry]],
        clock: Clock,
        capacity: int,
        allowed_origins: tuple[str, ...] = ("*",),
        health: Callable[[], dict[str, object]] = lambda: {"ok": True},
        on_dropped: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.allowed_origins = allowed_origins
        self.clock = clock.monotonic
        self.health = health
        self.on_dropped = on_dropped
        self._wall = clock.wall
        self._engine = engine
        self._certificates = certificates
        self._admit = admit
        self._configured: tuple[str, object] = ("", None)
        self._sessions: set[WebTransportSession] = set()
        self.endpoint = Endpoint(
            udp,
            accept=self._accept,
            handle=self._handle,
            capacity=capacity,
            clock=clock.monotonic,
            on_dropped=on_dropped,
        )

    def __len__(self) -> int:
        """Links that are open."""
        return sum(session.open for session in self._sessions)

    @property
    def port(self) -> int:
        """UDP port it listens on."""
        return self.endpoint.port

    def flush(self) -> None:
        """Send what waits; the conductor calls it after each phase."""
        self.endpoint.flush()

    async def aclose(self, reason: str = "pop-stopping") -> None:
        """Close all sessions with a reason, and the socket."""
        for session in tuple(self._sessions):
            session.close(reason)
        self.endpoint.flush()
        await asyncio.sleep(0)  # what sessions had to say is in the kernel now
        for session in tuple(self._sessions):
            session.hang_up()
        self.endpoint.close()

    # --- for sessions ------------------------------------------------------------------------------------------------

    async def admit(self, token: str, session_id: str, request: ProvenRequest) -> Entry:
        """See SessionHost."""
        return await self._admit(token, session_id, request)

    def forget(self, session: WebTransportSession) -> None:
        """See SessionHost."""
        self._sessions.discard(session)

    # --- for the endpoint --------------------------------------------------------------------------------------------

    def _accept(self, original_destination_connection_id: bytes) -> EngineConnection:
        certificate = self._certificates.current(self._wall())
        if self._configured[0] != certificate.hash:
            self._configured = (certificate.hash, self._engine.configure(certificate))
        return self._engine.accept(self._configured[1], original_destination_connection_id)

    def _handle(self, peer: QuicPeer) -> WebTransportSession:
        session = WebTransportSession(self, peer)
        self._sessions.add(session)
        return session

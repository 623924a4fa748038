"""The headless viewer over WebTransport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

# The client loads its library when it is made, which takes long; a viewer that changes networks must not stand still.
import aioquic.h3.connection
import aioquic.quic.connection  # noqa: F401

from core.wire.webtransport import session_path
from loadtests.tickets import Ticket, ViewerError
from loadtests.viewer_link import ConnectionEvents, Transport
from loadtests.webtransport import WebTransportClient, WebTransportRefusedError

__all__ = ["WebTransportConnection"]

_CONNECT_TIMEOUT_S: Final = 5.0


class WebTransportConnection:
    """See loadtests.viewer_link.Connection.

    Args:
        ticket: whose session; its POP offers WebTransport.
        clock: monotonic seconds.
    """

    transport: Transport = "webtransport"
    plays_sound_itself = True

    def __init__(
        self, ticket: Ticket, events: ConnectionEvents, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        offer = ticket.webtransport
        if offer is None:
            raise ViewerError("pop-refused", f"The POP at {ticket.pop_url} offers no WebTransport.")
        self._url = offer.url
        self._session_url = offer.url.rstrip("/") + session_path(ticket.session_id)
        self._key = ticket.key
        self._events = events
        self._sequence_number = 0
        self._over = False
        self._client = WebTransportClient(
            offer.url, ticket.session_id, self, certificate_hashes=offer.certificate_hashes, clock=clock
        )

    async def connect(self, token: str) -> None:
        """See Connection."""
        proof = self._key.prove("CONNECT", self._session_url, token) if self._key else ""
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._client.connect(token, proof)
        except (WebTransportRefusedError, TimeoutError) as error:
            self._client.vanish()
            code = error.code if isinstance(error, WebTransportRefusedError) else "unreachable"
            if code in ("unreachable", "connection-lost"):
                raise ViewerError("pop-unreachable", f"{self._url} does not answer (UDP blocked?).") from error
            raise ViewerError("pop-refused", f"The POP at {self._url} refused the session: {code}") from error

    def send_control(self, data: str | bytes) -> None:
        """See Connection."""
        if self._client.connected:
            self._client.send_control(data)

    def send_microphone(self, payload: bytes, *, timestamp: int, level_dbov: int) -> None:
        """See Connection."""
        if self._client.connected:
            self._client.send_microphone(
                payload, timestamp=timestamp, sequence_number=self._sequence_number, level_dbov=level_dbov
            )
            self._sequence_number = (self._sequence_number + 1) & 0xFFFF

    def vanish(self) -> None:
        """See Connection."""
        self._over = True
        self._client.vanish()

    async def aclose(self, *, farewell: bool) -> None:
        """See Connection."""
        if self._over:
            return
        self._over = True
        if farewell:
            self._client.close("viewer-left")
        else:
            self._client.vanish()

    def on_unit(self, payload: bytes, timestamp: int, now: float) -> None:
        """See WebTransportEvents."""
        if not self._over:
            self._events.on_unit(payload, timestamp, now)

    def on_control(self, data: str | bytes, now: float) -> None:
        """See WebTransportEvents."""
        if not self._over:
            self._events.on_control(data, now)

    def on_closed(self, reason: str, now: float) -> None:
        """See WebTransportEvents."""
        if not self._over:
            self._over = True
            self._events.on_closed(f"The POP closed the connection ({reason}).", now)

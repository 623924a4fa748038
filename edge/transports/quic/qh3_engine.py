"""qh3 1.9 (its packets are built in Rust), made fit for thousands of small datagrams.

All that reaches into its insides is in this file; what is changed and why is said in `aioquic_engine`, for qh3 descends
from aioquic. Version 2 refuses Chromium, which has connection ids of no length.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from qh3 import tls
from qh3.h3 import events as http_events
from qh3.h3.connection import H3Connection, Setting
from qh3.quic import events as quic_events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection

from core.limits import QUIC_STREAMS_MAX
from edge.transports.quic.engine import Library

__all__ = ["LIBRARY"]

logging.getLogger("quic").setLevel(logging.ERROR)
logging.getLogger("http3").setLevel(logging.ERROR)

_MAX_ACK_DELAY_S: Final = 0.025
_SETTINGS: Final = {0x08: 1, 0x2B603742: 1, 0xC671706A: 1, 0x14E9CD29: 1}
"""Extended CONNECT (RFC 9220), which qh3 does not announce, and WebTransport as drafts 2, 7 and 13 announce it."""


class _NoPacer:
    def next_send_time(self, now: float) -> float | None:
        return None

    def update_after_send(self, now: float) -> None:
        return None

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        return None


class _Connection(QuicConnection):
    """A server's connection.

    Attributes:
        datagrams_received: DATAGRAM frames that nobody has taken yet.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.datagrams_received: list[bytes] = []
        self._ack_delay = _MAX_ACK_DELAY_S
        self._loss._pacer = _NoPacer()  # type: ignore[assignment]
        self._local_max_streams_bidi.value = QUIC_STREAMS_MAX
        self._local_max_streams_uni.value = QUIC_STREAMS_MAX

    def room_bytes(self) -> int:
        """What may be sent before the congestion window is full."""
        waiting = sum(map(len, self._datagrams_pending)) if self._datagrams_pending else 0
        return self._loss.congestion_window - self._loss.bytes_in_flight - waiting

    def urgent(self) -> bool:
        """Something should be sent now, not with the next access unit."""
        return (
            not self._handshake_confirmed
            or self._close_pending
            or bool(self._probe_pending)
            or bool(self._retire_connection_ids)
            or len(self._network_paths) > 1
            or bool(self._network_paths[0].remote_challenges)
            or not self._network_paths[0].is_validated
            or any(
                stream.receiver.stop_pending or stream.sender.reset_pending or not stream.sender.buffer_is_empty
                for stream in self._streams_queue
            )
        )

    def _handle_datagram_frame(self, context: Any, frame_type: int, buf: Any) -> None:
        super()._handle_datagram_frame(context, frame_type, buf)
        event = self._events.pop()
        assert isinstance(event, quic_events.DatagramFrameReceived)
        self.datagrams_received.append(event.data)


class _Http(H3Connection):
    """HTTP/3 that announces WebTransport to every kind of browser."""

    def _get_local_settings(self) -> dict[int, int]:
        return {**super()._get_local_settings(), Setting.H3_DATAGRAM: 1, **_SETTINGS}


LIBRARY: Final = Library(
    name="qh3",
    connection=_Connection,
    http=_Http,
    quic_events=quic_events,
    http_events=http_events,
    configuration=QuicConfiguration,
    tls=tls,
)

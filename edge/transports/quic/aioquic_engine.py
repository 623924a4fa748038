"""aioquic, made fit for thousands of small datagrams: what `steady` wants to know of its insides, and WebTransport's
settings."""

from __future__ import annotations

import logging
from typing import Any, Final

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic._crypto import CryptoError
from aioquic.h3 import events as http_events
from aioquic.h3.connection import H3Connection, Setting
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import END_STATES, QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.crypto import KeyUnavailableError
from aioquic.quic.packet import QuicPacketType, push_ack_frame
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import MAX_ACK_RANGES

from edge.transports.quic.engine import MAX_DATAGRAM_SIZE_BYTES, Library
from edge.transports.quic.steady import SteadyPath

__all__ = ["LIBRARY"]

logging.getLogger("quic").setLevel(logging.ERROR)  # it warns of whatever a peer does wrong
logging.getLogger("http3").setLevel(logging.ERROR)

_ACK_SIZE_BYTES_MIN: Final = 33
"""Type and four integers, as large as they come."""
_SETTINGS: Final = {0x2B603742: 1, 0xC671706A: 1, 0x14E9CD29: 1}
"""WebTransport as drafts 2, 7 and 13 announce it: Chromium, older ones, Safari."""


class _Connection(SteadyPath, QuicConnection):
    """A server's connection."""

    _one_rtt = tls.Epoch.ONE_RTT
    _errors = (CryptoError, KeyUnavailableError)
    _connection_error = QuicConnectionError
    _end_states = END_STATES
    _receive_context = QuicReceiveContext

    def _take_number(self, space: Any) -> int:
        self._packet_number += 1
        return self._packet_number - 1

    def _next_number(self) -> int:
        return self._packet_number

    def _note_sent(self, number: int, size_bytes: int, eliciting: bool, handlers: list[Any], now: float) -> None:
        packet = QuicSentPacket(
            epoch=tls.Epoch.ONE_RTT,
            in_flight=eliciting,
            is_ack_eliciting=eliciting,
            is_crypto_packet=False,
            packet_number=number,
            packet_type=QuicPacketType.ONE_RTT,
            sent_time=now,
            sent_bytes=size_bytes,
            delivery_handlers=handlers,
        )
        self._loss.on_packet_sent(packet=packet, space=self._spaces[tls.Epoch.ONE_RTT])
        if eliciting and not self._ack_eliciting_sent_since_receipt:
            self._close_at = now + self._idle_timeout()
            self._ack_eliciting_sent_since_receipt = True

    def _ack_frame(self, space: Any, now: float, room_bytes: int) -> bytes:
        if room_bytes < _ACK_SIZE_BYTES_MIN:
            return b""
        delay = int((now - space.largest_received_time) * 1_000_000) >> self._local_ack_delay_exponent
        buffer = Buffer(MAX_DATAGRAM_SIZE_BYTES)
        buffer.push_uint8(0x02)
        push_ack_frame(buffer, space.ack_queue, delay, room_bytes - 1)
        return buffer.data

    def _received_before(self, space: Any, number: int) -> bool:
        return number in space.received_packets

    def _note_received(self, space: Any, number: int) -> None:
        space.ack_queue.add(number)
        space.received_packets.add(number)
        if len(space.ack_queue) > MAX_ACK_RANGES:
            space.ack_queue.shift()

    def _restart_idle_timer(self, now: float) -> None:
        self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False

    def _limits_calm(self) -> bool:
        data = self._local_max_data
        return data.value == data.sent >= data.used * 2 and all(
            limit.sent - limit.used >= limit.value - limit.sent
            for limit in (self._local_max_streams_bidi, self._local_max_streams_uni)
        )

    def _buffer(self, data: bytes) -> Buffer:
        return Buffer(data=data)


class _Http(H3Connection):
    """HTTP/3 that announces WebTransport to every kind of browser."""

    def _get_local_settings(self) -> dict[int, int]:
        return {**super()._get_local_settings(), Setting.ENABLE_CONNECT_PROTOCOL: 1, **_SETTINGS}


LIBRARY: Final = Library(
    name="aioquic",
    connection=_Connection,
    http=_Http,
    quic_events=quic_events,
    http_events=http_events,
    configuration=QuicConfiguration,
    tls=tls,
)

"""qh3 1.9 (its cryptography is in Rust), made fit for thousands of small datagrams: what `steady` wants to know of its
insides, and WebTransport's settings. Version 2 refuses Chromium, which has connection ids of no length."""

from __future__ import annotations

import logging
from typing import Any, Final

from qh3 import tls
from qh3._hazmat import Buffer, CryptoError
from qh3.h3 import events as http_events
from qh3.h3.connection import H3Connection, Setting
from qh3.quic import events as quic_events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import END_STATES, QuicConnection, QuicConnectionError, QuicReceiveContext
from qh3.quic.crypto import KeyUnavailableError
from qh3.quic.packet import QuicPacketType
from qh3.quic.packet_builder import QuicSentPacket

from edge.transports.quic.engine import Library
from edge.transports.quic.steady import SteadyPath, encode_integer

__all__ = ["LIBRARY"]

logging.getLogger("quic").setLevel(logging.ERROR)  # it warns of whatever a peer does wrong
logging.getLogger("http3").setLevel(logging.ERROR)

_ACK_RANGES_MAX: Final = 16
"""Newest ranges that an acknowledgement beside a datagram tells; the older ones it told before."""
_SETTINGS: Final = {0x08: 1, 0x2B603742: 1, 0xC671706A: 1, 0x14E9CD29: 1}
"""Extended CONNECT (RFC 9220), which qh3 does not announce, and WebTransport as drafts 2, 7 and 13 announce it."""


class _Connection(SteadyPath, QuicConnection):
    """A server's connection."""

    _one_rtt = tls.Epoch.ONE_RTT
    _errors = (CryptoError, KeyUnavailableError)
    _connection_error = QuicConnectionError
    _end_states = END_STATES
    _receive_context = QuicReceiveContext

    def _take_number(self, space: Any) -> int:
        space.packet_number += 1
        number: int = space.packet_number - 1
        return number

    def _next_number(self) -> int:
        return self._spaces[tls.Epoch.ONE_RTT].packet_number

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
        )
        packet.delivery_handlers = handlers
        self._loss.on_packet_sent(packet=packet, space=self._spaces[tls.Epoch.ONE_RTT])
        if eliciting and not self._ack_eliciting_sent_since_receive:
            self._ack_eliciting_sent_since_receive = True
            self._close_at = self._idle_deadline(now)

    def _ack_frame(self, space: Any, now: float, room_bytes: int) -> bytes:
        queue = space.ack_queue
        count = min(len(queue), _ACK_RANGES_MAX)
        delay = int((now - space.largest_received_time) * 1_000_000) >> self._local_ack_delay_exponent
        start, stop = queue[len(queue) - 1]
        frame = [b"\x02", *map(encode_integer, (stop - 1, delay, count - 1, stop - 1 - start))]
        for index in range(len(queue) - 2, len(queue) - 1 - count, -1):
            older_start, older_stop = queue[index]
            frame += (encode_integer(start - older_stop - 1), encode_integer(older_stop - older_start - 1))
            start = older_start
        ack = b"".join(frame)
        return ack if len(ack) <= room_bytes else b""

    def _received_before(self, space: Any, number: int) -> bool:
        return number in space.ack_queue

    def _note_received(self, space: Any, number: int) -> None:
        space.ack_queue.add(number)

    def _restart_idle_timer(self, now: float) -> None:
        self._close_at = self._idle_deadline(now)
        self._ack_eliciting_sent_since_receive = False

    def _limits_calm(self) -> bool:
        return not self._has_unsent_cids and all(
            limit.value == limit.sent >= limit.used * 2
            for limit in (self._local_max_data, self._local_max_streams_bidi, self._local_max_streams_uni)
        )

    def _buffer(self, data: bytes) -> Buffer:
        return Buffer(data=data)


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

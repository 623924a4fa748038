"""The short way through a QUIC connection, for what it carries all day: small datagrams out, and in; acknowledgements.

aioquic and qh3 build every packet with a builder that knows all kinds of packets and frames, and walk over every stream
each time. A connection that has nothing but datagrams and acknowledgements to send (*calm*) needs none of it: a header,
an ACK frame if one is owed, a DATAGRAM frame, encryption, and a note for loss recovery. Whatever else comes or is to be
sent ends the calm and goes the library's own way, until a flush leaves nothing of it.

Two things differ from the libraries on purpose: an acknowledgement that is not due yet rides along with a datagram, and
a packet has one datagram. The frames are those of RFC 9000 section 19 and RFC 9221.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core.limits import QUIC_STREAMS_MAX
from edge.transports.quic.engine import CONNECTION_ID_SIZE_BYTES, MAX_DATAGRAM_SIZE_BYTES, Address

__all__ = ["NoPacer", "SteadyPath", "encode_integer"]

if TYPE_CHECKING:
    _Library = Any
else:
    _Library = object

_MAX_ACK_DELAY_S: Final = 0.025
"""What peers expect when nobody says otherwise (RFC 9000 section 18.2)."""
_TAG_SIZE_BYTES: Final = 16
_HEADER_SIZE_BYTES: Final = 1 + CONNECTION_ID_SIZE_BYTES
_SAMPLE_END: Final = _HEADER_SIZE_BYTES + 4 + 16
"""Up to here header protection reads."""
_PROTOCOL_VIOLATION: Final = 0x0A


class NoPacer:
    """Instead of a library's: it charges 1,200 bytes for a packet of any size, and the conductor paces already."""

    def next_send_time(self, now: float) -> float | None:
        """Now."""
        return None

    def update_after_send(self, now: float) -> None:
        """Nothing to remember."""

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Nothing to remember."""


class SteadyPath(_Library):  # type: ignore[misc]  # before a QuicConnection of whichever library
    """Put before a library's QuicConnection; the library's file fills in what the two do differently.

    Attributes:
        datagrams_received: DATAGRAM frames that nobody has taken yet.
    """

    _one_rtt: Any
    """The library's name of the epoch."""
    _errors: tuple[type[Exception], ...]
    """What its decryption raises."""
    _connection_error: type[Any]
    """What its frame handlers raise."""
    _end_states: frozenset[Any]
    _receive_context: Any

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.datagrams_received: list[bytes] = []
        self._calm = False
        self._slow_until = 0
        self._spin_highest_pn = 0
        self._ack_delay = _MAX_ACK_DELAY_S
        self._loss._pacer = NoPacer()
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            limit.value = limit.sent = QUIC_STREAMS_MAX

    # --- for the library's file to fill in; not abstract: a mixin before a class that is no ABC cannot be -------------

    def _take_number(self, space: Any) -> int:
        raise NotImplementedError

    def _next_number(self) -> int:
        raise NotImplementedError

    def _note_sent(self, number: int, size_bytes: int, eliciting: bool, handlers: list[Any], now: float) -> None:
        raise NotImplementedError

    def _ack_frame(self, space: Any, now: float, room_bytes: int) -> bytes:
        raise NotImplementedError

    def _received_before(self, space: Any, number: int) -> bool:
        raise NotImplementedError

    def _note_received(self, space: Any, number: int) -> None:
        raise NotImplementedError

    def _restart_idle_timer(self, now: float) -> None:
        raise NotImplementedError

    def _limits_calm(self) -> bool:
        raise NotImplementedError

    def _buffer(self, data: bytes) -> Any:
        raise NotImplementedError

    # --- what ends the calm ------------------------------------------------------------------------------------------

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        """The library's."""
        self._calm = False
        super().send_stream_data(stream_id, data, end_stream)

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        """The library's."""
        self._calm = False
        super().reset_stream(stream_id, error_code)

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        """The library's."""
        self._calm = False
        super().stop_stream(stream_id, error_code)

    def close(self, *arguments: Any, **named: Any) -> None:
        """The library's."""
        self._calm = False
        super().close(*arguments, **named)

    def handle_timer(self, now: float) -> None:
        """The library's."""
        self._calm = False
        super().handle_timer(now)

    # --- what the engine asks ----------------------------------------------------------------------------------------

    def room_bytes(self) -> int:
        """What may be sent before the congestion window is full."""
        pending = self._datagrams_pending
        room: int = self._loss.congestion_window - self._loss.bytes_in_flight
        return room - sum(map(len, pending)) if pending else room

    def urgent(self) -> bool:
        """Something should be sent now, not with the next access unit."""
        if self._calm:
            return False
        return not self._handshake_confirmed or not self._is_calm()

    def _handle_datagram_frame(self, context: Any, frame_type: int, buf: Any) -> None:
        super()._handle_datagram_frame(context, frame_type, buf)
        self.datagrams_received.append(self._events.pop().data)

    # --- out ---------------------------------------------------------------------------------------------------------

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """See the library."""
        if not self._calm or self._cryptos[self._one_rtt]._update_key_requested:
            datagrams: list[tuple[bytes, Address]] = super().datagrams_to_send(now)
            self._slow_until = self._next_number()
            self._calm = self._is_calm()
            return datagrams
        pending = self._datagrams_pending
        space = self._spaces[self._one_rtt]
        if not pending:
            if space.ack_at is None or space.ack_at > now:
                return []
            if len(space.ack_queue) > 1:
                # It may want an acknowledgement of its acknowledgement.
                datagrams = super().datagrams_to_send(now)
                self._slow_until = self._next_number()
                return datagrams
            return [self._packet(b"", space, now)]
        datagrams = []
        while pending:
            datagrams.append(self._packet(pending.popleft(), space, now))
        return datagrams

    def _packet(self, datagram: bytes, space: Any, now: float) -> tuple[bytes, Address]:
        peer_id = self._peer_cid.cid
        payload = b"\x31" + encode_integer(len(datagram)) + datagram if datagram else b""
        handlers: list[Any] = []
        if space.ack_at is not None:
            room = MAX_DATAGRAM_SIZE_BYTES - 3 - len(peer_id) - _TAG_SIZE_BYTES - len(payload)
            ack = self._ack_frame(space, now, room)
            if ack:
                handlers.append((self._on_ack_delivery, (space, space.largest_received_packet)))
                payload = ack + payload
                space.ack_at = None
        number = self._take_number(space)
        crypto = self._cryptos[self._one_rtt]
        first = 0x41 | self._spin_bit << 5 | crypto.recv.key_phase << 2
        header = bytes((first,)) + peer_id + (number & 0xFFFF).to_bytes(2, "big")
        packet: bytes = crypto.send.encrypt_packet(header, payload, number)
        self._note_sent(number, len(packet), bool(datagram), handlers, now)
        path = self._network_paths[0]
        path.bytes_sent += len(packet)
        return packet, path.addr

    # --- in ----------------------------------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """See the library."""
        if (
            not self._calm
            or data[0] & 0x80
            or len(data) < _SAMPLE_END
            or data[1:_HEADER_SIZE_BYTES] != self.host_cid
            or addr != self._network_paths[0].addr
        ):
            self._calm = False
            super().receive_datagram(data, addr, now)
            return
        space = self._spaces[self._one_rtt]
        crypto = self._cryptos[self._one_rtt]
        phase = crypto.recv.key_phase
        try:
            header, payload, number = crypto.decrypt_packet(data, _HEADER_SIZE_BYTES, space.expected_packet_number)
        except self._errors:
            return
        if crypto.recv.key_phase != phase:
            self._calm = False  # the library keeps the old key for a while
        if self._received_before(space, number):
            return
        if header[0] & 0x18 or not payload:
            self.close(error_code=_PROTOCOL_VIOLATION, frame_type=0, reason_phrase="Malformed packet")
            return
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        if number > self._spin_highest_pn:
            self._spin_bit, self._spin_highest_pn = bool(header[0] & 0x20), number
        try:
            eliciting = self._frames(payload, now)
        except self._connection_error as error:
            self.close(error_code=error.error_code, frame_type=error.frame_type, reason_phrase=error.reason_phrase)
        if self._state in self._end_states or self._close_pending:
            return
        self._restart_idle_timer(now)
        if number > space.largest_received_packet:
            space.largest_received_packet = number
            space.largest_received_time = now
        self._note_received(space, number)
        if eliciting and space.ack_at is None:
            space.ack_at = now + self._ack_delay

    def _frames(self, payload: bytes, now: float) -> bool:
        """Handle a packet's frames. Returns: whether it wants an acknowledgement."""
        position, end, eliciting = 0, len(payload), False
        while position < end:
            kind = payload[position]
            if kind == 0x31:  # DATAGRAM with a length
                start, size = _decode_integer(payload, position + 1)
                if start + size > end:
                    return self._other_frames(payload[position:], now) or eliciting
                self.datagrams_received.append(payload[start : start + size])
                position, eliciting = start + size, True
            elif kind == 0x30:  # DATAGRAM to the end
                self.datagrams_received.append(payload[position + 1 :])
                return True
            elif kind == 0x02:  # ACK
                buffer = self._buffer(payload[position + 1 :])
                oldest = next(iter(self._spaces[self._one_rtt].sent_packets), self._slow_until)
                try:
                    self._handle_ack_frame(self._context(now), kind, buffer)
                except ValueError:  # cut off: the library says so
                    return self._other_frames(payload[position:], now) or eliciting
                position += 1 + buffer.tell()
                if oldest < self._slow_until:
                    self._calm = self._is_calm()  # a stream may have come to its end, or have lost something
            elif kind <= 0x01:  # PADDING, PING
                position += 1
                eliciting = eliciting or kind == 0x01
            else:
                return self._other_frames(payload[position:], now) or eliciting
        return eliciting

    def _other_frames(self, frames: bytes, now: float) -> bool:
        self._calm = False
        eliciting: bool = self._payload_received(self._context(now), frames)[0]
        return eliciting

    def _context(self, now: float) -> Any:
        return self._receive_context(
            epoch=self._one_rtt,
            host_cid=self.host_cid,
            network_path=self._network_paths[0],
            quic_logger_frames=None,
            time=now,
            version=self._version,
        )

    # --- calm --------------------------------------------------------------------------------------------------------

    def _is_calm(self) -> bool:
        """Nothing but datagrams and acknowledgements is to be sent."""
        path = self._network_paths[0] if self._network_paths else None
        return bool(
            self._handshake_confirmed
            and self._state not in self._end_states
            and path is not None
            and path.is_validated
            and not path.remote_challenges
            and len(self._network_paths) == 1
            and not self._close_pending
            and not self._handshake_done_pending
            and not self._probe_pending
            and not self._ping_pending
            and not self._retire_connection_ids
            and not self._streams_blocked_pending
            and self._crypto_streams[self._one_rtt].sender.buffer_is_empty
            and all(connection_id.was_sent for connection_id in self._host_cids)
            and self._limits_calm()
            and all(_stream_calm(stream) for stream in self._streams_queue)
        )


def _stream_calm(stream: Any) -> bool:
    receiver, sender = stream.receiver, stream.sender
    return not (
        stream.is_finished
        or receiver.stop_pending
        or sender.reset_pending
        or not (sender.buffer_is_empty or stream.is_blocked)
        or stream.max_stream_data_local_sent != stream.max_stream_data_local
        or (stream.max_stream_data_local and receiver.highest_offset * 2 > stream.max_stream_data_local)
    )


def encode_integer(value: int) -> bytes:
    """A variable-length integer below 2^30 (RFC 9000 section 16)."""
    if value < 0x40:
        return bytes((value,))
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    return (value | 0x80000000).to_bytes(4, "big")


def _decode_integer(data: bytes, start: int) -> tuple[int, int]:
    """Where a variable-length integer ends, and the integer; what is cut off reads as something too large."""
    if start >= len(data):
        return start, len(data)
    end = start + (1 << (data[start] >> 6))
    if end > len(data):
        return start, len(data)
    return end, int.from_bytes(data[start:end], "big") & (1 << 8 * (end - start) - 2) - 1

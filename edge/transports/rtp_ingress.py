"""The uplink RTP stream: decrypted RTP packets in, microphone units and reception reports out. No socket, no clock."""

from __future__ import annotations

import struct
from typing import Final

from aiortc.rtp import RtcpReceiverInfo

from core.errors import Dropped
from core.limits import MEDIA_CLOCK_HZ, MICROPHONE_PACKET_SIZE_BYTES_MAX
from edge.transports.link import MicrophoneUnit

__all__ = ["RtpIngress"]

_HEADER: Final = struct.Struct("!BBHLL")
_WINDOW: Final = 128
"""Sequence numbers remembered to tell duplicates; what is older is late."""
_WINDOW_MASK: Final = (1 << _WINDOW) - 1
_STREAM_SILENCE_S: Final = 1.0
"""A new SSRC takes over when the old one has been silent this long."""
_PACKETS_LOST_MAX: Final = (1 << 23) - 1


class RtpIngress:
    """One RTP stream of Opus, whoever its SSRC is: SRTP has already shown that it is our viewer.

    Args:
        payload_type: Opus' payload type as negotiated.
        level_extension_id: negotiated id of the audio level header extension (RFC 6464), or 0.

    Attributes:
        packets: received so far, duplicates not counted.
    """

    def __init__(self, *, payload_type: int, level_extension_id: int = 0) -> None:
        self.packets = 0
        self._payload_type = payload_type
        self._level_extension_id = level_extension_id
        self._ssrc: int | None = None
        self._newest = 0
        self._first = 0
        self._seen = 0
        self._timestamp = 0
        self._offset = 0
        """Added to this stream's timestamps, so that media time goes on when a viewer begins another stream."""
        self._arrived_at = 0.0
        self._jitter_ticks = 0.0
        self._stream_packets = 0
        self._expected_before = 0
        self._received_before = 0
        self._sender_report_middle = 0
        self._sender_report_at = 0.0

    def receive(self, packet: bytes, now: float) -> MicrophoneUnit | Dropped:
        """One decrypted RTP packet.

        Args:
            packet: header, extensions and payload.
            now: monotonic seconds.

        Returns: the unit, or `Dropped`: `rtp-malformed`, `rtp-payload-type`, `rtp-stream`, `rtp-duplicate`, `rtp-late`,
            `rtp-empty`, `oversize`.
        """
        if len(packet) < 12:
            return Dropped("rtp-malformed")
        first, second, sequence_number, timestamp, ssrc = _HEADER.unpack_from(packet)
        if second & 0x7F != self._payload_type:
            return Dropped("rtp-payload-type")
        level: int | None = None
        start = 12 + 4 * (first & 0x0F)
        if first & 0x10:
            if len(packet) < start + 4:
                return Dropped("rtp-malformed")
            extension_start = start + 4
            start = extension_start + 4 * (packet[start + 2] << 8 | packet[start + 3])
            if self._level_extension_id:
                profile = packet[extension_start - 4] << 8 | packet[extension_start - 3]
                level = self._level(packet, profile, extension_start, min(start, len(packet)))
        end = len(packet)
        if first & 0x20:
            end -= packet[-1]
            if not packet[-1]:
                return Dropped("rtp-malformed")
        if start > end or first >> 6 != 2:
            return Dropped("rtp-malformed")
        if end - start > MICROPHONE_PACKET_SIZE_BYTES_MAX:
            return Dropped("oversize")
        if start == end:
            return Dropped("rtp-empty")
        position = self._place(ssrc, sequence_number, timestamp, now)
        if isinstance(position, Dropped):
            return position
        return MicrophoneUnit(
            payload=packet[start:end],
            timestamp=position[1],
            sequence_number=position[0],
            level_dbov=None if level is None else level & 0x7F,
            voice=None if level is None else level >= 0x80,
        )

    def _level(self, packet: bytes, profile: int, position: int, end: int) -> int | None:
        """Value byte of the audio level extension (RFC 8285 section 4)."""
        wanted = self._level_extension_id
        if profile == 0xBEDE:
            while position < end:
                byte = packet[position]
                if byte >> 4 == wanted and position + 1 < end:
                    return packet[position + 1]
                position += 1 if byte == 0 else (byte & 0x0F) + 2
        elif profile & 0xFFF0 == 0x1000:
            while position + 1 < end:
                byte = packet[position]
                if byte == wanted and packet[position + 1] and position + 2 < end:
                    return packet[position + 2]
                position += 1 if byte == 0 else packet[position + 1] + 2
        return None

    def _place(self, ssrc: int, sequence_number: int, timestamp: int, now: float) -> tuple[int, int] | Dropped:
        """Unwrapped sequence number and timestamp, or why the packet is not wanted."""
        if ssrc != self._ssrc:
            if self._ssrc is not None and now - self._arrived_at < _STREAM_SILENCE_S:
                return Dropped("rtp-stream")
            self._begin(ssrc, sequence_number, timestamp, now)
            return sequence_number, timestamp + self._offset
        ahead = (sequence_number - self._newest + 0x8000 & 0xFFFF) - 0x8000
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _WINDOW_MASK if ahead < _WINDOW else 1
        elif -ahead >= _WINDOW:
            return Dropped("rtp-late")
        else:
            bit = 1 << -ahead
            if self._seen & bit:
                return Dropped("rtp-duplicate")
            self._seen |= bit
        unwrapped = self._timestamp + ((timestamp - self._timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000)
        unwrapped_sequence = self._newest + ahead
        if ahead > 0:
            transit_change = (now - self._arrived_at) * MEDIA_CLOCK_HZ - (unwrapped - self._timestamp)
            self._jitter_ticks += (abs(transit_change) - self._jitter_ticks) / 16
            self._newest = unwrapped_sequence
            self._timestamp = unwrapped
            self._arrived_at = now
        self.packets += 1
        self._stream_packets += 1
        return unwrapped_sequence, unwrapped + self._offset

    def _begin(self, ssrc: int, sequence_number: int, timestamp: int, now: float) -> None:
        if self._ssrc is not None:
            gone_on = self._timestamp + self._offset + round((now - self._arrived_at) * MEDIA_CLOCK_HZ)
            self._offset = gone_on - timestamp
        self._ssrc = ssrc
        self._first = self._newest = sequence_number
        self._seen = 1
        self._timestamp = timestamp
        self._arrived_at = now
        self._jitter_ticks = 0.0
        self._stream_packets = 1
        self._expected_before = self._received_before = 0
        self._sender_report_middle = 0
        self.packets += 1

    def receive_sender_report(self, ssrc: int, ntp_timestamp: int, now: float) -> None:
        """The viewer's sender report came; our next report names it, so that it learns the round trip."""
        if ssrc == self._ssrc:
            self._sender_report_middle = (ntp_timestamp >> 16) & 0xFFFFFFFF
            self._sender_report_at = now

    def report(self, now: float) -> list[RtcpReceiverInfo]:
        """Reception report block for the current stream, or nothing before the first packet (RFC 3550 section 6.4)."""
        if self._ssrc is None:
            return []
        expected = self._newest - self._first + 1
        expected_now, received_now = expected - self._expected_before, self._stream_packets - self._received_before
        self._expected_before, self._received_before = expected, self._stream_packets
        lost_now = expected_now - received_now
        delay = int((now - self._sender_report_at) * 65536) if self._sender_report_middle else 0
        return [
            RtcpReceiverInfo(
                ssrc=self._ssrc,
                fraction_lost=min(255, (lost_now << 8) // expected_now) if lost_now > 0 and expected_now > 0 else 0,
                packets_lost=max(-_PACKETS_LOST_MAX, min(_PACKETS_LOST_MAX, expected - self._stream_packets)),
                highest_sequence=self._newest & 0xFFFFFFFF,
                jitter=int(self._jitter_ticks) & 0xFFFFFFFF,
                lsr=self._sender_report_middle,
                dlsr=min(delay, 0xFFFFFFFF),
            )
        ]

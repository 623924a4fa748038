"""The downlink RTP stream: access units in, RTP packets and sender reports out. No socket, no clock."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from aiortc.rtp import RtcpReceiverInfo, RtcpSdesPacket, RtcpSourceInfo

from core.limits import MEDIA_CLOCK_HZ

__all__ = ["RemoteReport", "RtpEgress", "ntp_time"]

_HEADER: Final = struct.Struct("!BBHLL")
_SENDER_REPORT: Final = struct.Struct("!BBHLQLLL")
_SENDER_REPORT_TYPE: Final = 200
_NTP_EPOCH_S: Final = 2_208_988_800
_MID_PACKETS: Final = 100
"""Packets that carry the media id at first; with the SSRC in the SDP a receiver has learnt it long before."""
_SDES_CNAME: Final = 1
_RTT_SMOOTHING: Final = 0.15


def ntp_time(wall_s: float) -> int:
    """64-bit NTP timestamp of a wall time in seconds since 1970 (RFC 3550 section 4)."""
    return int((wall_s + _NTP_EPOCH_S) * (1 << 32))


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteReport:
    """What the viewer last reported of our stream.

    Attributes:
        fraction_lost: lost since its report before, 0 to 1.
        packets_lost: lost altogether (duplicates may make it negative).
        jitter_ticks: interarrival jitter in 48 kHz ticks.
        round_trip_s: smoothed round trip, None until known.
    """

    fraction_lost: float
    packets_lost: int
    jitter_ticks: int
    round_trip_s: float | None


class RtpEgress:
    """One RTP stream of Opus.

    The RTP timestamp is the unwrapped media time modulo 2^32, without an offset of its own: other messages name the
    same 32-bit timestamps. Who wants them unpredictable (RFC 3550 section 5.1) starts the media time at a random value.

    Args:
        ssrc: of the stream.
        payload_type: Opus' payload type as negotiated.
        sequence_number: the first one; below 2^15 so that an early wrap cannot confuse SRTP's rollover counter.
        mid: media id to put into the first packets; "" for none.
        mid_extension_id: negotiated id of the sdes:mid header extension, 1-14, or 0.

    Attributes:
        cname: canonical name for the SDES packet, as the answer says.
        packets, payload_bytes: sent so far.
        remote: the viewer's last report.
    """

    def __init__(
        self,
        *,
        ssrc: int,
        payload_type: int,
        sequence_number: int,
        mid: str = "",
        mid_extension_id: int = 0,
    ) -> None:
        self.ssrc = ssrc
        self._cname = ""
        self._description = b""
        self.packets = 0
        self.payload_bytes = 0
        self.remote: RemoteReport | None = None
        self._payload_type = payload_type
        self._sequence_number = sequence_number & 0x7FFF
        self._extension = _mid_extension(mid, mid_extension_id)
        self._timestamp = 0
        self._wall_s = 0.0
        self._report_ntp_middle = 0
        self._round_trip_s: float | None = None

    @property
    def cname(self) -> str:
        """See above."""
        return self._cname

    @cname.setter
    def cname(self, name: str) -> None:
        self._cname = name
        self._description = b""

    def packet(self, payload: bytes, timestamp: int, wall_s: float) -> bytes:
        """The next packet.

        Args:
            payload: an Opus packet.
            timestamp: unwrapped 48 kHz media time of its first sample.
            wall_s: wall time now, for sender reports.
        """
        self._timestamp = timestamp & 0xFFFFFFFF
        self._wall_s = wall_s
        sequence_number = self._sequence_number
        self._sequence_number = (sequence_number + 1) & 0xFFFF
        self.packets += 1
        self.payload_bytes += len(payload)
        if self._extension and self.packets <= _MID_PACKETS:
            header = _HEADER.pack(0x90, self._payload_type, sequence_number, self._timestamp, self.ssrc)
            return header + self._extension + payload
        return _HEADER.pack(0x80, self._payload_type, sequence_number, self._timestamp, self.ssrc) + payload

    def sender_report(self, reports: list[RtcpReceiverInfo], wall_s: float) -> bytes:
        """Compound RTCP packet: sender report with `reports` about the other direction, and the canonical name.

        Args:
            reports: at most 31 report blocks.
            wall_s: wall time now; the report's RTP timestamp is the media time that corresponds to it.
        Source: RFC 3550 sections 6.4.1 and 6.5.
        """
        ntp = ntp_time(wall_s)
        media_time = self._timestamp + round((wall_s - self._wall_s) * MEDIA_CLOCK_HZ)
        self._report_ntp_middle = (ntp >> 16) & 0xFFFFFFFF
        blocks = b"".join(map(bytes, reports))
        head = _SENDER_REPORT.pack(
            0x80 | len(reports),
            _SENDER_REPORT_TYPE,
            _SENDER_REPORT.size // 4 - 1 + len(blocks) // 4,
            self.ssrc,
            ntp,
            media_time & 0xFFFFFFFF,
            self.packets & 0xFFFFFFFF,
            self.payload_bytes & 0xFFFFFFFF,
        )
        return head + blocks + self.description()

    def description(self) -> bytes:
        """RTCP packet with the stream's canonical name."""
        if not self._description:
            source = RtcpSourceInfo(ssrc=self.ssrc, items=[(_SDES_CNAME, self.cname.encode())])
            self._description = bytes(RtcpSdesPacket(chunks=[source]))
        return self._description

    def receive_report(self, report: RtcpReceiverInfo, wall_s: float) -> None:
        """A report block about this stream came (others are passed over)."""
        if report.ssrc != self.ssrc:
            return
        if report.lsr and report.lsr == self._report_ntp_middle and report.dlsr:
            middle = (ntp_time(wall_s) >> 16) & 0xFFFFFFFF
            round_trip_s = ((middle - report.lsr - report.dlsr) & 0xFFFFFFFF) / 65536
            if round_trip_s < 30:
                known = self._round_trip_s
                self._round_trip_s = round_trip_s if known is None else known + _RTT_SMOOTHING * (round_trip_s - known)
        self.remote = RemoteReport(
            fraction_lost=report.fraction_lost / 256,
            packets_lost=report.packets_lost,
            jitter_ticks=report.jitter,
            round_trip_s=self._round_trip_s,
        )


def _mid_extension(mid: str, extension_id: int) -> bytes:
    """RTP header extension block with the media id (RFC 8285 section 4.2), or b"" when it does not fit one byte."""
    value = mid.encode()
    if not 0 < len(value) <= 16 or not 0 < extension_id < 15:
        return b""
    body = bytes([extension_id << 4 | len(value) - 1]) + value
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", 0xBEDE, len(body) // 4) + body

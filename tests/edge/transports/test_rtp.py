"""RTP both ways: what leaves can be parsed by aiortc, what comes is placed, told apart and counted."""

from __future__ import annotations

import struct

import pytest
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtcpPacket, RtcpReceiverInfo, RtcpSdesPacket, RtcpSrPacket, RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Dropped
from core.limits import MICROPHONE_PACKET_SIZE_BYTES_MAX
from edge.transports.link import MicrophoneUnit
from edge.transports.rtp_egress import RtpEgress, ntp_time
from edge.transports.rtp_ingress import RtpIngress
from edge.transports.sdp import AUDIO_LEVEL_URI, MID_URI

SSRC = 0x11223344
WALL_S = 1_800_000_000.25


def extensions() -> HeaderExtensionsMap:
    known = HeaderExtensionsMap()
    known.configure(
        RTCRtpParameters(
            headerExtensions=[
                RTCRtpHeaderExtensionParameters(id=4, uri=MID_URI),
                RTCRtpHeaderExtensionParameters(id=2, uri=AUDIO_LEVEL_URI),
            ]
        )
    )
    return known


def egress(**changes: object) -> RtpEgress:
    arguments = {
        "ssrc": SSRC,
        "payload_type": 111,
        "sequence_number": 0x7FFE,
        "mid": "0",
        "mid_extension_id": 4,
        **changes,
    }
    return RtpEgress(**arguments)  # type: ignore[arg-type]


def test_packets_as_aiortc_reads_them() -> None:
    stream = egress()
    for index in range(300):
        packet = RtpPacket.parse(stream.packet(b"\xf8" + bytes([index % 256]), (1 << 32) - 1920 + index * 960, WALL_S))
        assert packet.payload == b"\xf8" + bytes([index % 256])
        assert packet.sequence_number == (0x7FFE + index) & 0xFFFF
        assert packet.timestamp == (-1920 + index * 960) % (1 << 32)
        assert (packet.ssrc, packet.payload_type, packet.marker) == (SSRC, 111, 0)
    assert (stream.packets, stream.payload_bytes) == (300, 600)


def test_the_media_id_leads_the_first_packets_only() -> None:
    stream = egress()
    mids = [RtpPacket.parse(stream.packet(b"\xf8", 0, WALL_S), extensions()).extensions.mid for _ in range(150)]
    assert mids[:100] == ["0"] * 100
    assert mids[100:] == [None] * 50


@pytest.mark.parametrize(("mid", "extension_id"), [("", 4), ("0", 0), ("x" * 17, 4), ("0", 15)])
def test_no_media_id_where_none_fits(mid: str, extension_id: int) -> None:
    stream = egress(mid=mid, mid_extension_id=extension_id)
    assert len(stream.packet(b"\xf8", 0, WALL_S)) == 13


def test_sender_reports_name_one_moment_on_both_clocks() -> None:
    stream = egress()
    stream.cname = "name"
    stream.packet(b"\xf8" * 10, 48_000, WALL_S)
    report, description = RtcpPacket.parse(stream.sender_report([], WALL_S + 0.5))
    assert isinstance(report, RtcpSrPacket)
    assert report.sender_info.ntp_timestamp == ntp_time(WALL_S + 0.5)
    assert report.sender_info.rtp_timestamp == 48_000 + 24_000
    assert (report.sender_info.packet_count, report.sender_info.octet_count) == (1, 10)
    assert isinstance(description, RtcpSdesPacket)
    assert description.chunks[0].items == [(1, b"name")]


def test_round_trip_from_receiver_reports() -> None:
    stream = egress()
    stream.packet(b"\xf8", 0, WALL_S)
    sent = RtcpPacket.parse(stream.sender_report([], WALL_S))[0]
    assert isinstance(sent, RtcpSrPacket)
    middle = sent.sender_info.ntp_timestamp >> 16 & 0xFFFFFFFF

    def report(ssrc: int, lsr: int) -> RtcpReceiverInfo:
        return RtcpReceiverInfo(
            ssrc=ssrc, fraction_lost=64, packets_lost=3, highest_sequence=9, jitter=480, lsr=lsr, dlsr=65_536
        )

    stream.receive_report(report(1, middle), WALL_S + 1.06)
    assert stream.remote is None
    stream.receive_report(report(SSRC, 0), WALL_S + 1.06)
    assert stream.remote is not None
    assert stream.remote.round_trip_s is None
    stream.receive_report(report(SSRC, middle), WALL_S + 1.06)
    assert stream.remote.fraction_lost == 0.25
    assert stream.remote.round_trip_s == pytest.approx(0.06, abs=0.001)


# --- ingress -----------------------------------------------------------------------------------------------------


def incoming(
    sequence_number: int,
    timestamp: int,
    payload: bytes = b"\x78abc",
    *,
    level: tuple[bool, int] | None = (True, 40),
    ssrc: int = SSRC,
    payload_type: int = 111,
    padding: int = 0,
) -> bytes:
    packet = RtpPacket(
        payload_type=payload_type,
        sequence_number=sequence_number & 0xFFFF,
        timestamp=timestamp & 0xFFFFFFFF,
        ssrc=ssrc,
        payload=payload,
    )
    packet.extensions.mid = "0"
    packet.extensions.audio_level = level
    packet.padding_size = padding
    return packet.serialize(extensions())


def ingress() -> RtpIngress:
    return RtpIngress(payload_type=111, level_extension_id=2)


def unit(stream: RtpIngress, packet: bytes, now: float = 0.0) -> MicrophoneUnit:
    result = stream.receive(packet, now)
    assert isinstance(result, MicrophoneUnit), result
    return result


def reason(stream: RtpIngress, packet: bytes, now: float = 0.0) -> str:
    result = stream.receive(packet, now)
    assert isinstance(result, Dropped), result
    return result.reason


def test_unwrapping_and_levels() -> None:
    stream = ingress()
    for index in range(200_000 // 960 + 70_000 // 960):
        heard = unit(stream, incoming(0xFFF0 + index, (1 << 32) - 4_800 + index * 960))
        assert heard.sequence_number == 0xFFF0 + index
        assert heard.timestamp == (1 << 32) - 4_800 + index * 960
        assert (heard.payload, heard.level_dbov, heard.voice) == (b"\x78abc", 40, True)
    assert unit(ingress(), incoming(1, 0, level=(False, 127))).voice is False
    assert unit(ingress(), incoming(1, 0, level=None)).level_dbov is None


def test_two_byte_extensions_csrc_and_padding() -> None:
    extension = struct.pack("!HH", 0x1000, 2) + bytes([9, 0, 2, 1, 0x80 | 33, 0, 0, 0])
    header = struct.pack("!BBHLL", 0x92 | 0x20, 111, 7, 960, SSRC) + bytes(8)
    heard = unit(ingress(), header + extension + b"\x78ab" + b"\x00\x00\x03")
    assert (heard.payload, heard.level_dbov, heard.voice) == (b"\x78ab", 33, True)
    assert unit(ingress(), incoming(1, 0, padding=20)).payload == b"\x78abc"


def test_reordered_duplicate_and_late() -> None:
    stream = ingress()
    unit(stream, incoming(1_000, 0))
    unit(stream, incoming(1_002, 1_920))
    late = unit(stream, incoming(1_001, 960))
    assert (late.sequence_number, late.timestamp) == (1_001, 960)
    for sequence_number in (1_000, 1_001, 1_002):
        assert reason(stream, incoming(sequence_number, 0)) == "rtp-duplicate"
    unit(stream, incoming(1_300, 300 * 960))
    assert reason(stream, incoming(1_003, 0)) == "rtp-late"
    assert stream.packets == 4


def test_what_is_no_microphone_packet() -> None:
    stream = ingress()
    assert reason(stream, b"") == "rtp-malformed"
    assert reason(stream, bytes(40)) == "rtp-payload-type"
    assert reason(stream, incoming(1, 0, payload_type=112)) == "rtp-payload-type"
    assert reason(stream, incoming(1, 0, b"")) == "rtp-empty"
    assert reason(stream, incoming(1, 0, bytes(MICROPHONE_PACKET_SIZE_BYTES_MAX + 1))) == "oversize"
    assert reason(stream, struct.pack("!BBHLL", 0x90, 111, 1, 0, SSRC) + b"\xbe\xde\x00\x09") == "rtp-malformed"
    assert reason(stream, struct.pack("!BBHLL", 0x90, 111, 1, 0, SSRC)) == "rtp-malformed"
    assert reason(stream, struct.pack("!BBHLL", 0xA0, 111, 1, 0, SSRC) + b"\x00") == "rtp-malformed"
    assert reason(stream, struct.pack("!BBHLL", 0xA0, 111, 1, 0, SSRC) + b"\xff") == "rtp-malformed"
    assert stream.packets == 0
    unit(stream, incoming(1, 0))
    assert reason(stream, incoming(1, 0, ssrc=5), now=0.5) == "rtp-stream"
    # Media time goes on: who waits for the packet after the last one must not wait for ever.
    assert unit(stream, incoming(9, 77, ssrc=5), now=2.0).timestamp == 2 * 48_000
    assert unit(stream, incoming(10, 77 + 960, ssrc=5), now=2.02).timestamp == 2 * 48_000 + 960


@given(st.binary(max_size=64))
def test_any_bytes(data: bytes) -> None:
    result = ingress().receive(data, 0.0)
    assert isinstance(result, Dropped) or result.payload


@given(st.binary(max_size=60))
def test_any_bytes_behind_a_good_header(data: bytes) -> None:
    result = ingress().receive(struct.pack("!BBHLL", 0x90, 111, 1, 0, SSRC) + data, 0.0)
    assert isinstance(result, Dropped) or result.payload


def test_reception_reports() -> None:
    stream = ingress()
    assert stream.report(0.0) == []
    for index in [0, 1, 2, 3, 6, 7, 8, 9]:
        unit(stream, incoming(0xFFFE + index, index * 960), now=index * 0.02)
    stream.receive_sender_report(SSRC, ntp_time(WALL_S), now=1.0)
    (block,) = stream.report(1.5)
    assert (block.ssrc, block.packets_lost, block.fraction_lost) == (SSRC, 2, 2 * 256 // 10)
    assert block.highest_sequence == 0xFFFE + 9
    assert block.jitter < 2
    assert (block.lsr, block.dlsr) == (ntp_time(WALL_S) >> 16 & 0xFFFFFFFF, 32_768)
    (block,) = stream.report(1.5)
    assert block.fraction_lost == 0
    assert bytes(block)


def test_jitter_follows_arrivals() -> None:
    stream = ingress()
    for index in range(400):
        unit(stream, incoming(index, index * 960), now=index * 0.02 + (0.005 if index % 2 else 0.0))
    (block,) = stream.report(9.0)
    assert block.jitter == pytest.approx(240, abs=10)

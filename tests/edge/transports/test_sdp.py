"""Offers: good ones from a real peer, and everything that may be wrong with one."""

from __future__ import annotations

import re

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RemoteProtocolError
from core.limits import ICE_CANDIDATES_MAX, SDP_SIZE_BYTES_MAX
from edge.transports.sdp import canonical_name, complete_answer, parse_candidates, parse_offer
from tests.edge.peers import Viewer

CANDIDATE = "a=candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host"


@pytest.fixture
async def offer() -> str:
    viewer = Viewer([])
    text = await viewer.offer()
    await viewer.aclose()
    return text


def refused(sdp: str) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_offer(sdp)
    assert str(caught.value)
    return caught.value.code


async def test_good_offers(offer: str) -> None:
    checked = parse_offer(offer)
    assert checked.microphone
    assert checked.audio_mid == "1" or checked.audio_mid == "0"
    assert checked.payload_type == 96
    assert checked.level_extension_id == 2
    assert checked.mid_extension_id == 1
    assert checked.candidates
    assert "a=candidate" not in checked.sdp
    assert not parse_offer(offer.replace("a=sendrecv", "a=recvonly")).microphone
    assert parse_offer(offer.replace("\r\n", "\n")).payload_type == 96


async def test_names_are_no_candidates(offer: str) -> None:
    named = offer.replace("a=candidate:", "a=candidate:9 1 udp 1 6a7b.local 999 typ host\r\na=candidate:", 1)
    assert all(not candidate.ip.endswith(".local") for candidate in parse_offer(named).candidates)
    flood = offer.replace("a=candidate:", (CANDIDATE + "\r\n") * 100 + "a=candidate:", 1)
    assert len(parse_offer(flood).candidates) == ICE_CANDIDATES_MAX


async def test_refused_offers(offer: str) -> None:
    assert refused("") == "bad-sdp"
    assert refused("v=1") == "bad-sdp"
    assert refused("{}") == "bad-sdp"
    assert refused("v=0\r\nx\r\n" + "a" * SDP_SIZE_BYTES_MAX) == "sdp-too-large"
    assert refused("v=0\r\n") == "no-audio"
    assert refused(re.sub("m=audio.*?(?=m=|$)", "", offer, flags=re.DOTALL)) == "no-audio"
    assert refused(re.sub("m=application.*?(?=m=|$)", "", offer, flags=re.DOTALL)) == "no-data-channel"
    assert refused(offer.replace("m=audio", "m=video")) == "no-audio"
    audio = re.search("m=audio.*?(?=m=|$)", offer, flags=re.DOTALL)
    assert audio is not None
    assert refused(offer + audio[0]) == "unsupported-media"
    assert refused(offer.replace("opus/48000/2", "vorbis/48000/2")) == "unsupported-codec"
    assert refused(offer.replace("opus/48000/2", "opus/16000")) == "unsupported-codec"
    assert refused(offer.replace("a=sendrecv", "a=sendonly")) == "bad-direction"
    assert refused(offer.replace("a=sendrecv", "a=inactive")) == "bad-direction"
    assert refused(offer.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0")) == "no-bundle"
    assert refused(re.sub("a=ice-pwd:.*\r\n", "", offer)) == "bad-sdp"
    assert refused(re.sub("a=fingerprint:.*\r\n", "", offer)) == "bad-sdp"
    assert refused(re.sub("a=setup:.*\r\n", "", offer)) == "bad-sdp"
    assert refused(re.sub("a=mid:.*\r\n", "", offer)) == "bad-sdp"
    assert refused(offer.replace("a=sctp-port:5000\r\n", "")) == "no-data-channel"


async def test_every_truncation_is_refused_or_still_complete(offer: str) -> None:
    for length in range(0, len(offer) - 2, 7):
        with pytest.raises(RemoteProtocolError):
            parse_offer(offer[:length].rstrip("\r\n"))


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    for sdp in (text, "v=0\r\n" + text + "\n", f"v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\n{text}\n"):
        with pytest.raises(RemoteProtocolError):
            parse_offer(sdp)


async def test_the_answer_asks_for_dtx_and_fec(offer: str) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    text = complete_answer("a=x\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-mux\r\n", 111)
    assert text.splitlines()[2] == "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1"
    assert complete_answer("a=x\r\n", 111) == "a=x\r\n"
    await peer.close()
    assert SessionDescription.parse(offer).media


def test_canonical_names() -> None:
    assert canonical_name("v=0\r\na=ssrc:12 cname:abc-1\r\n") == "abc-1"
    assert canonical_name("v=0\r\n") == ""


def test_trickled_candidates() -> None:
    fragment = f"a=ice-ufrag:abcd\r\na=ice-pwd:efgh\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{CANDIDATE}\r\n"
    (candidate,) = parse_candidates(fragment)
    assert (candidate.ip, candidate.port) == ("192.0.2.7", 5000)
    assert parse_candidates("a=end-of-candidates\r\n") == ()
    assert parse_candidates("a=candidate:1 1 tcp 1 192.0.2.7 9 typ host tcptype active\r\n") == ()


@pytest.mark.parametrize("fragment", ["", "garbage", "a=candidate:\r\n", "a=candidate:1 x udp 1 h 1 typ host"])
def test_bad_fragments(fragment: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_candidates(fragment)
    assert caught.value.code == "bad-candidate"


def test_too_large_a_fragment() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_candidates("a" * (SDP_SIZE_BYTES_MAX + 1))
    assert caught.value.code == "sdp-too-large"

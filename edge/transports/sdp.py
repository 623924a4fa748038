"""Session descriptions: what an offer must look like, what the answer adds, and trickled candidates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aiortc import RTCIceCandidate
from aiortc.sdp import MediaDescription, SessionDescription, candidate_from_sdp

from core.errors import RemoteProtocolError
from core.limits import ICE_CANDIDATES_MAX, SDP_SIZE_BYTES_MAX

__all__ = [
    "AUDIO_LEVEL_URI",
    "MID_URI",
    "Offer",
    "canonical_name",
    "complete_answer",
    "parse_candidates",
    "parse_offer",
]

AUDIO_LEVEL_URI: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
"""RFC 6464: client-to-mixer audio level."""
MID_URI: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"
OPUS_PARAMETERS: Final = "minptime=10;useinbandfec=1;usedtx=1"
"""What we ask of the viewer's encoder: recoverable loss, and nearly nothing in silence (RFC 7587 section 6.1)."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9+/=_-]{1,64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A checked offer.

    Attributes:
        sdp: the offer without its candidates, which are added later, so that the answer waits for no name to resolve.
        candidates: its candidates, at most ICE_CANDIDATES_MAX.
        audio_mid: media id of the audio m-line.
        payload_type: Opus' payload type, 96-127.
        microphone: the viewer sends audio too.
        level_extension_id, mid_extension_id: offered header extension ids, 0 when not offered.
    """

    sdp: str
    candidates: tuple[RTCIceCandidate, ...]
    audio_mid: str
    payload_type: int
    microphone: bool
    level_extension_id: int
    mid_extension_id: int


def parse_offer(sdp: str) -> Offer:
    """Check an offer.

    Raises: RemoteProtocolError: `sdp-too-large`, `bad-sdp` (truncated, not SDP, without ICE or DTLS parameters),
        `no-audio`, `no-data-channel`, `unsupported-media` (video or a second m-line of a kind),
        `unsupported-codec` (no Opus), `bad-direction`, `no-bundle`.
    """
    if len(sdp) > SDP_SIZE_BYTES_MAX:
        raise RemoteProtocolError("sdp-too-large", f"An offer has at most {SDP_SIZE_BYTES_MAX} bytes.")
    description = _parse(sdp)
    if not sdp.endswith("\n"):
        raise RemoteProtocolError("bad-sdp", "The offer is truncated: its last line does not end.")
    audio = _check_media(description)
    opus = [codec for codec in audio.rtp.codecs if codec.mimeType.lower() == "audio/opus" and codec.clockRate == 48_000]
    if not opus or not 96 <= (opus[0].payloadType or 0) <= 127:
        raise RemoteProtocolError("unsupported-codec", "The audio must be Opus at 48 kHz with a dynamic payload type.")
    if audio.direction not in ("sendrecv", "recvonly"):
        raise RemoteProtocolError("bad-direction", "The audio must be offered as sendrecv or recvonly.")
    extensions = {extension.uri: extension.id for extension in audio.rtp.headerExtensions}
    return Offer(
        sdp=_without_candidates(sdp),
        candidates=tuple(_usable(audio.ice_candidates)),
        audio_mid=audio.rtp.muxId,
        payload_type=opus[0].payloadType or 0,
        microphone=audio.direction == "sendrecv",
        level_extension_id=extensions.get(AUDIO_LEVEL_URI, 0),
        mid_extension_id=extensions.get(MID_URI, 0),
    )


def complete_answer(sdp: str, payload_type: int) -> str:
    """The answer with what we ask of the viewer's Opus encoder, which aiortc does not write."""
    line = f"a=rtpmap:{payload_type} opus/48000/2\r\n"
    return sdp.replace(line, f"{line}a=fmtp:{payload_type} {OPUS_PARAMETERS}\r\n", 1)


def canonical_name(sdp: str) -> str:
    """The stream's canonical name as the answer says (RFC 5576 section 6.1), "" if it does not."""
    found = re.search(r"^a=ssrc:\d+ cname:(\S+)", sdp, re.MULTILINE)
    return found[1] if found else ""


def parse_candidates(fragment: str) -> tuple[RTCIceCandidate, ...]:
    """Candidates of a trickle fragment (RFC 8840), at most ICE_CANDIDATES_MAX of them.

    Lines that are no candidates are passed over: every candidate goes to the one bundled transport.

    Raises: RemoteProtocolError: `sdp-too-large`, `bad-candidate`, `ice-restart` (credentials changed is not told here).
    """
    if len(fragment) > SDP_SIZE_BYTES_MAX:
        raise RemoteProtocolError("sdp-too-large", f"A fragment has at most {SDP_SIZE_BYTES_MAX} bytes.")
    candidates: list[RTCIceCandidate] = []
    known = False
    for line in fragment.splitlines():
        if line.startswith("a=candidate:"):
            try:
                candidates.append(candidate_from_sdp(line.removeprefix("a=candidate:")))
            except (AssertionError, ValueError, IndexError) as error:
                raise RemoteProtocolError("bad-candidate", "A candidate line cannot be understood.") from error
        known = known or line.startswith(("a=candidate:", "a=end-of-candidates", "a=ice-ufrag:", "a=mid:", "m="))
    if not known:
        raise RemoteProtocolError("bad-candidate", "The fragment has neither candidates nor an end of candidates.")
    return tuple(_usable(candidates))


def _usable(candidates: list[RTCIceCandidate]) -> list[RTCIceCandidate]:
    """UDP candidates with an address. Names (mDNS) are left out: the viewer's own checks reveal its address."""
    usable = [
        candidate
        for candidate in candidates
        if candidate.protocol.lower() == "udp"
        and candidate.component == 1
        and 0 < candidate.port < 65_536
        and not candidate.ip.endswith(".local")
    ]
    return usable[:ICE_CANDIDATES_MAX]


def _parse(sdp: str) -> SessionDescription:
    if not sdp.startswith("v=0"):
        raise RemoteProtocolError("bad-sdp", "The offer is not SDP.")
    try:
        return SessionDescription.parse(sdp)
    except Exception as error:  # the parser answers bad lines with whatever its code runs into
        raise RemoteProtocolError("bad-sdp", "The offer cannot be understood.") from error


def _check_media(description: SessionDescription) -> MediaDescription:
    kinds = [media.kind for media in description.media]
    if "audio" not in kinds:
        raise RemoteProtocolError("no-audio", "The offer has no audio m-line.")
    if "application" not in kinds:
        raise RemoteProtocolError("no-data-channel", "The offer has no data channel.")
    if len(kinds) != 2:
        raise RemoteProtocolError("unsupported-media", "The offer must have one audio m-line and one data channel.")
    for media in description.media:
        ice, dtls = media.ice, media.dtls
        if ice is None or not ice.usernameFragment or not ice.password or dtls is None or not dtls.fingerprints:
            raise RemoteProtocolError("bad-sdp", "The offer lacks ICE credentials or a DTLS fingerprint.")
        if not _TOKEN.match(media.rtp.muxId):
            raise RemoteProtocolError("bad-sdp", "An m-line has no media id.")
    mids = [media.rtp.muxId for media in description.media]
    bundle = next((group for group in description.group if group.semantic == "BUNDLE"), None)
    if bundle is None or sorted(str(item) for item in bundle.items) != sorted(mids) or mids[0] == mids[1]:
        raise RemoteProtocolError("no-bundle", "Audio and data must be bundled on one transport.")
    data = description.media[kinds.index("application")]
    if data.profile != "UDP/DTLS/SCTP" or data.sctp_port is None:
        raise RemoteProtocolError("no-data-channel", "The data channel must be UDP/DTLS/SCTP with a port.")
    return description.media[kinds.index("audio")]


def _without_candidates(sdp: str) -> str:
    lines = [line for line in sdp.splitlines() if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    return "\r\n".join(lines) + "\r\n"

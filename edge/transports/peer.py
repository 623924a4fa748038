"""aiortc, reduced to what a link needs: ICE, DTLS and the data channel are its work, RTP and RTCP are ours.

aiortc sends through a task per track and receives through a queue, a jitter buffer and a decoder thread per track. A
conductor with one loop for all sessions wants neither: its packets go out at once, and microphone packets are taken as
they arrive. Everything that reaches into aiortc's and aioice's insides is in this file:

- `sender.send` and `receiver.receive` (aiortc calls them once DTLS is up) are replaced on the instance, so that neither
  tasks nor threads start; `sender.stop` and `receiver.stop` with them.
- `StunProtocol.datagram_received` (the event loop calls it for every datagram) is replaced on the instances: SRTP is
  told by its first byte, before aioice takes it for a broken STUN message and raises.
- `Connection.data_received` (aioice calls it for all else that is not STUN) is replaced on the instance. It also guards
  what lies behind: an empty or oversize datagram, which anybody may send, would end aiortc's receiving task.
- SRTP sessions and the selected pair of `RTCDtlsTransport` are used directly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import pylibsrtp
from aiortc import RTCConfiguration, RTCDataChannel, RTCIceCandidate, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcconfiguration import RTCBundlePolicy
from aiortc.rtcdtlstransport import State as DtlsState
from aiortc.rtcrtpparameters import RTCRtpCodecCapability

from core.errors import RemoteProtocolError
from core.limits import ICE_CANDIDATES_MAX, LINK_INBOX_DATAGRAMS_MAX
from edge.transports.sdp import Offer, complete_answer

__all__ = ["Peer"]

_log = logging.getLogger(__name__)

_DATAGRAM_SIZE_BYTES_MAX: Final = 1_500
_OPUS: Final = RTCRtpCodecCapability(mimeType="audio/opus", clockRate=48_000, channels=2)
_CONNECTED: Final = DtlsState.CONNECTED
_LOOPBACK: Final = "127.0.0.1"


class Peer:
    """One peer connection.

    Args:
        loopback: offer a candidate on 127.0.0.1 too, which aioice leaves out.
        on_ready: DTLS is up, media may flow.
        on_rtp: a decrypted RTP packet came.
        on_rtcp: a decrypted RTCP packet came.
        on_channel: the viewer opened a data channel.
        on_lost: ICE or DTLS failed or was closed by the viewer; the reason.
        on_dropped: a datagram was dropped; the reason.
    """

    def __init__(
        self,
        *,
        loopback: bool,
        on_ready: Callable[[], None],
        on_rtp: Callable[[bytes], None],
        on_rtcp: Callable[[bytes], None],
        on_channel: Callable[[RTCDataChannel], None],
        on_lost: Callable[[str], None],
        on_dropped: Callable[[str], None],
    ) -> None:
        self._on_ready = on_ready
        self._on_rtp = on_rtp
        self._on_rtcp = on_rtcp
        self._on_lost = on_lost
        self._on_dropped = on_dropped
        self._candidates = 0
        configuration = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        self._connection = RTCPeerConnection(configuration)
        self._transceiver = self._connection.addTransceiver("audio", direction="sendrecv")
        self._transceiver.setCodecPreferences([_OPUS])
        self._dtls = self._transceiver.receiver.transport
        self._ice = self._dtls.transport.iceGatherer._connection
        self._nominated = self._ice._nominated
        self._take_media()
        self._follow_gathering(loopback)
        self._connection.on("connectionstatechange", self._state_changed)
        self._connection.on("datachannel", on_channel)

    @property
    def ssrc(self) -> int:
        """SSRC of the downlink stream, as the answer says."""
        return self._transceiver.sender._ssrc

    @property
    def mid(self) -> str:
        """Media id of the audio m-line."""
        return self._transceiver.mid or ""

    @property
    def ready(self) -> bool:
        """Media may flow."""
        return self._dtls._state is _CONNECTED

    async def answer(self, offer: Offer) -> str:
        """Accept a checked offer and start connecting.

        Raises: RemoteProtocolError: `bad-sdp`.
        """
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type="offer"))
            answer = await self._connection.createAnswer()
            text = complete_answer(answer.sdp, offer.payload_type)
            await self._connection.setLocalDescription(RTCSessionDescription(sdp=text, type="answer"))
        except Exception as error:  # aiortc answers descriptions it does not like with many kinds of error
            _log.info("an offer was refused: %r", error)
            raise RemoteProtocolError("bad-sdp", "The offer cannot be answered.") from error
        await self.add_candidates(offer.candidates)
        return self._connection.localDescription.sdp

    async def add_candidates(self, candidates: Sequence[RTCIceCandidate]) -> None:
        """Add remote candidates of the one transport.

        Raises: RemoteProtocolError: `too-many-candidates`.
        """
        if self._candidates + len(candidates) > ICE_CANDIDATES_MAX:
            raise RemoteProtocolError("too-many-candidates", f"A link takes at most {ICE_CANDIDATES_MAX} candidates.")
        self._candidates += len(candidates)
        for candidate in candidates:
            await self._dtls.transport.addRemoteCandidate(candidate)

    def send_rtp(self, packet: bytes) -> bool:
        """Protect and send one RTP packet at once. False: not connected, or it does not fit."""
        return self._send(packet, rtcp=False)

    def send_rtcp(self, packet: bytes) -> bool:
        """Protect and send one compound RTCP packet at once."""
        return self._send(packet, rtcp=True)

    def _send(self, packet: bytes, *, rtcp: bool) -> bool:
        pair = self._nominated.get(1)
        if pair is None or self._dtls._state is not _CONNECTED:
            return False
        session = self._dtls._tx_srtp
        try:
            data = session.protect_rtcp(packet) if rtcp else session.protect(packet)
        except (pylibsrtp.Error, ValueError, TypeError) as error:
            _log.debug("SRTP refuses a packet of %d bytes: %s", len(packet), error)
            return False
        transport = pair.protocol.transport
        if transport.is_closing():
            return False
        transport.sendto(data, pair.remote_addr)
        return True

    async def aclose(self) -> None:
        """Free sockets, tasks and timers."""
        await self._connection.close()

    # --- inside aiortc -------------------------------------------------------------------------------------------

    def _take_media(self) -> None:
        async def ready(_parameters: object) -> None:
            self._on_ready()

        async def nothing(*_arguments: object) -> None:
            return None

        sender = cast(Any, self._transceiver.sender)
        receiver = cast(Any, self._transceiver.receiver)
        sender.send, sender.stop = ready, nothing
        receiver.receive, receiver.stop = nothing, nothing
        connection = cast(Any, self._ice)
        self._to_aiortc: Callable[[bytes, int], None] = connection.data_received
        connection.data_received = self._datagram_received

    def _follow_gathering(self, loopback: bool) -> None:
        connection = cast(Any, self._ice)
        gather = connection.get_component_candidates

        async def followed(component: int, addresses: list[str], **options: Any) -> Any:
            if loopback and _LOOPBACK not in addresses:
                addresses = [*addresses, _LOOPBACK]
            candidates = await gather(component=component, addresses=addresses, **options)
            for protocol in connection._protocols:
                self._follow_socket(protocol)
            return candidates

        connection.get_component_candidates = followed

    def _follow_socket(self, protocol: Any) -> None:
        to_aioice = protocol.datagram_received

        def datagram_received(datagram: bytes, address: tuple[Any, ...]) -> None:
            # RFC 7983: the first byte tells SRTP from all else.
            if datagram and 128 <= datagram[0] < 192 and 13 <= len(datagram) <= _DATAGRAM_SIZE_BYTES_MAX:
                self._srtp_received(datagram)
            else:
                to_aioice(datagram, address)

        protocol.datagram_received = datagram_received

    def _datagram_received(self, datagram: bytes, component: int) -> None:
        """Every datagram that is neither STUN nor SRTP, from whoever sent it (RFC 7983)."""
        if len(datagram) < 13 or len(datagram) > _DATAGRAM_SIZE_BYTES_MAX:
            self._on_dropped("datagram-size")
        elif not 20 <= datagram[0] < 64:
            self._on_dropped("datagram-unknown")
        elif self._ice._queue.qsize() >= LINK_INBOX_DATAGRAMS_MAX:
            self._on_dropped("inbox-full")
        else:
            self._to_aiortc(datagram, component)

    def _srtp_received(self, datagram: bytes) -> None:
        session = self._dtls._rx_srtp
        if session is None:
            self._on_dropped("srtp-early")
            return
        rtcp = 192 <= datagram[1] <= 208
        try:
            packet = session.unprotect_rtcp(datagram) if rtcp else session.unprotect(datagram)
        except (pylibsrtp.Error, ValueError) as error:
            self._on_dropped("srtp-replayed" if "replay" in str(error) else "srtp-refused")
            return
        (self._on_rtcp if rtcp else self._on_rtp)(packet)

    def _state_changed(self) -> None:
        state = self._connection.connectionState
        if state in ("failed", "closed"):
            self._on_lost("connection-failed" if state == "failed" else "closed-by-viewer")

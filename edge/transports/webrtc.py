"""WebRTC links: the access unit is the RTP payload, untouched, both ways; control messages go over a data channel.

A viewer that opens a second data channel is sent a copy of each unit on it (`edge.transports.unit_channel`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from aiortc import RTCDataChannel
from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpRrPacket, RtcpSrPacket

from core.errors import Dropped
from core.limits import (
    ACCESS_UNIT_SIZE_BYTES_MAX,
    CONTROL_BUFFER_SIZE_BYTES_MAX,
    CONTROL_MESSAGE_SIZE_BYTES_MAX,
    LINK_CONNECT_S_MAX,
    LINK_SILENCE_S_MAX,
)
from edge.transports.link import LinkEvents
from edge.transports.peer import Peer
from edge.transports.rtp_egress import RemoteReport, RtpEgress
from edge.transports.rtp_ingress import RtpIngress
from edge.transports.sdp import Offer, canonical_name, parse_candidates, parse_offer
from edge.transports.unit_channel import UnitChannel, is_unit_channel

__all__ = ["CONTROL_LABEL", "WebRtcLink", "WebRtcTransport"]

_log = logging.getLogger(__name__)

CONTROL_LABEL: Final = "control"
"""Label of the data channel that carries RTVI messages."""
_REPORT_INTERVAL_S: Final = 1.0
_CONTROL_QUEUE_MESSAGES_MAX: Final = 64
"""Control messages kept until the viewer's channel is open; overflow drops the newest."""


class WebRtcTransport:
    """Answers offers with links.

    Args:
        loopback: offer candidates on 127.0.0.1 too: for viewers on the same machine.
        clock: monotonic seconds, the `now` of all events.
        wall_clock: wall seconds, for RTCP.
        entropy: numbers in [0, 1) for first sequence numbers and report intervals.
        on_dropped: counts what is dropped, by reason.
    """

    def __init__(
        self,
        *,
        loopback: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        entropy: Callable[[], float] = random.random,
        on_dropped: Callable[[str], None] | None = None,
    ) -> None:
        self.loopback = loopback
        self.clock = clock
        self.wall_clock = wall_clock
        self.entropy = entropy
        self.on_dropped = on_dropped
        self._links: set[WebRtcLink] = set()

    def __len__(self) -> int:
        return len(self._links)

    async def accept(self, offer_sdp: str, events: LinkEvents) -> tuple[WebRtcLink, str]:
        """Answer an offer.

        Args:
            offer_sdp: at most SDP_SIZE_BYTES_MAX characters.
            events: told of the link from now on; `on_closed` comes once if this returns, and not at all if it raises.

        Returns: the link, which is still connecting, and the answer.
        Raises: RemoteProtocolError: see `edge.transports.sdp.parse_offer`.
        """
        offer = parse_offer(offer_sdp)
        link = WebRtcLink(self, offer, events)
        self._links.add(link)
        try:
            return link, await link.answer(offer)
        except BaseException:
            link.events = None
            await link.aclose("signalling-failed")
            raise

    def forget(self, link: WebRtcLink) -> None:
        """A link has freed everything."""
        self._links.discard(link)

    async def aclose(self, reason: str = "pop-stopping") -> None:
        """Close all links."""
        await asyncio.gather(*(link.aclose(reason) for link in tuple(self._links)))


class WebRtcLink:
    """One viewer's link; implements `edge.transports.link.ViewerLink`. Made by `WebRtcTransport.accept`.

    Attributes:
        protocol: "webrtc".
        plays_sound_itself: False, NetEQ plays it.
        microphone: the viewer offered to send audio.
        dropped: what was dropped, by reason.
    """

    protocol = "webrtc"
    plays_sound_itself = False

    def __init__(self, transport: WebRtcTransport, offer: Offer, events: LinkEvents) -> None:
        self.events: LinkEvents | None = events
        self.microphone = offer.microphone
        self.dropped: Counter[str] = Counter()
        self._transport = transport
        self._connected = False
        self._closing: asyncio.Task[None] | None = None
        self._channel: RTCDataChannel | None = None
        self._units: UnitChannel | None = None
        self._waiting: list[str | bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._received_at = transport.clock()
        self._peer = Peer(
            loopback=transport.loopback,
            on_ready=self._ready,
            on_rtp=self._rtp_received,
            on_rtcp=self._rtcp_received,
            on_channel=self._channel_opened,
            on_lost=self._lost,
            on_dropped=self._drop,
        )
        self._ingress = RtpIngress(payload_type=offer.payload_type, level_extension_id=offer.level_extension_id)
        self._egress = RtpEgress(
            ssrc=self._peer.ssrc,
            payload_type=offer.payload_type,
            sequence_number=int(transport.entropy() * 0x8000),
            mid=offer.audio_mid,
            mid_extension_id=offer.mid_extension_id,
        )

    # --- signalling ----------------------------------------------------------------------------------------------

    async def answer(self, offer: Offer) -> str:
        """Answer the offer and start to connect; for WebRtcTransport. Raises: RemoteProtocolError: `bad-sdp`."""
        self._timer = asyncio.get_running_loop().call_later(LINK_CONNECT_S_MAX, self._lost, "connect-timeout")
        answer = await self._peer.answer(offer)
        self._egress.cname = canonical_name(answer)
        return answer

    async def add_candidate(self, fragment: str) -> None:
        """Add the candidates of a trickle fragment (application/trickle-ice-sdpfrag).

        Raises: RemoteProtocolError: see `edge.transports.sdp.parse_candidates`; `too-many-candidates`.
        """
        candidates = parse_candidates(fragment)
        if self._closing is None:
            await self._peer.add_candidates(candidates)

    # --- ViewerLink ----------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Media may be sent."""
        return self._connected and self._closing is None

    @property
    def closing(self) -> bool:
        """It is closed, or being closed."""
        return self._closing is not None

    @property
    def packets_sent(self) -> int:
        """Access units sent."""
        return self._egress.packets

    @property
    def packets_received(self) -> int:
        """Microphone packets received."""
        return self._ingress.packets

    @property
    def remote(self) -> RemoteReport | None:
        """What the viewer last reported of our stream."""
        return self._egress.remote

    def send_packet(self, payload: bytes, timestamp: int) -> bool:
        """See `ViewerLink.send_packet`. The RTP timestamp is `timestamp` modulo 2^32."""
        if not self._connected or self._closing is not None:
            self._drop("not-connected")
            return False
        if len(payload) > ACCESS_UNIT_SIZE_BYTES_MAX:
            self._drop("access-unit-oversize")
            return False
        if not self._peer.send_rtp(self._egress.packet(payload, timestamp, self._transport.wall_clock())):
            self._drop("send-failed")
            return False
        if self._units is not None:
            self._units.send(payload, timestamp)
        return True

    def send_keyframe(self, payload: bytes, timestamp: int) -> None:
        """See `ViewerLink.send_keyframe`. Nothing: RTP has no reliable way, the viewer asks again."""

    def send_control(self, data: str | bytes) -> None:
        """See `ViewerLink.send_control`. Messages wait, a few of them, until the viewer has opened the channel."""
        channel = self._channel
        if self._closing is not None:
            self._drop("not-connected")
        elif channel is None or channel.readyState == "connecting":
            if len(self._waiting) < _CONTROL_QUEUE_MESSAGES_MAX:
                self._waiting.append(data)
            else:
                self._drop("control-overflow")
        elif channel.readyState != "open" or channel.bufferedAmount > CONTROL_BUFFER_SIZE_BYTES_MAX:
            self._drop("control-overflow")
        else:
            channel.send(data)

    async def aclose(self, reason: str) -> None:
        """See `ViewerLink.aclose`."""
        self._close(reason)
        if self._closing is not None:
            await asyncio.shield(self._closing)

    # --- what the peer tells -------------------------------------------------------------------------------------

    def _ready(self) -> None:
        if self._connected or self._closing is not None:
            return
        self._connected = True
        self._received_at = self._transport.clock()
        self._tick_later()
        self._tell(lambda events, now: events.on_connected(now))

    def _rtp_received(self, packet: bytes) -> None:
        now = self._transport.clock()
        self._received_at = now
        unit = self._ingress.receive(packet, now)
        if isinstance(unit, Dropped):
            self._drop(unit.reason)
        elif self._closing is None and self.events is not None:
            try:
                self.events.on_microphone(unit, now)
            except Exception:
                self._listener_failed()

    def _rtcp_received(self, data: bytes) -> None:
        now = self._transport.clock()
        self._received_at = now
        try:
            packets = RtcpPacket.parse(data)
        except Exception:  # the parser answers bad lengths with whatever its code runs into
            self._drop("rtcp-malformed")
            return
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                self._ingress.receive_sender_report(packet.ssrc, packet.sender_info.ntp_timestamp, now)
            if isinstance(packet, (RtcpSrPacket, RtcpRrPacket)):
                for report in packet.reports:
                    self._egress.receive_report(report, self._transport.wall_clock())

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        if is_unit_channel(channel) and self._units is None and self._closing is None:
            self._units = UnitChannel(channel, on_feedback=self._control_received, on_dropped=self._drop)
            return
        if channel.label != CONTROL_LABEL or self._channel is not None or self._closing is not None:
            self._drop("unknown-channel")
            channel.close()
            return
        self._channel = channel
        channel.on("message", self._control_received)
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.send_control(data)

    def _control_received(self, data: str | bytes) -> None:
        self._received_at = self._transport.clock()
        if len(data) > CONTROL_MESSAGE_SIZE_BYTES_MAX:
            self._drop("control-oversize")
            return
        self._tell(lambda events, now: events.on_control(data, now))

    def _lost(self, reason: str) -> None:
        self._close(reason)

    # --- the inside ----------------------------------------------------------------------------------------------

    def _tick_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        interval_s = _REPORT_INTERVAL_S * (0.5 + self._transport.entropy())  # RFC 3550 section 6.2: never in step
        self._timer = asyncio.get_running_loop().call_later(interval_s, self._tick)

    def _tick(self) -> None:
        now = self._transport.clock()
        if now - self._received_at > LINK_SILENCE_S_MAX:
            self._close("connection-lost")
            return
        reports = self._ingress.report(now)
        if self._egress.packets:
            self._peer.send_rtcp(self._egress.sender_report(reports, self._transport.wall_clock()))
        elif reports:
            report = RtcpRrPacket(ssrc=self._peer.ssrc, reports=reports)
            self._peer.send_rtcp(bytes(report) + self._egress.description())
        self._tick_later()

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        if self._transport.on_dropped is not None:
            self._transport.on_dropped(reason)

    def _tell(self, event: Callable[[LinkEvents, float], None]) -> None:
        if self.events is None:
            return
        try:
            event(self.events, self._transport.clock())
        except Exception:
            self._listener_failed()

    def _listener_failed(self) -> None:
        # A listener that broke once would break with every packet: its viewer comes back to a new one.
        _log.exception("a link's listener failed")
        self._close("internal-error")

    def _close(self, reason: str) -> None:
        if self._closing is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connected and self._egress.packets:
            farewell = self._egress.sender_report([], self._transport.wall_clock())
            self._peer.send_rtcp(farewell + bytes(RtcpByePacket(sources=[self._peer.ssrc])))
        self._closing = asyncio.get_running_loop().create_task(self._free())
        self._tell(lambda events, now: events.on_closed(reason, now))
        self.events = None

    async def _free(self) -> None:
        try:
            await self._peer.aclose()
        except Exception:
            _log.exception("a link did not close cleanly")
        finally:
            self._waiting.clear()
            self._channel = self._units = None
            self._transport.forget(self)

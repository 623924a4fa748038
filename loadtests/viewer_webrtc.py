"""The headless viewer over WebRTC: access units are taken from the RTP packets before any decoder."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urljoin

import httpx
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.rtcrtpsender import RTCEncodedFrame
from aiortc.rtp import RtpPacket

from loadtests.tickets import Ticket, ViewerError, http_client, problem, reason
from loadtests.viewer_link import ConnectionEvents, Transport

__all__ = ["WebRtcConnection"]

_CONNECT_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 3.0
_MICROPHONE_PACKETS_MAX: Final = 10
"""Packets that wait until aiortc takes them; it takes them at once while it is connected."""


class _OwnPackets(MediaStreamTrack):
    """A track whose packets the viewer makes itself (`WebRtcConnection._next_microphone_frame`)."""

    kind = "audio"

    async def recv(self) -> Any:
        raise AssertionError("the sender's own reading of the track has been replaced")


class WebRtcConnection:
    """See loadtests.viewer_link.Connection.

    Args:
        ticket: whose POP and session.
        microphone: False: nothing is ever sent but control messages.
        clock: monotonic seconds.
    """

    transport: Transport = "webrtc"
    plays_sound_itself = False

    def __init__(
        self,
        ticket: Ticket,
        events: ConnectionEvents,
        *,
        microphone: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ticket = ticket
        self._events = events
        self._clock = clock
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._control: RTCDataChannel = self._peer.createDataChannel("control")
        self._packets: asyncio.Queue[RTCEncodedFrame] = asyncio.Queue(_MICROPHONE_PACKETS_MAX)
        self._up = asyncio.Event()
        self._location: str | None = None
        self._token = ""
        self._over = False
        self._prepare(microphone)

    def _prepare(self, microphone: bool) -> None:
        if microphone:
            transceiver = self._peer.addTransceiver(_OwnPackets(), direction="sendrecv")
        else:
            transceiver = self._peer.addTransceiver("audio", direction="recvonly")
        codecs = [c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType.lower() == "audio/opus"]
        transceiver.setCodecPreferences(codecs)
        # aiortc offers no encoded transform: these two methods are its innermost ones that see an untouched packet.
        sender: RTCRtpSender = transceiver.sender
        receiver: RTCRtpReceiver = transceiver.receiver
        sender._next_encoded_frame = self._next_microphone_frame  # type: ignore[method-assign]
        receiver._handle_rtp_packet = self._on_rtp  # type: ignore[method-assign]
        self._control.on("open", self._up.set)
        self._control.on("message", self._on_control_message)
        self._control.on("close", lambda: self._lose("The POP closed the connection."))
        self._peer.on("connectionstatechange", self._on_connection_state)

    async def connect(self, token: str) -> None:
        """See Connection."""
        self._token = token
        await self._peer.setLocalDescription(await self._peer.createOffer())
        answer = await self._signal(self._peer.localDescription.sdp)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        except Exception as error:  # aiortc raises ValueError, InvalidStateError, OperationError … for a bad answer
            raise ViewerError("pop-refused", f"The POP's answer makes no sense: {error}") from error
        try:
            await asyncio.wait_for(self._up.wait(), _CONNECT_TIMEOUT_S)
        except TimeoutError as error:
            raise ViewerError(
                "connect-timeout", f"{self._ticket.pop_url} answered, but no media came through (UDP blocked?)."
            ) from error

    async def _signal(self, offer: str) -> str:
        pop = self._ticket.pop_url
        url = f"{pop.rstrip('/')}/v1/sessions/{self._ticket.session_id}/webrtc"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/sdp"}
        if self._ticket.key is not None:
            headers["Authorization"] = f"DPoP {self._token}"
            headers["DPoP"] = self._ticket.key.prove("POST", url, self._token)
        async with http_client(url) as http:
            try:
                response = await http.post(url, content=offer.encode(), headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ViewerError(
                    "pop-unreachable", f"The POP at {pop} cannot be reached ({reason(error)}); is it running?"
                ) from error
        if response.status_code != httpx.codes.CREATED:
            raise ViewerError("pop-refused", f"The POP at {pop} refused the session: {problem(response)}")
        self._location = urljoin(url, response.headers.get("location", url))
        return response.text

    def send_control(self, data: str | bytes) -> None:
        """See Connection."""
        if self._control.readyState == "open":
            self._control.send(data)

    def send_microphone(self, payload: bytes, *, timestamp: int, level_dbov: int) -> None:
        """See Connection."""
        with contextlib.suppress(asyncio.QueueFull):
            self._packets.put_nowait(RTCEncodedFrame([payload], timestamp, -level_dbov))

    @property
    def remote_addresses(self) -> list[tuple[str, int]]:
        """Where the POP's media answers: addresses and UDP ports it offered."""
        lines = self._peer.remoteDescription.sdp.splitlines() if self._peer.remoteDescription else []
        fields = [line.split() for line in lines if line.startswith("a=candidate:")]
        return [(field[4], int(field[5])) for field in fields if field[2].lower() == "udp" and ":" not in field[4]]

    def vanish(self) -> None:
        """See Connection."""
        self._over = True
        for transceiver in self._peer.getTransceivers():
            for protocol in transceiver.receiver.transport.transport._connection._protocols:
                protocol.transport.abort()

    async def aclose(self, *, farewell: bool) -> None:
        """See Connection."""
        self._over = True
        if farewell and self._location is not None:
            headers = {"Authorization": f"Bearer {self._token}"}
            with contextlib.suppress(httpx.HTTPError):
                async with http_client(self._location, _CLOSE_TIMEOUT_S) as http:
                    await http.delete(self._location, headers=headers)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._peer.close(), _CLOSE_TIMEOUT_S)

    # --- what comes --------------------------------------------------------------------------------------------------

    async def _next_microphone_frame(self, codec: object) -> RTCEncodedFrame | None:
        """Replaces RTCRtpSender._next_encoded_frame."""
        return await self._packets.get()

    async def _on_rtp(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        """Replaces RTCRtpReceiver._handle_rtp_packet: takes the payload before jitter buffer and decoder."""
        if packet.payload and not self._over:
            self._events.on_unit(packet.payload, packet.timestamp, self._clock())

    def _on_control_message(self, message: str | bytes) -> None:
        if not self._over:
            self._events.on_control(message, self._clock())

    def _on_connection_state(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self._lose("The connection to the POP was lost.")

    def _lose(self, why: str) -> None:
        if not self._over and self._up.is_set():
            self._over = True
            self._events.on_closed(why, self._clock())

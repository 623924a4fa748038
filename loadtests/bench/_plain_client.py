"""A WebRTC client that knows nothing of either server: a microphone, and when the first sound of an answer arrives."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.rtcrtpsender import RTCEncodedFrame
from aiortc.rtp import RtpPacket
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ
from loadtests.audio import VoiceDecoder
from loadtests.microphone import Microphone
from loadtests.signals import end_of_speech, loud_from
from loadtests.turn import AUDIBLE_DBFS

__all__ = ["PlainClient"]

_CONNECT_S_MAX: Final = 15.0
_CLOSE_S_MAX: Final = 3.0
_PACKETS_MAX: Final = 10

Signal = Callable[[str], Awaitable[str]]
"""Gives the server's SDP answer to an SDP offer."""


class _OwnPackets(MediaStreamTrack):
    """A track whose packets the client makes itself."""

    kind = "audio"

    async def recv(self) -> Any:
        raise AssertionError("the sender's own reading of the track has been replaced")


class PlainClient:
    """One connection. The microphone sends all the time, as a browser without DTX does.

    Attributes:
        first_sound: monotonic seconds of the first audible sample that arrived after `listen_from`; None until then.
        listen_from: monotonic seconds; sounds before it do not count.
    """

    def __init__(self) -> None:
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel = self._peer.createDataChannel("control")
        self._packets: asyncio.Queue[RTCEncodedFrame] = asyncio.Queue(_PACKETS_MAX)
        self._decoder = VoiceDecoder()
        self._microphone: Microphone | None = None
        self._task: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self.listen_from = float("inf")
        self.first_sound: float | None = None
        self.last_sound = 0.0

    async def connect(self, signal: Signal) -> None:
        """Come up, and begin to send. Raises: ConfigError: it does not."""
        transceiver = self._peer.addTransceiver(_OwnPackets(), direction="sendrecv")
        codecs = [c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType.lower() == "audio/opus"]
        transceiver.setCodecPreferences(codecs)
        sender: RTCRtpSender = transceiver.sender
        receiver: RTCRtpReceiver = transceiver.receiver
        sender._next_encoded_frame = self._next_frame  # type: ignore[method-assign]
        # Before aiortc's jitter buffer, which holds back 80 ms of whoever sends.
        receiver._handle_rtp_packet = self._on_rtp  # type: ignore[method-assign]
        up = asyncio.Event()
        self._channel.on("open", up.set)
        await self._peer.setLocalDescription(await self._peer.createOffer())
        answer = await signal(self._peer.localDescription.sdp)
        await self._peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        try:
            await asyncio.wait_for(up.wait(), _CONNECT_S_MAX)
        except TimeoutError:
            raise ConfigError("a server answered, but no connection came up") from None
        self._microphone = Microphone(now=time.monotonic(), dtx=False)
        self._task = asyncio.create_task(self._speak(self._microphone))

    async def ask(self, samples: NDArray[np.float32], timeout_s: float) -> float | None:
        """Say something. Returns: seconds from the end of speech to the first sound; None: nothing came in time."""
        assert self._microphone is not None, "connect() comes first"
        started_at = self._microphone.say(samples)
        end = started_at + (end_of_speech(samples, MEDIA_CLOCK_HZ) or samples.size / MEDIA_CLOCK_HZ)
        self.first_sound, self.listen_from = None, end
        self._heard.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), end - time.monotonic() + timeout_s)
        return None if self.first_sound is None else self.first_sound - end

    async def aclose(self) -> None:
        """Free everything."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._peer.close(), _CLOSE_S_MAX)

    async def _speak(self, microphone: Microphone) -> None:
        while True:
            microphone.skip_to(time.monotonic())
            await asyncio.sleep(max(0.0, microphone.due - time.monotonic()))
            packet = microphone.next_packet()
            with contextlib.suppress(asyncio.QueueFull):
                self._packets.put_nowait(RTCEncodedFrame([packet.opus], packet.timestamp, -packet.level_dbov))

    async def _next_frame(self, codec: object) -> RTCEncodedFrame | None:
        return await self._packets.get()

    async def _on_rtp(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        now = time.monotonic()
        samples = self._decoder.decode(packet.payload) if packet.payload else None
        if samples is None:
            return
        loud = loud_from(samples, MEDIA_CLOCK_HZ, AUDIBLE_DBFS)
        if loud is None:
            return
        self.last_sound = now
        if now + loud >= self.listen_from and self.first_sound is None:
            self.first_sound = now + loud
            self._heard.set()

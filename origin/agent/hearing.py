"""The viewer's microphone as an agent wants it."""

from __future__ import annotations

from typing import Final

from core.limits import MEDIA_CLOCK_HZ
from core.speech.agent_messages import Microphone
from core.speech.messages import MicrophonePacket
from origin.dialogue.opus_voice import MicrophoneDecoder

__all__ = ["MICROPHONE_RATE_HZ", "Hearing"]

MICROPHONE_RATE_HZ: Final = 16_000
_GAP_S_MAX: Final = 1.0
"""A microphone saves what is silent (DTX); longer gaps lie between two times that somebody spoke."""


class Hearing:
    """Of one session: packets in, bytes for the agent out."""

    def __init__(self) -> None:
        self._wanted: Microphone = "none"
        self._decoder: MicrophoneDecoder | None = None
        self._last = -1
        self._expected = -1

    def begin(self, wanted: Microphone) -> None:
        """An agent has connected that wants this."""
        self._wanted = wanted
        self._decoder = MicrophoneDecoder(MICROPHONE_RATE_HZ) if wanted == "pcm_s16le" else None
        self._expected = -1

    def receive(self, packet: MicrophonePacket) -> bytes:
        """What to send for one packet; b"" for nothing. Raises: ValueError: it is late, or no Opus."""
        if packet.timestamp <= self._last:
            raise ValueError("late")
        self._last = packet.timestamp
        if self._wanted == "opus":
            return packet.opus
        if self._decoder is None:
            return b""
        pcm = self._decoder.decode(packet.opus)
        missing = packet.timestamp - self._expected if self._expected >= 0 else 0
        self._expected = packet.timestamp + len(pcm) // 2 * MEDIA_CLOCK_HZ // MICROPHONE_RATE_HZ
        if 0 < missing <= _GAP_S_MAX * MEDIA_CLOCK_HZ:
            return bytes(missing * MICROPHONE_RATE_HZ // MEDIA_CLOCK_HZ * 2) + pcm
        return pcm

"""The pipeline's first processor: the viewer's microphone as 16 kHz PCM, with silence where nothing comes."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final

import numpy as np
from pipecat.frames.frames import CancelFrame, EndFrame, Frame, InputAudioRawFrame, StartFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from core.errors import Dropped
from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import MicrophonePacket
from origin.dialogue.opus_voice import MicrophoneDecoder

__all__ = ["SAMPLE_RATE_HZ", "Levels", "MediaClock", "Microphone", "RecentSound"]

SAMPLE_RATE_HZ: Final = 16_000
_CHUNK: Final = bytes(SAMPLE_RATE_HZ // 50 * 2)
"""20 ms of silence."""
_GAP_S: Final = 0.1
"""A microphone that sends nothing for this long is silent (DTX, or the POP's gate): the detector must hear that."""
_FILL_S_MAX: Final = 3.0
"""After so much silence every turn has ended."""
_WINDOW: Final = SAMPLE_RATE_HZ // 100
_WINDOWS_KEPT: Final = 3_000
_BELOW_PEAK: Final = 10 ** (-35 / 20)
_FLOOR: Final = 1e-4
_CREEP_S: Final = 2e-5
"""Per packet: two clocks drift apart by less than a thousandth."""
_LATE_S_MAX: Final = 1.0
"""A POP sends what it kept from before the user's first sound up to 0.4 s late."""
_RECENT_BYTES: Final = 8 * SAMPLE_RATE_HZ * 2
"""So much of a turn tells whether it is over."""


class MediaClock:
    """When was a sample spoken? Packets are late by what the network and a busy machine make of it; the least delayed
    of them tells how media time lies on the local clock."""

    def __init__(self) -> None:
        self._offset = math.inf

    def at(self, media_s: float, now: float) -> float:
        """The local time of a media time of which is known at `now`, never after `now`; both in seconds."""
        offset = now - media_s
        if offset > self._offset + _LATE_S_MAX:
            self._offset = offset  # the media clock stood still meanwhile
        self._offset = min(offset, self._offset + _CREEP_S)
        return media_s + self._offset


class Levels:
    """Loudness of the last half minute in 10 ms windows: when did the user's speech really end?"""

    def __init__(self) -> None:
        self._windows: deque[tuple[float, float]] = deque(maxlen=_WINDOWS_KEPT)

    def push(self, pcm: bytes, at: float) -> None:
        """16-bit PCM whose last sample was spoken at `at`."""
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0
        count = len(samples) // _WINDOW
        if not count:
            return
        rms = np.sqrt(np.mean(samples[: count * _WINDOW].reshape(count, _WINDOW) ** 2, axis=1))
        self._windows.extend((at - 0.01 * (count - 1 - index), float(level)) for index, level in enumerate(rms))

    def speech_end(self, since: float, until: float) -> float:
        """When the last window within 35 dB of the peak of that time ended; 0 when there was no sound."""
        recent = [(at, level) for at, level in self._windows if since <= at <= until]
        peak = max((level for _, level in recent), default=0.0)
        if peak <= _FLOOR:
            return 0.0
        return max(at for at, level in recent if level >= peak * _BELOW_PEAK)


class RecentSound:
    """The last seconds of a microphone."""

    def __init__(self) -> None:
        self._pcm = bytearray()

    def push(self, pcm: bytes) -> None:
        """More 16-bit PCM."""
        self._pcm += pcm
        if len(self._pcm) > 2 * _RECENT_BYTES:  # seldom, as it moves all that is kept
            del self._pcm[:-_RECENT_BYTES]

    def last(self, seconds: float) -> bytes:
        """The newest of it, at most RECENT_S."""
        wanted = min(_RECENT_BYTES, max(0, round(seconds * SAMPLE_RATE_HZ)) * 2)
        return bytes(self._pcm[-wanted:]) if wanted else b""


class Microphone(FrameProcessor):
    """Fed by the session; see `receive`.

    Attributes:
        levels: for the turn's timing.
        recent: for the judge of the turn's end.
        dropped: packets that were not Opus.
    """

    def __init__(self) -> None:
        super().__init__()
        self.levels = Levels()
        self.recent = RecentSound()
        self.dropped = 0
        self._decoder = MicrophoneDecoder(SAMPLE_RATE_HZ)
        self._clock = MediaClock()
        self._started = False
        self._last = -math.inf
        self._filler: asyncio.Task[None] | None = None
        self._last_timestamp = -1

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        await super().process_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._started = True
        elif isinstance(frame, (EndFrame, CancelFrame)):
            self._started = False
        await self.push_frame(frame, direction)

    async def receive(self, packet: MicrophonePacket) -> Dropped | None:
        """One packet of the viewer. Returns: why it was dropped, or None."""
        if not self._started:
            return Dropped("not-started")
        if packet.timestamp <= self._last_timestamp:
            return Dropped("late")
        try:
            pcm = self._decoder.decode(packet.opus)
        except ValueError:
            self.dropped += 1
            return Dropped("not-opus")
        self._last_timestamp = packet.timestamp
        if pcm:
            now = asyncio.get_running_loop().time()
            end_s = packet.timestamp / MEDIA_CLOCK_HZ + len(pcm) / 2 / SAMPLE_RATE_HZ
            await self._push(pcm, self._clock.at(end_s, now))
            self._last = now
            if self._filler is None:
                self._filler = self.create_task(self._fill(), name="silence")
        return None

    async def _push(self, pcm: bytes, spoken_at: float) -> None:
        self.levels.push(pcm, spoken_at)
        self.recent.push(pcm)
        await self.push_frame(InputAudioRawFrame(pcm, SAMPLE_RATE_HZ, 1))

    async def _fill(self) -> None:
        """Silence at its own pace while nothing comes; ends by itself."""
        loop = asyncio.get_running_loop()
        try:
            while (silent_s := loop.time() - self._last) < _FILL_S_MAX:
                if silent_s < _GAP_S:
                    await asyncio.sleep(_GAP_S - silent_s)
                    continue
                await self._push(_CHUNK, loop.time())
                await asyncio.sleep(0.02)
        finally:
            self._filler = None

    async def cleanup(self) -> None:
        """See FrameProcessor."""
        if self._filler is not None:
            await self.cancel_task(self._filler)
        await super().cleanup()

"""A microphone made of recordings: 20 ms Opus packets with RFC 6464 levels, quiet between what it is given to say.

Sans-IO: it is asked for one packet after another, and says when each has been captured in full.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import MEDIA_CLOCK_HZ, TICK_S, TICK_SAMPLES
from loadtests.audio import VoiceEncoder
from loadtests.signals import level_dbov

__all__ = ["Microphone", "MicrophonePacket"]

_ROOM_RMS: Final = 10.0 ** (-75.0 / 20.0)
"""A quiet room seen through a browser's noise suppression."""
_ROOM_SAMPLES: Final = 5 * MEDIA_CLOCK_HZ
_DTX_LEVEL_DBOV: Final = 68
"""Packets quieter than this may be left out, as a browser's encoder with DTX does."""
_DTX_AFTER_PACKETS: Final = 10
_DTX_KEEPALIVE_PACKETS: Final = 20

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MicrophonePacket:
    """What the microphone captured in 20 ms.

    Attributes:
        opus: the packet; one byte when the encoder has nothing to send (DTX).
        timestamp: 48 kHz ticks of its first sample since the microphone was opened.
        level_dbov: RFC 6464 level, 0 = loudest … 127.
        captured_at: monotonic seconds of its last sample: it cannot leave earlier.
        needed: False: an encoder with DTX would not send it.
    """

    opus: bytes
    timestamp: int
    level_dbov: int
    captured_at: float
    needed: bool


class Microphone:
    """See the module docstring.

    Args:
        now: monotonic seconds at which it is opened.
        seed: of the room's noise.
        dtx: False: an encoder without DTX, which sends the room's noise as well.
    """

    def __init__(self, *, now: float, seed: int = 0, dtx: bool = True) -> None:
        self._dtx = dtx
        self._opened_at = now
        self._encoder = VoiceEncoder()
        self._queue: deque[Samples] = deque()
        self._queued_samples = 0
        self._index = 0
        self._quiet_packets = 0
        self._last_toc = 0x78  # 20 ms of mono CELT, until something was encoded
        noise = np.random.default_rng(seed).normal(scale=_ROOM_RMS, size=_ROOM_SAMPLES)
        self._room = noise.astype(np.float32)

    @property
    def due(self) -> float:
        """Monotonic seconds at which the next packet has been captured in full."""
        return self._opened_at + (self._index + 1) * TICK_S

    @property
    def speaking(self) -> bool:
        """Something that it was given is not yet sent."""
        return self._queued_samples > 0

    def say(self, samples: Samples) -> float:
        """Capture this next, after what it was given before.

        Args:
            samples: float32[n], mono, 48 kHz.
        Returns: monotonic seconds at which the first sample sounds in front of the microphone.
        """
        start = self._index * TICK_SAMPLES + self._queued_samples
        self._queue.append(samples)
        self._queued_samples += samples.size
        return self._opened_at + start / MEDIA_CLOCK_HZ

    def skip_to(self, now: float) -> int:
        """Give up packets that are more than 200 ms late (a machine that stood still). Returns: how many."""
        behind = int((now - self.due) / TICK_S)
        if behind < 10:
            return 0
        for _ in range(behind):
            self._take()
            self._index += 1
        return behind

    def next_packet(self) -> MicrophonePacket:
        """The next 20 ms."""
        samples = self._take()
        start = (self._index * TICK_SAMPLES) % (self._room.size - TICK_SAMPLES)
        level = level_dbov(samples + self._room[start : start + TICK_SAMPLES])
        quiet = level >= _DTX_LEVEL_DBOV
        self._quiet_packets = self._quiet_packets + 1 if quiet else 0
        resting = self._dtx and self._quiet_packets > _DTX_AFTER_PACKETS
        if resting:
            opus = bytes([self._last_toc])
        else:
            opus = self._encoder.encode(samples + self._room[start : start + TICK_SAMPLES])
            self._last_toc = opus[0] & 0xFC
        packet = MicrophonePacket(
            opus=opus,
            timestamp=self._index * TICK_SAMPLES,
            level_dbov=level,
            captured_at=self.due,
            needed=not resting or self._quiet_packets % _DTX_KEEPALIVE_PACKETS == 0,
        )
        self._index += 1
        return packet

    def _take(self) -> Samples:
        block = np.zeros(TICK_SAMPLES, dtype=np.float32)
        filled = 0
        while self._queue and filled < TICK_SAMPLES:
            head = self._queue[0]
            piece = head[: TICK_SAMPLES - filled]
            block[filled : filled + piece.size] = piece
            filled += piece.size
            if piece.size == head.size:
                self._queue.popleft()
            else:
                self._queue[0] = head[piece.size :]
        self._queued_samples -= filled
        return block

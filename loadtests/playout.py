"""A viewer's playout clock: a small adaptive jitter buffer in front of an imaginary sound card.

Sans-IO: packets come in with their arrival times, blocks come out with the exact times at which a sound card would have
begun them. What a block's time says is what counts as audible; how late this object is asked does not matter.

It does what NetEQ does, in a simple way: it holds as much as nearly all packets were late lately, stretches or shortens
silence to get there, waits when nothing has come, and never plays a packet after its turn.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from core.limits import MEDIA_CLOCK_HZ, TICK_SAMPLES

__all__ = ["Block", "Playout"]

_FIRST_DELAY_S: Final = 0.040
_DELAY_S_MIN: Final = 0.020
_DELAY_S_MAX: Final = 0.250
_MARGIN_S: Final = 0.010
_LATENESS_PACKETS: Final = 250
_LATENESS_QUANTILE: Final = 0.97
_STRETCH_S_MAX: Final = 0.005
"""Silence is stretched or shortened by at most this per packet."""
_BUFFER_PACKETS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Block:
    """One packet's turn at the sound card.

    Attributes:
        at: monotonic seconds at which its first sample is audible.
        media_time: unwrapped 48 kHz ticks of that sample.
        duration: ticks.
        payload: the Opus packet; None where it did not come in time.
    """

    at: float
    media_time: int
    duration: int
    payload: bytes | None


class Playout:
    """See the module docstring.

    Attributes:
        late: packets that came after their turn.
        concealed: 20 ms blocks that were missing.
        stalls: times that everything had been played and nothing had come.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[bytes, int, bool]] = {}
        self._next_media = 0
        self._next_at: float | None = None
        self._lateness: deque[float] = deque(maxlen=_LATENESS_PACKETS)
        self._stalled = False
        self.late = 0
        self.concealed = 0
        self.stalls = 0

    @property
    def delay_s(self) -> float:
        """How long the packet that was fastest lately waits before it is audible; 0.0 before the first."""
        if self._next_at is None or not self._lateness:
            return 0.0
        return self._next_at - self._next_media / MEDIA_CLOCK_HZ - min(self._lateness)

    @property
    def target_s(self) -> float:
        """What `delay_s` ought to be."""
        ordered = sorted(self._lateness)
        spread = ordered[min(len(ordered) - 1, int(len(ordered) * _LATENESS_QUANTILE))] - ordered[0]
        return min(_DELAY_S_MAX, max(_DELAY_S_MIN, spread + _MARGIN_S))

    def push(self, payload: bytes, media_time: int, duration: int, *, silent: bool, arrival: float) -> bool:
        """A packet has come; call `advance(arrival)` first.

        Args:
            media_time: unwrapped ticks of its first sample.
            duration: ticks.
            silent: nobody's voice is in it, so it may be stretched or shortened.
            arrival: monotonic seconds.
        Returns: False when its turn has passed and it will not be played.
        """
        self._lateness.append(arrival - media_time / MEDIA_CLOCK_HZ)
        if self._next_at is None:
            self._next_media = media_time
            self._next_at = arrival + _FIRST_DELAY_S
        elif media_time < self._next_media:
            self.late += 1
            return False
        elif self._stalled:
            self._next_at = max(self._next_at, arrival)
            self._stalled = False
        if len(self._waiting) < _BUFFER_PACKETS_MAX:
            self._waiting[media_time] = (payload, duration, silent)
        return True

    def advance(self, now: float) -> list[Block]:
        """The blocks whose turn has come by `now`, in order, each with the time at which it really began."""
        blocks: list[Block] = []
        while self._next_at is not None and self._next_at <= now:
            found = self._waiting.pop(self._next_media, None)
            if found is None:
                if not self._waiting:
                    self.stalls += not self._stalled
                    self._stalled = True
                    break
                gap = min(TICK_SAMPLES, min(self._waiting) - self._next_media)
                blocks.append(self._play(self._next_at, None, gap))
                self.concealed += 1
                continue
            payload, duration, silent = found
            blocks.append(self._play(self._next_at, payload, duration))
            if silent:
                change = self.target_s - self.delay_s
                self._next_at += max(-_STRETCH_S_MAX, min(_STRETCH_S_MAX, change))
        return blocks

    def _play(self, at: float, payload: bytes | None, duration: int) -> Block:
        block = Block(at=at, media_time=self._next_media, duration=duration, payload=payload)
        self._next_media += duration
        self._next_at = at + duration / MEDIA_CLOCK_HZ
        return block

    def position(self, now: float) -> int | None:
        """Media time audible at `now` (after `advance(now)`); None before the first packet."""
        if self._next_at is None:
            return None
        return self._next_media - round(max(0.0, self._next_at - now) * MEDIA_CLOCK_HZ)

"""Which media time is drawn: when motion may be shown without sound, and how the drawn time follows.

Mirrors edge/client/src/stream/arrivalClock.ts and playhead.ts. Times are milliseconds of a monotonic clock, media times
unwrapped 48 kHz ticks.
"""

from __future__ import annotations

from collections import deque
from math import exp
from typing import Final

__all__ = ["TICKS_PER_MS", "ArrivalClock", "Playhead"]

TICKS_PER_MS: Final = 48

_WINDOW_MS: Final = 1_500.0
_ARRIVALS_MAX: Final = 512
"""Bounds the window against a flood; at 50 packets a second it holds 75."""
_JITTER_MS_MIN: Final = 4.0
_JITTER_MS_MAX: Final = 70.0
_INTERVAL_MS_MAX: Final = 100.0

_TIME_CONSTANT_MS: Final = 70.0
"""Time constant with which the playhead closes its distance to the target."""
_RATE_MIN: Final = 0.15
_RATE_MAX: Final = 2.2
"""Slowest and fastest that drawn motion may run against real time."""
_JUMP_MS: Final = 320.0
"""Beyond this distance chasing would be seen as fast-forward; the playhead jumps and the caller cross-fades."""
_PAUSE_MS: Final = 400.0
"""A step between two samples longer than this (a hidden tab, a debugger) is not motion."""


class ArrivalClock:
    """When a frame may be drawn if nobody listens to it: as soon as it is there, plus just enough delay that the next
    one usually arrives before it is needed: one frame interval (20 ms, or 80 on an idle track) plus recent lateness.
    """

    __slots__ = ("_arrivals", "_interval_ms", "_newest")

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=_ARRIVALS_MAX)
        self._interval_ms = 20.0
        self._newest: int | None = None

    def observe(self, ticks: int, at_ms: float) -> None:
        """A frame of this media time came."""
        if self._newest is not None and ticks > self._newest:
            self._interval_ms = min(_INTERVAL_MS_MAX, (ticks - self._newest) / TICKS_PER_MS)
        if self._newest is None or ticks > self._newest:
            self._newest = ticks
        self._arrivals.append((at_ms, ticks / TICKS_PER_MS - at_ms))
        while self._arrivals[0][0] < at_ms - _WINDOW_MS:
            self._arrivals.popleft()

    def lateness_ms(self, ticks: int, at_ms: float) -> float:
        """How much later than the quickest frame lately this one comes; 0 before the first."""
        if not self._arrivals:
            return 0.0
        return max(offset for _, offset in self._arrivals) - (ticks / TICKS_PER_MS - at_ms)

    @property
    def delay_ms(self) -> float:
        """How far behind the quickest arrival motion is drawn."""
        if not self._arrivals:
            return 0.0
        offsets = [offset for _, offset in self._arrivals]
        return self._interval_ms + min(_JITTER_MS_MAX, max(_JITTER_MS_MIN, max(offsets) - min(offsets)))

    def ticks_at(self, now_ms: float) -> float | None:
        """Media ticks to draw at `now_ms`; None before the first frame."""
        if not self._arrivals:
            return None
        earliest = max(offset for _, offset in self._arrivals)
        return (now_ms + earliest - self.delay_ms) * TICKS_PER_MS

    def reset(self) -> None:
        """Forget everything."""
        self._arrivals.clear()
        self._newest = None
        self._interval_ms = 20.0


class Playhead:
    """The media time that is drawn: follows a moving target with bounded velocity, never backwards except by a jump.

    Attributes:
        ticks: media time; None before the first target.
    """

    __slots__ = ("_at_ms", "ticks")

    def __init__(self) -> None:
        self.ticks: float | None = None
        self._at_ms = 0.0

    def advance(self, now_ms: float, target_ticks: float) -> bool:
        """Move towards `target_ticks`. Returns: True when it jumped and the picture needs a cross-fade."""
        elapsed_ms = max(0.0, now_ms - self._at_ms)
        self._at_ms = now_ms
        if self.ticks is None:
            self.ticks = target_ticks
            return True
        error_ms = (target_ticks - self.ticks) / TICKS_PER_MS - elapsed_ms
        if abs(error_ms) > _JUMP_MS or elapsed_ms > _PAUSE_MS:
            self.ticks = target_ticks
            return True
        correction = error_ms * (1.0 - exp(-elapsed_ms / _TIME_CONSTANT_MS))
        step = min(elapsed_ms * _RATE_MAX, max(elapsed_ms * _RATE_MIN, elapsed_ms + correction))
        self.ticks += step * TICKS_PER_MS
        return False

    def jump(self, now_ms: float, ticks: float) -> None:
        """Go there at once; the caller cross-fades."""
        self.ticks = ticks
        self._at_ms = now_ms

    def reset(self) -> None:
        """Forget everything."""
        self.ticks = None

"""How the one-way delay of a track grows: the slope of arrival time over media time, without synchronous clocks.

Least squares over the quickest packets of each fifth of the last second: a queue makes all packets late, while a radio
or a machine that stands still makes some late and hands them over together, the last of them hardly late. A constant
offset between the clocks of both ends does not matter; their drift is hundreds of times less than what a queue does.
Mirrored in edge/client/src/stream/delayGradient.ts, which reports it (SPEC.md section 5).
A packet counts when it came by itself, never when it was restored.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from core.limits import MEDIA_CLOCK_HZ

__all__ = ["DelayGradient"]

_WINDOW_S: Final = 1.0
_GROUP_S: Final = 0.2
_SPAN_S_MIN: Final = 0.4
"""Shorter stretches say more about jitter than about a queue."""
_SAMPLES_MIN: Final = 6
_GROUPS_MIN: Final = 3
_SAMPLES_MAX: Final = 64
_WIRE_MAX: Final = 0x7FFF


class DelayGradient:
    """Collects arrivals; any order and any values are accepted."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=_SAMPLES_MAX)

    def add(self, media_ticks: int, arrival_s: float) -> None:
        """A packet came.

        Args:
            media_ticks: its unwrapped 48 kHz media time.
            arrival_s: when, on any steady local clock.
        """
        media_s = media_ticks / MEDIA_CLOCK_HZ
        arrivals = self._arrivals
        if arrivals and (arrival_s < arrivals[-1][1] or abs(media_s - arrivals[-1][0]) > 2 * _WINDOW_S):
            arrivals.clear()  # a clock was set, or the track began anew
        arrivals.append((media_s, arrival_s))
        while arrivals[-1][1] - arrivals[0][1] > _WINDOW_S:
            arrivals.popleft()

    @property
    def slope(self) -> float | None:
        """Seconds of delay per second of media; None while too little is known."""
        if len(self._arrivals) < _SAMPLES_MIN:
            return None
        media = [at for at, _ in self._arrivals]
        newest = max(media)
        if newest - min(media) < _SPAN_S_MIN:
            return None
        quickest: dict[int, tuple[int, float]] = {}
        for at, arrival in self._arrivals:
            group, delay_us = int((newest - at) / _GROUP_S), round((arrival - at) * 1e6)
            if group not in quickest or delay_us < quickest[group][0]:
                quickest[group] = delay_us, at
        if len(quickest) < _GROUPS_MIN:
            return None
        xs, ys = [at for _, at in quickest.values()], [delay_us / 1e6 for delay_us, _ in quickest.values()]
        mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
        variance = sum((x - mean_x) ** 2 for x in xs)
        return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / variance

    @property
    def wire(self) -> int | None:
        """The same as feedback carries it: tenths of a millisecond per second, saturated to 16 bits."""
        slope = self.slope
        return None if slope is None else round(min(max(slope * 10_000, -_WIRE_MAX - 1), _WIRE_MAX))

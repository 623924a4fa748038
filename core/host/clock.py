"""The clocks that core may not read: processes read them here and pass the times on."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]


class Clock(Protocol):
    """What a process asks for the time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment, never going back: the `now` of every sans-IO object."""
        ...

    def wall(self) -> int:
        """Seconds since 1970-01-01 UTC: for tokens and records, never for durations."""
        ...


class SystemClock:
    """The machine's clocks. On Linux asyncio's `loop.time()` is the same monotonic clock."""

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def wall(self) -> int:
        """See `Clock.wall`."""
        return int(time.time())


class ManualClock:
    """A clock that stands still until it is told to move, for tests of whole processes.

    Args:
        now: first monotonic time in seconds.
        wall: wall time at `now`; both advance together.
    """

    def __init__(self, now: float = 0.0, wall: int = 1_700_000_000) -> None:
        self._now = now
        self._wall = float(wall)

    def advance(self, delta_s: float) -> None:
        """Let time pass. Raises: ValueError: backwards."""
        if delta_s < 0:
            raise ValueError("time does not go back")
        self._now += delta_s
        self._wall += delta_s

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._now

    def wall(self) -> int:
        """See `Clock.wall`."""
        return int(self._wall)

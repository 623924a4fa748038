"""How much somebody may send: a token bucket, and ten times as much before it is no accident any more."""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["Allowance", "Verdict"]

_FLOOD: Final = 10.0
"""How many times the allowance is a flood."""


class Verdict(Enum):
    """What to do with one more."""

    TAKE = "take"
    DROP = "drop"
    FLOOD = "flood"
    """Nobody sends that much by accident: end it."""


class Allowance:
    """Counts what one peer sends of one kind.

    Args:
        rate_hz: how many per second are taken for as long as it likes.
        burst: how many at once, after a pause.
    """

    __slots__ = ("_burst", "_now", "_rate_hz", "_sent", "_taken")

    def __init__(self, *, rate_hz: float, burst: float) -> None:
        self._rate_hz = rate_hz
        self._burst = burst
        self._taken = 0.0
        self._sent = 0.0
        self._now: float | None = None

    def ask(self, now: float) -> Verdict:
        """One more came. `now`: monotonic seconds; a clock that goes backwards gives nothing."""
        elapsed = max(0.0, now - self._now) if self._now is not None else 0.0
        self._now = now
        self._taken = max(0.0, self._taken - elapsed * self._rate_hz)
        self._sent = max(0.0, self._sent - elapsed * self._rate_hz * _FLOOD) + 1.0
        if self._sent > self._burst * _FLOOD:
            return Verdict.FLOOD
        if self._taken + 1.0 > self._burst:
            return Verdict.DROP
        self._taken += 1.0
        return Verdict.TAKE

"""How often somebody comes, as an average that forgets."""

from __future__ import annotations

import math

from core.errors import LocalProtocolError

__all__ = ["ArrivalRate"]


class ArrivalRate:
    """Arrivals per second, exponentially weighted: what came `window_s` ago counts 1/e.

    Source: the estimator of a Poisson process' rate by an exponential kernel.
    """

    __slots__ = ("_at", "_rate", "_window_s")

    def __init__(self, window_s: float = 120.0) -> None:
        if not math.isfinite(window_s) or window_s <= 0:
            raise LocalProtocolError(f"no window: {window_s} s")
        self._window_s = window_s
        self._rate = 0.0
        self._at: float | None = None

    def arrive(self, now: float) -> None:
        """Somebody has come."""
        self._rate = self.per_s(now) + 1.0 / self._window_s
        self._at = now

    def per_s(self, now: float) -> float:
        """The rate by now."""
        if self._at is None:
            return 0.0
        return self._rate * math.exp(-max(0.0, now - self._at) / self._window_s)

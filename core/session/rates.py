"""How often each of many parties may do something: a token bucket per name, for a bounded number of names."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from core.limits import RATE_LIMITED_PARTIES_MAX

__all__ = ["Rates"]


@dataclass(slots=True)
class _Bucket:
    taken: float
    at: float


class Rates:
    """Counts requests by name; who has been quiet longest is forgotten first.

    Args:
        parties_max: names that are remembered.
    """

    def __init__(self, parties_max: int = RATE_LIMITED_PARTIES_MAX) -> None:
        self._parties_max = parties_max
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def ask(self, name: str, per_minute: int, now: float) -> float:
        """Ask for one more.

        Args:
            per_minute: for as long as it likes, and as many at once after a pause; 0: no limit.
            now: monotonic seconds; a clock that goes backwards gives nothing.

        Returns: 0.0, it was taken; else in how many seconds one will be.
        """
        if per_minute <= 0:
            return 0.0
        rate_hz = per_minute / 60.0
        bucket = self._buckets.pop(name, None) or _Bucket(0.0, now)
        self._buckets[name] = bucket  # the newest is last
        bucket.taken = max(0.0, bucket.taken - max(0.0, now - bucket.at) * rate_hz)
        bucket.at = max(bucket.at, now)
        if len(self._buckets) > self._parties_max:
            self._buckets.popitem(last=False)
        if bucket.taken + 1.0 > per_minute + 1e-9:
            return (bucket.taken + 1.0 - per_minute) / rate_hz
        bucket.taken += 1.0
        return 0.0

"""What the POP itself adds to an answer, told to the viewer as stages of its turn."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Final

from edge.narrator import Narrator

__all__ = ["EdgeTime"]

_LEAST_S: Final = 1e-5
_RATIO: Final = 1.02
_PER_LOG: Final = 1.0 / math.log(_RATIO)
_CLASSES: Final = 2 + math.ceil(math.log(1.0 / _LEAST_S) * _PER_LOG)
"""The last one is everything above a second."""


class EdgeTime:
    """Of one session.

    Args:
        narrator: tells the viewer.
        fabric_latency_s: seconds that a message takes from the origin, None while unknown.
    """

    def __init__(self, *, narrator: Narrator, fabric_latency_s: Callable[[], float | None]) -> None:
        self._narrator = narrator
        self._fabric_latency_s = fabric_latency_s
        self._arrived_at = 0.0
        self._added = _Delays()

    def utterance_begins(self) -> None:
        """A new utterance is announced."""
        self._arrived_at = 0.0

    def voice_arrived(self, now: float) -> None:
        """A packet of it came."""
        if self._arrived_at == 0.0:
            self._arrived_at = now

    def voice_left(self, added_s: float) -> None:
        """A packet of it left, so long after it could have."""
        self._added.add(added_s)

    def first_left(self, utterance_id: int, arrived_at: float, now: float) -> None:
        """Its first packet left, which had arrived by then."""
        stages = {"edge": (now - (self._arrived_at or arrived_at)) * 1e3}
        fabric_s = self._fabric_latency_s()
        if fabric_s is not None:
            stages["fabric"] = fabric_s * 1e3
        self._narrator.stages(self._narrator.turn_of(utterance_id), stages)

    def voice_over(self, utterance_id: int) -> None:
        """The voice has ended, or was cut."""
        added = self._added
        if added.count:
            self._added = _Delays()
            turn_id = self._narrator.turn_of(utterance_id) if utterance_id else 0
            p99_ms = added.percentile(0.99) * 1e3
            self._narrator.stages(turn_id, {}, edge_added_ms_p99=p99_ms, edge_units=float(added.count))


class _Delays:
    """How long packets were delayed, in as much memory for an hour of them as for a second: counts of geometric classes
    between 10 µs and a second. A percentile is the upper bound of its class, so at most 2 % too much.

    Attributes:
        count: how many there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._counts = array("L", bytes(array("L").itemsize * _CLASSES))

    def add(self, delay_s: float) -> None:
        """One more."""
        self.count += 1
        number = 0 if delay_s <= _LEAST_S else 1 + int(math.log(delay_s / _LEAST_S) * _PER_LOG)
        self._counts[min(number, _CLASSES - 1)] += 1

    def percentile(self, share: float) -> float:
        """Seconds that at most `1 - share` of them were above, as far as the classes tell; 0 for less than 10 µs."""
        left = min(self.count - 1, int(self.count * share))
        for number, count in enumerate(self._counts):
            if left < count:
                return _LEAST_S * _RATIO**number if number else 0.0
            left -= count
        return 0.0

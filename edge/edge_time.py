"""What the POP itself adds to an answer, told to the viewer as stages of its turn."""

from __future__ import annotations

from collections.abc import Callable

from edge.narrator import Narrator

__all__ = ["EdgeTime"]


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
        self._added_s: list[float] = []

    def utterance_begins(self) -> None:
        """A new utterance is announced."""
        self._arrived_at = 0.0

    def voice_arrived(self, now: float) -> None:
        """A packet of it came."""
        if self._arrived_at == 0.0:
            self._arrived_at = now

    def voice_left(self, added_s: float) -> None:
        """A packet of it left, so long after it could have."""
        self._added_s.append(added_s)

    def first_left(self, utterance_id: int, arrived_at: float, now: float) -> None:
        """Its first packet left, which had arrived by then."""
        stages = {"edge": (now - (self._arrived_at or arrived_at)) * 1e3}
        fabric_s = self._fabric_latency_s()
        if fabric_s is not None:
            stages["fabric"] = fabric_s * 1e3
        self._narrator.stages(self._narrator.turn_of(utterance_id), stages)

    def voice_over(self, utterance_id: int) -> None:
        """The voice has ended, or was cut."""
        if self._added_s:
            ordered = sorted(self._added_s)
            p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
            turn_id = self._narrator.turn_of(utterance_id) if utterance_id else 0
            self._narrator.stages(turn_id, {}, edge_added_ms_p99=p99 * 1e3, edge_units=float(len(ordered)))
            self._added_s.clear()

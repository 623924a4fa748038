"""What an interruption does to what is sent: quieter while the user may be speaking, then cut and flagged as cut."""

from __future__ import annotations

from core.limits import BARGE_IN_HEARD_S_MAX, CUT_FLAG_S
from core.wire.access_unit import AccessUnitFlags

__all__ = ["Interruption"]


class Interruption:
    """Of one session. All `now` are monotonic seconds.

    Attributes:
        ducked: the voice should be played quieter.
    """

    def __init__(self) -> None:
        self.ducked = False
        self._cut_until = 0.0
        self._origin_unaware_until = 0.0

    def cut(self, now: float) -> None:
        """The voice was cut: what the viewer still holds of it must not sound."""
        self._cut_until = now + CUT_FLAG_S

    def answer_cut(self, now: float) -> None:
        """The edge cut an answer of which the origin sends more until it has heard of that."""
        self._origin_unaware_until = now + BARGE_IN_HEARD_S_MAX

    def left_s(self, now: float) -> tuple[float, float]:
        """For how long packets still say CUT, and the origin may not have heard of it; seconds, 0 = not at all."""
        return max(0.0, self._cut_until - now), max(0.0, self._origin_unaware_until - now)

    def go_on(self, cut_s: float, unaware_s: float, now: float) -> None:
        """The same at another POP; see `left_s`."""
        self._cut_until, self._origin_unaware_until = now + cut_s, now + unaware_s

    def origin_heard(self) -> None:
        """The origin answered it."""
        self._origin_unaware_until = 0.0

    def refuses(self, now: float) -> bool:
        """What the origin begins to say now belongs to the answer that was cut."""
        return now < self._origin_unaware_until

    def voice_begins(self) -> None:
        """A new voice must be heard at once."""
        self._cut_until = 0.0

    def settled(self, now: float) -> bool:
        """No packet has to say CUT any more."""
        return now > self._cut_until

    def flags(self, due: float) -> AccessUnitFlags:
        """Of the packet that was due then."""
        flags = AccessUnitFlags.DUCK if self.ducked else AccessUnitFlags(0)
        return flags | AccessUnitFlags.CUT if due < self._cut_until else flags

"""What a viewer's feedback says about the link: how many units it lost, in which runs, and how long it takes.

The sender notes when each unit left. Feedback names the newest unit that was decoded and, in a bitmap, which of the 32
before it arrived (SPEC.md section 5); a unit is judged once, when a few later ones have had the time to overtake it.
Feedback comes about every 100 ms, so that each unit is in several of them, and a lost one costs nothing.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

from core.errors import Dropped
from core.wire.feedback import Feedback

__all__ = ["Reception", "ReceptionMeter"]

_SENT_UNITS: Final = 1_024
"""Units that feedback may still be about (20 s at 50 packets/s)."""
_REORDERED_UNITS: Final = 3
"""A unit that so many later ones have overtaken is lost (RFC 9002 section 6.1.1)."""
_JUDGED_UNITS: Final = 128
_BITMAP: Final = 32
_ROUND_TRIPS: Final = 10
_MASK: Final = (1 << _JUDGED_UNITS) - 1


@dataclass(frozen=True, slots=True)
class Reception:
    """The link lately, as `core.stream.rate_control.RateController.on_feedback` wants it.

    Attributes:
        loss: share of the last 128 judged units that did not arrive, 0 to 1.
        burst: mean length of runs of them, from 1.
        owd_gradient: growth of the one-way delay in seconds per second; 0 where the viewer does not say.
        rtt_s: least of the last ten times from sending a unit to hearing of it; it contains the feedback's own delay.
    """

    loss: float
    burst: float
    owd_gradient: float
    rtt_s: float


class ReceptionMeter:
    """Judges one viewer's link by its feedback, which may be lost, late, repeated, or invented.

    Args:
        first_sequence_number: of the first unit that this link carries, 16 bits.

    Attributes:
        lost: units that did not arrive, of all that were judged.
    """

    def __init__(self, first_sequence_number: int = 0) -> None:
        self.lost = 0
        self._offset = first_sequence_number
        self._sent_at = array("d")
        self._first = 0
        self._judged = 0
        self._history = 0
        self._history_units = 0
        self._round_trips: list[float] = []
        self._newest = -1

    def on_sent(self, now: float) -> None:
        """The next unit was sent; units are numbered in this order, as the sender does."""
        self._sent_at.append(now)
        if len(self._sent_at) > 2 * _SENT_UNITS:
            del self._sent_at[:_SENT_UNITS]
            self._first += _SENT_UNITS

    def on_feedback(self, feedback: Feedback, now: float) -> Reception | Dropped:
        """Feedback came. What it says about units that were never sent, or long ago, is dropped."""
        if feedback.acknowledged is None:
            return Dropped("nothing-acknowledged")
        sent = self._first + len(self._sent_at)
        back = (self._offset + sent - 1 - feedback.acknowledged) & 0xFFFF
        newest = sent - 1 - back
        if newest < max(0, sent - _SENT_UNITS):
            return Dropped("never-sent")
        if newest < self._newest:
            return Dropped("stale")
        if newest > self._newest:
            self._round_trips = [*self._round_trips[1 - _ROUND_TRIPS :], now - self._sent_at[newest - self._first]]
            self._newest = newest
        if feedback.received is not None:
            self._judge(newest, feedback.received)
        runs = (self._history & ~(self._history >> 1)).bit_count()
        lost = self._history.bit_count()
        return Reception(
            loss=lost / max(1, self._history_units),
            burst=lost / runs if runs else 1.0,
            owd_gradient=(feedback.owd_gradient or 0) / 10_000,
            rtt_s=max(0.0, min(self._round_trips)),
        )

    def _judge(self, newest: int, received: int) -> None:
        """Judge units up to the one that has been overtaken often enough; those before the bitmap nobody knows."""
        end = newest - _REORDERED_UNITS
        for unit in range(max(self._judged, newest - _BITMAP, 0), end + 1):
            lost = received >> newest - 1 - unit & 1 ^ 1
            self.lost += lost
            self._history = (self._history << 1 | lost) & _MASK
            self._history_units = min(self._history_units + 1, _JUDGED_UNITS)
        self._judged = max(self._judged, end + 1)

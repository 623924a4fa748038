"""What a phase costs of the time there is for it, and whether one more session fits. It is told, it measures nothing.

A phase has 5 ms. Two exponential means are kept of every phase: how long its work took, which says what one more
session would add, and how long after it was due its work was done, which tells of everything else that the process or
the machine has to do.
"""

from __future__ import annotations

import math
from typing import Final

from core.errors import LocalProtocolError
from core.limits import ADMISSION_LOAD_MAX, PHASES_PER_TICK, TICK_S

__all__ = ["PHASE_S", "TickBudget"]

PHASE_S: Final = TICK_S / PHASES_PER_TICK
_MEAN_S: Final = 1.0
_KEPT: Final = 1.0 - math.exp(-TICK_S / _MEAN_S)
"""Weight of a phase's newest round in its mean."""
_OTHERS: Final = 3.0
_OUTLIER: Final = 4.0
"""A single stall counts as at most so many budgets: it is over, and says nothing of the next second."""


class TickBudget:
    """One per POP.

    Attributes:
        frame_s: what one frame costs, seconds, a mean; 0.0 before the first.
    """

    def __init__(self) -> None:
        self._busy_s = [0.0] * PHASES_PER_TICK
        self._done_s = [0.0] * PHASES_PER_TICK
        self.frame_s = 0.0

    def observe(self, phase: int, *, late_s: float, busy_s: float, frames: int) -> None:
        """A phase is over.

        Args:
            phase: 0 … 3.
            late_s: how late it began.
            busy_s: how long it took.
            frames: how many it made.

        Raises: LocalProtocolError: no such phase, or times that are negative or not finite.
        """
        if not 0 <= phase < PHASES_PER_TICK or not 0.0 <= late_s + busy_s < math.inf or min(late_s, busy_s) < 0.0:
            raise LocalProtocolError(f"phase {phase} cannot have begun {late_s} s late and taken {busy_s} s")
        worst = _OUTLIER * PHASE_S
        self._busy_s[phase] += (min(busy_s, worst) - self._busy_s[phase]) * _KEPT
        self._done_s[phase] += (min(late_s + busy_s, worst) - self._done_s[phase]) * _KEPT
        if frames > 0:
            cost_s = min(busy_s, worst) / frames
            self.frame_s += (cost_s - self.frame_s) * (_KEPT / PHASES_PER_TICK if self.frame_s else 1.0)

    @property
    def load(self) -> float:
        """How long after it was due the slowest phase is done, as a part of its time; above 1 the next one waits. What
        others make it late by counts in proportion to its own work: where that is little, less of it would not help."""
        return max(map(min, self._done_s, (_OTHERS * busy_s for busy_s in self._busy_s))) / PHASE_S

    @property
    def busy(self) -> float:
        """Share of the time that phases take, 0 to 1 and more."""
        return sum(self._busy_s) / TICK_S

    def admits(self, sessions: int) -> bool:
        """One more session fits: the phase it joins keeps within limits.ADMISSION_LOAD_MAX of its time.

        Args:
            sessions: that are there. The first ones are always let in: what they cost is not known yet.
        """
        if sessions < PHASES_PER_TICK:
            return True
        return min(self._busy_s) + self.frame_s <= ADMISSION_LOAD_MAX * PHASE_S

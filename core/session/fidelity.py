"""Who gives way when there is too much to do: fidelity is lowered where it is missed least, and raised again with care.

Tiers are counted from 0, the dearest, to the cheapest. A face that is silent loses nothing by a lower tier, it only
starts its next sentence cheaply; so the silent ones go first, all at once. Then those that speak go down one tier at a
time, a part of them per step, the least active first, until what is left fits. Nobody is ever sent away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.limits import (
    FIDELITY_LOWER_LOAD,
    FIDELITY_LOWER_S,
    FIDELITY_RAISE_LOAD,
    FIDELITY_RAISE_S,
    FIDELITY_STEP_SHARE,
    SILENT_ACTIVITY_MAX,
)

__all__ = ["FidelityPolicy"]


class FidelityPolicy:
    """One per POP.

    Args:
        tiers: how many there are, at least 1.

    Attributes:
        lowered, raised: sessions that were moved a tier down or up, in all.
    """

    def __init__(self, tiers: int) -> None:
        self._cheapest = tiers - 1
        self._acted_at: float | None = None
        self._calm_since: float | None = None
        self.lowered = 0
        self.raised = 0

    def wants(self, load: float, now: float) -> int:
        """Whether it is time for a step.

        Args:
            load: `core.session.tick_budget.TickBudget.load`.
            now: monotonic seconds.
        Returns: 1 lower, -1 raise, 0 leave all as it is.
        """
        rested = self._acted_at is None or now - self._acted_at >= FIDELITY_LOWER_S
        if load > FIDELITY_RAISE_LOAD:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        if load > FIDELITY_LOWER_LOAD and rested:
            self._acted_at = now
            return 1
        if self._calm_since is not None and now - self._calm_since >= FIDELITY_RAISE_S:
            self._acted_at = self._calm_since = now
            return -1
        return 0

    def relieve(self, tiers: NDArray[np.int8], activity: NDArray[np.float64]) -> NDArray[np.int8]:
        """One step down.

        Args:
            tiers: int8[n], of all sessions.
            activity: float64[n] in [0, 1], how much each spoke lately.
        Returns: int8[n], their tiers from now on; the same when all are as cheap as can be.
        """
        wanted = tiers.copy()
        above = tiers < self._cheapest
        silent = above & (activity <= SILENT_ACTIVITY_MAX)
        if silent.any():
            wanted[silent] = self._cheapest
        else:
            chosen = self._some(np.flatnonzero(above), activity)
            wanted[chosen] += 1
        self.lowered += int((wanted != tiers).sum())
        return wanted

    def restore(self, tiers: NDArray[np.int8], activity: NDArray[np.float64]) -> NDArray[np.int8]:
        """One step up: the most active ones first. Arguments and result as for `relieve`."""
        wanted = tiers.copy()
        chosen = self._some(np.flatnonzero(tiers > 0), -activity)
        wanted[chosen] -= 1
        self.raised += len(chosen)
        return wanted

    @staticmethod
    def _some(which: NDArray[np.intp], order: NDArray[np.float64]) -> NDArray[np.intp]:
        """The first part of them in this order, at least one if there is one; ties by slot."""
        count = -(-len(which) * FIDELITY_STEP_SHARE // 1)
        return which[np.argsort(order[which], kind="stable")[: int(count)]]

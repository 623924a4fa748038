"""Keeps a POP's phases within their time: says whether one more session fits, and moves faces between tiers."""

from __future__ import annotations

from core.session.fidelity import FidelityPolicy
from core.session.tick_budget import TickBudget
from edge.animator import TIERS, Animator

__all__ = ["Overload"]


class Overload:
    """One per POP.

    Args:
        animator: whose faces give way.

    Attributes:
        budget: what phases cost.
        policy: who gives way.
    """

    def __init__(self, animator: Animator) -> None:
        self._animator = animator
        self.budget = TickBudget()
        self.policy = FidelityPolicy(len(TIERS))

    def phase_done(self, phase: int, late_s: float, busy_s: float, frames: int, now: float) -> None:
        """A phase is over: `Conductor`'s `observe_phase`."""
        self.budget.observe(phase, late_s=late_s, busy_s=busy_s, frames=frames)
        step = self.policy.wants(self.budget.load, now)
        if step > 0:
            self._animator.retier(self.policy.relieve)
        elif step < 0:
            self._animator.retier(self.policy.restore)

    def admits(self, sessions: int) -> bool:
        """One more session fits. Args: sessions: that are there."""
        return self.budget.admits(sessions)

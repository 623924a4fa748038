"""What the last answered turns took, stage by stage, beside what they may take."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from core.session.budget import STAGES

__all__ = ["TurnLog"]

_TURNS_MAX: Final = 200


class TurnLog:
    """Of one origin; forgets the oldest. It knows times, never words."""

    def __init__(self) -> None:
        self._turns: deque[dict[str, float]] = deque(maxlen=_TURNS_MAX)

    def note(self, stages: Mapping[str, float]) -> None:
        """One spoken turn that was answered; milliseconds by the names of core.session.budget."""
        self._turns.append(dict(stages))

    def report(self) -> dict[str, Any]:
        """`turns`: how many; `total_ms`: median from the end of speech to the first packet, None without a turn;
        `stages`: name, title, target_ms and median_ms of each of core.session.budget.STAGES, None where this origin
        does not see it."""
        totals = [sum(turn.values()) for turn in self._turns]
        return {
            "turns": len(totals),
            "total_ms": round(statistics.median(totals), 1) if totals else None,
            "stages": [
                {
                    "name": stage.name,
                    "title": stage.title,
                    "target_ms": stage.target_ms,
                    "median_ms": self._median(stage.name),
                }
                for stage in STAGES
            ],
        }

    def _median(self, name: str) -> float | None:
        known = [turn[name] for turn in self._turns if name in turn]
        return round(statistics.median(known), 1) if known else None

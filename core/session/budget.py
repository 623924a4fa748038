"""The latency budget: the stages between the end of the user's speech and the first sound of the answer.

One home for the names; origin and POP fill them in, page, terminal and metrics show them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["STAGES", "Stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a turn, in order of time.

    Attributes:
        name: key in messages and reports.
        title: what people read.
        target_ms: what the stage may cost in the median.
    """

    name: str
    title: str
    target_ms: float


STAGES: Final[tuple[Stage, ...]] = (
    Stage("detect", "end of speech noticed", 250.0),
    Stage("transcribe", "speech to text", 60.0),
    Stage("think", "first clause", 150.0),
    Stage("speak", "voice synthesised", 30.0),
    Stage("fabric", "origin to POP", 10.0),
    Stage("edge", "animated and sent", 25.0),
    Stage("playout", "network and playout", 75.0),
)
"""Together at most 600 ms: first audio."""

"""Progressive pruning: hidden units leave one group after the other while the rest learns to do without them.

Units, not single weights: a runtime for dense matrices gains nothing from scattered zeros. The last block keeps all of
its units, because characters speak to each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from core.speech.student_layout import DILATIONS, HIDDEN_WIDTHS
from origin.distill.export import Weights, weights_of
from origin.distill.lessons import Lessons
from origin.distill.train import Course, Trained, TrainingPlan, draw_batch

__all__ = ["prune"]

_ROUNDS: Final = 8
_WIDEST: Final = HIDDEN_WIDTHS["high"]


def prune(
    lessons: Lessons, trained: Trained, keep: int, plan: TrainingPlan, *,
    progress: Callable[[float, float], None] = lambda done, loss: None,
) -> tuple[Weights, tuple[int, ...]]:  # fmt: skip
    """Take units out of the high fidelity.

    Args:
        lessons, plan: as for `origin.distill.train.train`; the plan's steps are spread over the rounds.
        trained: where to begin; it is not changed.
        keep: units of each block but the last.
        progress: called with the part that is done and the current loss.
    Returns: weights for `origin.distill.export.export`, and the units per block.
    """
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng((plan.seed, 13))
    course = Course(lessons, plan, torch.device("cpu"), trained)
    student = course.student
    blocks = range(len(DILATIONS) - 1)
    kept = [torch.arange(_WIDEST) for _ in blocks]
    everyone = ((slice(0, plan.batch), _WIDEST),)
    each = max(1, plan.steps // _ROUNDS)
    for step in range(each * _ROUNDS):
        if step % each == 0:
            left = _WIDEST - round((_WIDEST - keep) * (step // each + 1) / _ROUNDS)
            kept = [_strongest(student.narrow[block].weight, student.widen[block].weight, left) for block in blocks]
        batch = draw_batch(lessons, plan, student.usual.numpy(), rng, groups=everyone)
        loss = course.step(batch, plan.learning_rate * 0.3 * (1.0 - step / (each * _ROUNDS)))
        with torch.no_grad():
            for block in blocks:
                gone = torch.ones(_WIDEST, dtype=torch.bool)
                gone[kept[block]] = False
                student.narrow[block].weight[:, gone] = 0.0
        progress((step + 1) / (each * _ROUNDS), loss)
    return _without(weights_of(student), kept), (*(len(one) for one in kept), _WIDEST)


def _strongest(narrow: torch.Tensor, widen: torch.Tensor, count: int) -> torch.Tensor:
    """The units whose way through the block is loudest, in their old order."""
    strength = narrow.detach().norm(dim=0) * widen.detach().norm(dim=1)
    return strength.argsort(descending=True)[:count].sort().values


def _without(weights: dict[str, NDArray[np.float32]], kept: list[torch.Tensor]) -> Weights:
    for block, units in enumerate(kept):
        rows = units.numpy()
        for name in (f"widen.{block}.weight", f"widen.{block}.bias"):
            weights[name] = weights[name][rows]
        weights[f"narrow.{block}.weight"] = weights[f"narrow.{block}.weight"][:, rows]
    return weights

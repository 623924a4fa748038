"""Training: all fidelities, all characters, with and without phonemes, in one go."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.limits import LOG_MEL_BANDS
from core.speech.student_layout import (
    FIDELITIES,
    HIDDEN_WIDTHS,
    OUTPUTS,
    STATE_ROWS,
    STYLE_WIDTH,
    TRUNK_WIDTH,
)
from origin.distill.augment import vary_log_mel
from origin.distill.lessons import Lessons
from origin.distill.student import EAR_SPAN, Student, fidelity_mask
from origin.distill.teacher import LOSS_WEIGHTS

__all__ = ["Trained", "TrainingPlan", "train"]

_WARM_UP_FRAMES: Final = 13
"""A sequence begins in the middle of speech without a past; its first frames do not count."""
_WEIGHT_AVERAGE: Final = 0.997
_SPEED_WEIGHT: Final = 0.25
"""Of the loss on frame-to-frame changes: phase before height."""
_SHUT_WEIGHT: Final = 1.5
"""Frames with shut lips count this much more."""
_LIPS: Final = OUTPUTS.index("lips")
_SYNC: Final = OUTPUTS.index("sync")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How to train.

    Attributes:
        steps: batches.
        batch: sequences per batch. frames: of each.
        learning_rate: the highest, after a warm-up.
        seconds_max: stop early after this long; the schedule follows the clock then, and the result is not repeatable.
        seed: of everything drawn.
    """

    steps: int = 4_000
    batch: int = 40
    frames: int = 144
    learning_rate: float = 3e-3
    seconds_max: float = math.inf
    seed: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What came out.

    Attributes:
        student: with averaged weights.
        styles: float32[characters, STYLE_WIDTH]; the first is neutral, all zero.
        losses: mean loss of each hundredth of the training.
    """

    student: Student
    styles: NDArray[np.float32]
    losses: list[float]


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    inputs: Tensor
    targets: Tensor
    state: Tensor
    characters: Tensor
    mask: Tensor


def usual_spectrum(lessons: Lessons) -> NDArray[np.float32]:
    """Mean log-mel / 255 of the audible frames of all situations: float32[40]."""
    frames = lessons.mel.reshape(-1, LOG_MEL_BANDS)[:: max(1, lessons.mel.size // (LOG_MEL_BANDS * 200_000))]
    values = frames.astype(np.float32) / np.float32(255.0)
    return np.asarray(values[values.mean(axis=1) > 0.25].mean(axis=0), dtype=np.float32)


def draw_batch(lessons: Lessons, plan: TrainingPlan, usual: NDArray[np.float32], rng: np.random.Generator) -> _Batch:
    """Random pieces of the track, each in a recording situation, for a character, with or without phonemes."""
    size, frames = plan.batch, plan.frames
    total = lessons.mel.shape[1]
    rows = rng.integers(0, total - frames, size)[:, None] + np.arange(frames)
    situation = rng.integers(0, len(lessons.mel), size)[:, None]
    heard = lessons.mel[situation, rows]
    mel = heard.astype(np.float32)
    varied = rng.random(size) < 0.8
    mel[varied] = vary_log_mel(heard[varied], rng)
    mel /= 255.0
    characters = rng.integers(0, len(lessons.targets), size)
    characters[rng.random(size) < 0.3] = 0
    switch = np.repeat(characters[:, None], frames, axis=1)
    swapping = np.flatnonzero(rng.random(size) < 0.15)
    for row in swapping:
        switch[row, int(rng.integers(20, frames - 20)) :] = rng.integers(0, len(lessons.targets))
    targets = lessons.targets[switch, rows].astype(np.float32)
    asked, targets = _phonemes(lessons.plan[rows].astype(np.float32), targets, rng)
    inputs = np.concatenate([mel, asked, lessons.mood[rows].astype(np.float32)], axis=2)
    state = np.zeros((size, STATE_ROWS, TRUNK_WIDTH), np.float32)
    settled = rng.random(size) < 0.7
    audible = mel.mean(axis=2) > 0.25
    mean = (mel * audible[..., None]).sum(axis=1) / np.maximum(audible.sum(axis=1), 1)[:, None]
    state[settled, 0, :LOG_MEL_BANDS] = (mean - usual)[settled]
    state[settled, 0, LOG_MEL_BANDS] = EAR_SPAN
    state[audible.sum(axis=1) < 10, 0] = 0.0
    return _Batch(
        torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(state), torch.from_numpy(switch),
        fidelity_mask(torch.from_numpy(_widths(size, frames, rng))),
    )  # fmt: skip


def _phonemes(
    asked: NDArray[np.float32], targets: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Take the phonemes away from most sequences, from some half-way, and give a few those of another moment."""
    size, frames = asked.shape[:2]
    kind = rng.random((size,))
    for row in range(size):
        if kind[row] < 0.70:
            asked[row] = 0.0
            targets[row, :, _SYNC] *= 0.7
        elif kind[row] < 0.79:
            cut = int(rng.integers(10, frames - 10))
            side = slice(None, cut) if rng.random() < 0.5 else slice(cut, None)
            asked[row, side] = 0.0
            targets[row, side, _SYNC] *= 0.7
        elif kind[row] < 0.82:
            asked[row] = np.roll(asked[row], int(rng.integers(15, frames - 15)), axis=0)
            targets[row, :, _SYNC] = 0.0
    return asked, targets


def _widths(size: int, frames: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A fidelity for every frame: mostly one per sequence, some sequences change it every now and then."""
    choices = np.array([HIDDEN_WIDTHS[name] for name in FIDELITIES])
    widths = np.repeat(rng.choice(choices, size, p=(0.6, 0.2, 0.2))[:, None], frames, axis=1)
    for row in np.flatnonzero(rng.random(size) < 0.3):
        at = 0
        while (at := at + int(rng.integers(5, 50))) < frames:
            widths[row, at:] = rng.choice(choices)
    return widths.astype(np.int64)


class _Loss:
    """Squared error in units of each output's variance, weighted by what a viewer notices."""

    def __init__(self, lessons: Lessons) -> None:
        sample = lessons.targets[0, :: max(1, lessons.targets.shape[1] // 100_000)].astype(np.float32)
        steps = np.diff(lessons.targets[0, :100_000].astype(np.float32), axis=0)
        weights = np.array([LOSS_WEIGHTS[name] for name in OUTPUTS], np.float32)
        self._height = torch.from_numpy(weights / np.maximum(sample.var(axis=0), 1e-5))
        self._speed = torch.from_numpy(_SPEED_WEIGHT * weights / np.maximum(steps.var(axis=0), 1e-5))

    def __call__(self, answer: Tensor, targets: Tensor) -> Tensor:
        answer, targets = answer[:, _WARM_UP_FRAMES:], targets[:, _WARM_UP_FRAMES:]
        shut = 1.0 + _SHUT_WEIGHT * targets[..., _LIPS : _LIPS + 1]
        height = (answer - targets) ** 2 * shut
        step = (answer.diff(dim=1) - targets.diff(dim=1)) ** 2
        return (height * self._height).sum(dim=2).mean() + (step * self._speed).sum(dim=2).mean()


def train(
    lessons: Lessons, plan: TrainingPlan, *, going_on: Trained | None = None,
    progress: Callable[[float, float], None] = lambda done, loss: None,
) -> Trained:  # fmt: skip
    """Train a student.

    Args:
        lessons: all characters' targets; the first is the neutral one.
        plan: how.
        going_on: from where; None: from nothing.
        progress: called with the part that is done and the current loss.
    """
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng((plan.seed, 5))
    student = Student(usual_spectrum(lessons)) if going_on is None else going_on.student
    usual = student.usual.numpy()
    styles = nn.Parameter(torch.zeros(len(lessons.targets), STYLE_WIDTH))
    if going_on is not None:
        styles.data.copy_(torch.from_numpy(going_on.styles))
    loss_of = _Loss(lessons)
    optimizer = torch.optim.AdamW(
        [{"params": list(student.parameters()), "weight_decay": 1e-3}, {"params": [styles], "weight_decay": 0.0}],
        lr=plan.learning_rate,
    )
    averaged = [parameter.detach().clone() for parameter in (*student.parameters(), styles)]
    losses: list[float] = []
    began, recent = time.monotonic(), 0.0
    for step in range(plan.steps):
        done = max(step / plan.steps, (time.monotonic() - began) / plan.seconds_max)
        if done >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done))
        batch = draw_batch(lessons, plan, usual, rng)
        table = torch.cat([torch.zeros(1, STYLE_WIDTH), styles[1:]])
        answer, _ = student(batch.inputs, batch.state, table[batch.characters], batch.mask)
        loss = loss_of(answer, batch.targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(list(student.parameters()), 2.0)
        optimizer.step()
        keep = min(_WEIGHT_AVERAGE, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, parameter in zip(averaged, (*student.parameters(), styles), strict=True):
                mean.lerp_(parameter, 1.0 - keep)
        recent = loss.item() if step == 0 else 0.95 * recent + 0.05 * loss.item()
        if step % max(1, plan.steps // 100) == 0:
            losses.append(recent)
            progress(done, recent)
    with torch.no_grad():
        for mean, parameter in zip(averaged, (*student.parameters(), styles), strict=True):
            parameter.copy_(mean)
        styles[0] = 0.0
    return Trained(student, styles.detach().numpy(), losses)

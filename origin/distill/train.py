"""Training: all fidelities, all characters, with and without phonemes, in one go."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

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
from origin.distill.lessons import SOUNDS, Lessons
from origin.distill.student import EAR_SPAN, Student, fidelity_mask
from origin.distill.teacher import LOSS_WEIGHTS

__all__ = ["Course", "Groups", "Trained", "TrainingPlan", "draw_batch", "train"]

_WARM_UP_FRAMES: Final = 13
"""A sequence begins in the middle of speech without a past; its first frames do not count."""
_AVERAGE_EVERY: Final = 4
_WEIGHT_AVERAGE: Final = 0.988
"""Of the mean weights, kept at each averaging."""
_MATRICES: Final = 2.0
"""Muon's learning rate for the layers' matrices, as a factor on AdamW's for everything else. With 8 the loss falls more
slowly, between 1.3 and 3 it hardly differs."""
_DECAY: Final = 0.05
"""Of the matrices: long training on synthetic voices would otherwise cost some of people's."""
_SPEED_WEIGHT: Final = 0.25
"""Of the loss on frame-to-frame changes: phase before height."""
_SHUT_WEIGHT: Final = 1.5
"""Frames with shut lips count this much more."""
_SOUNDS_WEIGHT: Final = 1.0
"""Of naming the sounds (`SOUNDS`), which only training asks for: who knows the sound knows its mouth."""
_SOUND_OFFSETS: Final = (-2, 0, 2)
"""Frames, from the answered one, whose sounds are to be named."""
_SHARES: Final = (0.5, 0.175, 0.125)
"""Of the sequences at each fidelity all along; the others change it."""
_VARIED: Final = 0.8
"""Of the sequences that get another recording situation."""
_CPU: Final = torch.device("cpu")
_LIPS: Final = OUTPUTS.index("lips")
_SYNC: Final = OUTPUTS.index("sync")

Groups = tuple[tuple[slice, Tensor | int], ...]
"""Which rows of a batch work with how many units, see `Student.forward`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How to train.

    Attributes:
        steps: batches.
        batch: sequences per batch. frames: of each.
        learning_rate: the highest, after a warm-up.
        augment: False: only the clean sound, as the synthesiser made it (to see what augmentation is worth).
        people: part of the sequences that are drawn from what voices learnt from people say, beyond its part of the
            corpus.
        seed: of everything drawn.
    """

    steps: int = 13_000
    batch: int = 18
    frames: int = 144
    learning_rate: float = 3e-3
    augment: bool = True
    people: float = 0.25
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
    """Attributes: sounds: int64[batch, time, 3], index into SOUNDS."""

    inputs: Tensor
    targets: Tensor
    state: Tensor
    characters: Tensor
    sounds: Tensor
    groups: Groups


def usual_spectrum(lessons: Lessons) -> NDArray[np.float32]:
    """Mean log-mel / 255 of the audible frames of all situations: float32[40]."""
    frames = lessons.mel.reshape(-1, LOG_MEL_BANDS)[:: max(1, lessons.mel.size // (LOG_MEL_BANDS * 200_000))]
    values = frames.astype(np.float32) / np.float32(255.0)
    return np.asarray(values[values.mean(axis=1) > 0.25].mean(axis=0), dtype=np.float32)


def draw_batch(
    lessons: Lessons, plan: TrainingPlan, usual: NDArray[np.float32], rng: np.random.Generator,
    device: torch.device = _CPU, groups: Groups | None = None,
) -> _Batch:  # fmt: skip
    """Random pieces of the track, each in a recording situation, for a character, with or without phonemes.

    Args:
        groups: who works with how many units; None: drawn.
    """
    size, frames = plan.batch, plan.frames
    total = lessons.mel.shape[1]
    rows = _begins(lessons, plan, rng)[:, None] + np.arange(frames)
    situation = rng.integers(0, len(lessons.mel) if plan.augment else 1, size)[:, None]
    heard = lessons.mel[situation, rows]
    mel = heard.astype(np.float32)
    if plan.augment:
        varied = rng.random(size) < _VARIED
        mel[varied] = vary_log_mel(heard[varied], rng)
    mel /= 255.0
    characters = rng.integers(0, len(lessons.targets), size)
    characters[rng.random(size) < 0.3] = 0
    targets = lessons.targets[characters[:, None], rows].astype(np.float32)
    asked, targets = _phonemes(lessons.plan[rows].astype(np.float32), targets, rng)
    inputs = np.concatenate([mel, asked, lessons.mood[rows].astype(np.float32)], axis=2)
    state = np.zeros((size, STATE_ROWS, TRUNK_WIDTH), np.float32)
    settled = rng.random(size) < 0.7
    audible = mel.mean(axis=2) > 0.25
    mean = (mel * audible[..., None]).sum(axis=1) / np.maximum(audible.sum(axis=1), 1)[:, None]
    state[settled, 0, :LOG_MEL_BANDS] = (mean - usual)[settled]
    state[settled, 0, LOG_MEL_BANDS] = EAR_SPAN
    state[audible.sum(axis=1) < 10, 0] = 0.0
    near = np.clip(rows[..., None] + np.array(_SOUND_OFFSETS), 0, total - 1)

    def there(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    return _Batch(
        there(inputs), there(targets), there(state), there(characters), there(lessons.sounds[near].astype(np.int64)),
        _groups(size, frames, rng, device) if groups is None else groups,
    )  # fmt: skip


def _begins(lessons: Lessons, plan: TrainingPlan, rng: np.random.Generator) -> NDArray[np.int64]:
    """Where each sequence of a batch begins: int64[batch]."""
    last = lessons.mel.shape[1] - plan.frames
    begins = rng.integers(0, last, plan.batch)
    ends = np.append(lessons.starts[1:], lessons.mel.shape[1])
    for row in np.flatnonzero(rng.random(plan.batch) < plan.people) if len(lessons.people) else ():
        clip = int(rng.choice(lessons.people))
        begins[row] = rng.integers(max(0, lessons.starts[clip] - 20), ends[clip] - 40)
    return np.minimum(begins, last - 1)


def _phonemes(
    asked: NDArray[np.float32], targets: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Take the phonemes away from most sequences, from some half-way, and give a few those of another moment."""
    size, frames = asked.shape[:2]
    kind = rng.random((size,))
    for row in range(size):
        if kind[row] < 0.74:
            asked[row] = 0.0
            targets[row, :, _SYNC] *= 0.7
        elif kind[row] < 0.82:
            cut = int(rng.integers(10, frames - 10))
            side = slice(None, cut) if rng.random() < 0.5 else slice(cut, None)
            asked[row, side] = 0.0
            targets[row, side, _SYNC] *= 0.7
        elif kind[row] < 0.85:
            asked[row] = np.roll(asked[row], int(rng.integers(15, frames - 15)), axis=0)
            targets[row, :, _SYNC] = 0.0
    return asked, targets


def _groups(size: int, frames: int, rng: np.random.Generator, device: torch.device) -> Groups:
    """Most sequences keep one fidelity; the last ones change it every now and then, so that all read one state."""
    edges = np.cumsum([0, *(round(part * size) for part in _SHARES)])
    choices = np.array([HIDDEN_WIDTHS[name] for name in FIDELITIES])
    groups: list[tuple[slice, Tensor | int]] = [
        (slice(int(first), int(last)), int(width))
        for first, last, width in zip(edges[:-1], edges[1:], choices, strict=True)
    ]
    changing = size - int(edges[-1])
    widths = np.empty((changing, frames), np.int64)
    for row in range(changing):
        at = 0
        while at < frames:
            widths[row, at:] = rng.choice(choices)
            at += int(rng.integers(5, 50))
    groups.append((slice(int(edges[-1]), size), fidelity_mask(torch.from_numpy(widths).to(device))))
    return tuple(groups)


class _Loss:
    """Squared error in units of each output's variance, weighted by what a viewer notices."""

    def __init__(self, lessons: Lessons, device: torch.device) -> None:
        sample = lessons.targets[0, :: max(1, lessons.targets.shape[1] // 100_000)].astype(np.float32)
        steps = np.diff(lessons.targets[0, :100_000].astype(np.float32), axis=0)
        weights = np.array([LOSS_WEIGHTS[name] for name in OUTPUTS], np.float32)
        self._height = torch.from_numpy(weights / np.maximum(sample.var(axis=0), 1e-5)).to(device)
        self._speed = torch.from_numpy(_SPEED_WEIGHT * weights / np.maximum(steps.var(axis=0), 1e-5)).to(device)

    def __call__(self, answer: Tensor, targets: Tensor) -> Tensor:
        answer, targets = answer[:, _WARM_UP_FRAMES:], targets[:, _WARM_UP_FRAMES:]
        shut = 1.0 + _SHUT_WEIGHT * targets[..., _LIPS : _LIPS + 1]
        height = (answer - targets) ** 2 * shut
        step = (answer.diff(dim=1) - targets.diff(dim=1)) ** 2
        return (height * self._height).sum(dim=2).mean() + (step * self._speed).sum(dim=2).mean()


class Course:
    """The network, what only training needs beside it, and the mean of its weights over the last steps.

    Args:
        former: from where to go on; None: from nothing.
    """

    def __init__(
        self, lessons: Lessons, plan: TrainingPlan, device: torch.device, former: Trained | None = None
    ) -> None:
        self.student = Student(usual_spectrum(lessons)).to(device)
        self.styles = nn.Parameter(torch.zeros(len(lessons.targets), STYLE_WIDTH, device=device))
        if former is not None:
            self.student.load_state_dict(former.student.state_dict())
            self.styles.data.copy_(torch.from_numpy(former.styles))
        self.sounds = nn.Linear(TRUNK_WIDTH, len(_SOUND_OFFSETS) * len(SOUNDS)).to(device)
        kept = [*self.student.parameters(), self.styles]
        layers = (self.student.stem, *self.student.widen, *self.student.narrow, self.student.head)
        matrices = [layer.weight for layer in layers]
        ids = {id(matrix) for matrix in matrices}
        others = [one for one in (*kept, *self.sounds.parameters()) if id(one) not in ids]
        self.optimizers = (
            torch.optim.Muon(
                matrices, lr=_MATRICES * plan.learning_rate, weight_decay=_DECAY, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, lr=plan.learning_rate, weight_decay=0.0, fused=True),
        )
        self._kept, self._averaged = kept, [parameter.detach().clone() for parameter in kept]
        self._loss_of = _Loss(lessons, device)

    def step(self, batch: _Batch, learning_rate: float) -> float:
        """Learn from one batch; gives its loss, the sounds' not counted."""
        for optimizer, factor in zip(self.optimizers, (_MATRICES, 1.0), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * learning_rate
            optimizer.zero_grad()
        table = torch.cat([torch.zeros_like(self.styles[:1]), self.styles[1:]])
        style = table[batch.characters][:, None]
        answers, trunks = [], []
        for rows, units in batch.groups:
            listened = self.student.listen(batch.inputs[rows], batch.state[rows], units)
            trunks.append(self.student.shape(*listened[:2], style[rows], units))
            answers.append(self.student.face(trunks[-1], style[rows]))
        loss = self._loss_of(torch.cat(answers), batch.targets)
        guess = self.sounds(torch.cat(trunks)[:, _WARM_UP_FRAMES:]).reshape(-1, len(SOUNDS))
        known = batch.sounds[:, _WARM_UP_FRAMES:].reshape(-1)
        total = loss + _SOUNDS_WEIGHT * nn.functional.cross_entropy(guess, known)
        total.backward()
        nn.utils.clip_grad_norm_(list(self.student.parameters()), 2.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item()

    def average(self, keep: float) -> None:
        """Let the mean come nearer to the weights of now."""
        with torch.no_grad():
            for mean, parameter in zip(self._averaged, self._kept, strict=True):
                mean.lerp_(parameter, 1.0 - keep)

    def finished(self) -> tuple[Student, NDArray[np.float32]]:
        """The student with the mean of its weights, and the styles."""
        with torch.no_grad():
            for mean, parameter in zip(self._averaged, self._kept, strict=True):
                parameter.copy_(mean)
            self.styles[0] = 0.0
        return self.student.cpu(), self.styles.detach().cpu().numpy()


def train(
    lessons: Lessons, plan: TrainingPlan, *, progress: Callable[[float, float], None] = lambda done, loss: None
) -> Trained:
    """Train a student from nothing, on a GPU if there is one.

    Args:
        lessons: all characters' targets; the first is the neutral one.
        plan: how.
        progress: called with the part that is done and the current loss.
    """
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng((plan.seed, 5))
    device = torch.device("cuda") if torch.cuda.is_available() else _CPU
    course = Course(lessons, plan, device)
    usual = course.student.usual.cpu().numpy()
    losses: list[float] = []
    recent = 0.0
    for step in range(plan.steps):
        done = step / plan.steps
        rate = plan.learning_rate * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done))
        loss = course.step(draw_batch(lessons, plan, usual, rng, device), rate)
        if step % _AVERAGE_EVERY == 0:
            course.average(min(_WEIGHT_AVERAGE, (step + 1) / (step + 10)))
        recent = loss if step == 0 else 0.95 * recent + 0.05 * loss
        if step % max(1, plan.steps // 100) == 0:
            losses.append(recent)
            progress(done, recent)
    student, styles = course.finished()
    return Trained(student, styles, losses)

"""A character out of a few minutes of material: its FiLM adapter, fitted while the network stays as it is.

Material says how the character moves in one of two ways: a recorded face (its weights are the target) or a text (the
teacher moves the face after a forced alignment, in a style of styles.toml). Both are compared as a viewer sees them: as
weights, after the seals. One adapter serves all fidelities, with phonemes and without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import ConfigError
from core.limits import ADAPT_MATERIAL_S_MAX, ADAPT_MATERIAL_S_MIN, LOG_MEL_BANDS, PTIME_MS
from core.speech.student_layout import (
    FIDELITIES,
    HIDDEN_WIDTHS,
    INPUTS,
    LOOKAHEAD_FRAMES,
    MOUTH,
    PLAN,
    STATE_ROWS,
    STYLE_WIDTH,
    TRUNK_WIDTH,
)
from origin.distill.corpus import Clip
from origin.distill.export import read_weights
from origin.distill.looks import LOOKS, look_of, shown_weights
from origin.distill.student import Student
from origin.distill.teacher import Style, plan_of, teach

__all__ = ["Adapted", "adapt"]

_HELD_OUT: Final = 0.25
"""Of the frames, the last ones: never fitted to, they give the score."""
_STEPS: Final = 600
_ROWS: Final = 1_536
"""Frames per step."""
_LEARNING_RATE: Final = 8e-3
_PLAINNESS: Final = 2e-3
"""Weight of the adapter's own size: two minutes cannot know 420 numbers each for itself."""
_WARM_UP_FRAMES: Final = 13
_LAG_FRAMES: Final = 12
"""A camera may be this far (240 ms) before or behind its sound; the best shift of the jaw is taken out."""
_STILL: Final = 1e-3
"""A weight whose standard deviation is below this was not recorded; it says nothing."""
_FRAME_S: Final = PTIME_MS / 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A fitted character.

    Attributes:
        style: float32[STYLE_WIDTH].
        before, after: mean absolute error of the mouth's weights on the held-out part: the neutral character's, this
            one's.
        material_s, held_out_s: seconds of sound.
        lags_ms: by how much each recorded face was behind its sound, in order.
    """

    style: NDArray[np.float32]
    before: float
    after: float
    material_s: float
    held_out_s: float
    lags_ms: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """One way to hear all material: float32[frames, ...] each."""

    units: int
    trunk: Tensor
    mixed: Tensor


def adapt(
    models: Path, fp32: str, clips: Sequence[Clip], *, style: Style | None, seed: int = 1,
    progress: Callable[[float, float], None] = lambda done, loss: None,
) -> Adapted:  # fmt: skip
    """Fit a character.

    Args:
        models: folder. fp32: file of the high fidelity's fp32 model in it.
        clips: recordings; those with a face speak for themselves.
        style: how the teacher moves the face where only a text is known; None: no such recording is allowed.
        seed: of the frames drawn.
        progress: called with the part that is done and the current loss.
    Raises: ConfigError: too little or too much material, a recording without face or style, or no gain from it.
    """
    material_s = sum(len(clip.clean) for clip in clips) * _FRAME_S
    if not ADAPT_MATERIAL_S_MIN <= material_s <= ADAPT_MATERIAL_S_MAX:
        raise ConfigError(
            f"{material_s:.0f} s of material are no basis for a character: "
            f"{ADAPT_MATERIAL_S_MIN:.0f} to {ADAPT_MATERIAL_S_MAX:.0f} s are, two minutes are good"
        )
    student = Student.from_weights(read_weights(models / fp32))
    wanted, lags = [], []
    for clip in clips:
        look, lag = _wanted(clip, style, student)
        wanted.append(look)
        lags.append(lag)
    targets = torch.from_numpy(np.concatenate(wanted))
    counted = torch.from_numpy(_counted(clips))
    pieces = _listen(student, clips)
    border = round(len(targets) * (1.0 - _HELD_OUT))
    taught = torch.arange(len(targets))[counted & (torch.arange(len(targets)) < border)]
    asked = torch.arange(len(targets))[counted & (torch.arange(len(targets)) >= border)]
    moving = targets[taught].std(dim=0) > _STILL
    if len(taught) < 50 or len(asked) < 50 or not moving[: len(LOOKS) - 1].any():
        raise ConfigError("the face in this material never moves: is it the right track?")
    weight = moving / targets[taught].var(dim=0).clamp(min=1e-4)
    fitted = _fit(student, pieces, targets, taught, weight, seed, progress)
    neutral = torch.zeros(STYLE_WIDTH)
    before, after = (_error(student, pieces, targets, asked, moving, one) for one in (neutral, fitted))
    if after >= before:
        raise ConfigError(
            f"nothing was learnt: held-out error {before:.4f} before, {after:.4f} after; is there enough, and of one "
            "character?"
        )
    held_out_s = (len(targets) - border) * _FRAME_S
    return Adapted(fitted.numpy(), before, after, material_s, held_out_s, tuple(lags))


def _wanted(clip: Clip, style: Style | None, student: Student) -> tuple[NDArray[np.float32], int]:
    """What a clip's face should show, float32[frames, len(LOOKS)], and the lag that was taken out of it in ms."""
    if clip.weights is None:
        if style is None:
            raise ConfigError(f"{clip.name} has only a text: which of the styles is the character? (--styles)")
        lesson = teach(clip.spans, clip.clean, style=style, pitch=clip.pitch)
        return look_of(torch.from_numpy(lesson.targets)).numpy(), 0
    face = shown_weights(clip.weights)
    jaw = _answers(student, clip)[:, MOUTH.index("jaw")]
    recorded = face[:, LOOKS.index("jawOpen")]
    lags = range(-_LAG_FRAMES, _LAG_FRAMES + 1)
    best = max(lags, key=lambda lag: _alike(jaw, recorded, lag)) if recorded.std() > _STILL else 0
    index = np.clip(np.arange(len(face)) + best, 0, len(face) - 1)
    return face[index], round(best * PTIME_MS)


def _alike(one: NDArray[np.float32], other: NDArray[np.float32], lag: int) -> float:
    """Correlation of one with the other `lag` frames later."""
    size = len(one) - abs(lag)
    if size < 10:
        return 0.0
    first, second = (one[:size], other[lag:]) if lag >= 0 else (one[-lag:], other[:size])
    return float(np.corrcoef(first, second[:size])[0, 1]) if first.std() > 1e-6 and second.std() > 1e-6 else 0.0


def _counted(clips: Sequence[Clip]) -> NDArray[np.bool_]:
    """Which frames count: a clip's first ones have no past yet, its last ones are answered after its end."""
    counted = []
    for clip in clips:
        one = np.zeros(len(clip.clean), np.bool_)
        one[_WARM_UP_FRAMES : len(one) - LOOKAHEAD_FRAMES] = True
        counted.append(one)
    return np.concatenate(counted)


def _inputs(clip: Clip, *, phonemes: bool) -> Tensor:
    """float32[1, frames + LOOKAHEAD_FRAMES, INPUTS]."""
    frames = len(clip.clean)
    inputs = np.zeros((1, frames + LOOKAHEAD_FRAMES, INPUTS), np.float32)
    inputs[0, :frames, :LOG_MEL_BANDS] = clip.clean / np.float32(255.0)
    if phonemes:
        inputs[0, LOOKAHEAD_FRAMES:, LOG_MEL_BANDS : LOG_MEL_BANDS + len(PLAN)] = plan_of(clip.spans, frames)
    return torch.from_numpy(inputs)


def _blank() -> Tensor:
    return torch.zeros(1, STATE_ROWS, TRUNK_WIDTH)


@torch.no_grad()
def _answers(student: Student, clip: Clip) -> NDArray[np.float32]:
    answers, _ = student(_inputs(clip, phonemes=False), _blank(), torch.zeros(1, 1, STYLE_WIDTH), HIDDEN_WIDTHS["high"])
    return np.asarray(answers[0, LOOKAHEAD_FRAMES:].numpy())


@torch.no_grad()
def _listen(student: Student, clips: Sequence[Clip]) -> list[_Pieces]:
    """What the network knows before it knows the character: at every fidelity, by ear and, where it may, by text."""
    known = all(clip.spans for clip in clips)
    pieces = []
    for fidelity in FIDELITIES:
        for phonemes in (False, True) if known else (False,):
            heard = [
                student.listen(_inputs(clip, phonemes=phonemes), _blank(), HIDDEN_WIDTHS[fidelity])[:2]
                for clip in clips
            ]
            trunk, mixed = (torch.cat([one[part][0, LOOKAHEAD_FRAMES:] for one in heard]) for part in range(2))
            pieces.append(_Pieces(HIDDEN_WIDTHS[fidelity], trunk, mixed))
    return pieces


def _look(student: Student, piece: _Pieces, rows: Tensor, style: Tensor) -> Tensor:
    trunk = student.shape(piece.trunk[rows][None], piece.mixed[rows][None], style[None, None], piece.units)
    return look_of(student.face(trunk, style[None, None])[0])


def _fit(
    student: Student, pieces: Sequence[_Pieces], targets: Tensor, taught: Tensor, weight: Tensor, seed: int,
    progress: Callable[[float, float], None],
) -> Tensor:  # fmt: skip
    for parameter in student.parameters():
        parameter.requires_grad_(False)
    style = torch.zeros(STYLE_WIDTH, requires_grad=True)
    optimizer = torch.optim.Adam([style], lr=_LEARNING_RATE)
    rng = np.random.default_rng((seed, 11))
    for step in range(_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * (0.5 + 0.5 * float(np.cos(np.pi * step / _STEPS)))
        rows = taught[torch.from_numpy(rng.integers(0, len(taught), _ROWS))]
        look = _look(student, pieces[step % len(pieces)], rows, style)
        loss = ((look - targets[rows]) ** 2 * weight).sum(dim=1).mean() + _PLAINNESS * (style**2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress((step + 1) / _STEPS, loss.item())
    return style.detach()


@torch.no_grad()
def _error(
    student: Student, pieces: Sequence[_Pieces], targets: Tensor, rows: Tensor, moving: Tensor, style: Tensor
) -> float:
    """Over all fidelities."""
    apart = [(_look(student, piece, rows, style) - targets[rows]).abs()[:, moving].mean() for piece in pieces]
    return float(torch.stack(apart).mean())

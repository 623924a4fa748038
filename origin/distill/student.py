"""The student as PyTorch sees it: only for training. What runs in a POP is the graph that `export` makes of it.

Frames flow in time order through a trunk of residual blocks (a causal depthwise convolution over time, then a small
perceptron per frame), so a frame costs the same however long the past is. The trunk is equally wide in all fidelities;
a lower fidelity uses fewer hidden units in every block, the first ones. So every fidelity reads and writes the same
state, and training that changes the fidelity within a sequence makes the states mean the same.

Source: slimmable widths after Yu et al. (2019), FiLM after Perez et al. (2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.limits import LOG_MEL_BANDS
from core.speech.student_layout import (
    DILATIONS,
    HEAD_WIDTH,
    HIDDEN_WIDTHS,
    INPUTS,
    OUTPUTS,
    STATE_ROWS,
    STYLE_WIDTH,
    TRUNK_WIDTH,
)

__all__ = ["EAR_SPAN", "Student", "fidelity_mask"]

EAR_SPAN: Final = 75.0
"""Audible frames over which the slow mean forgets (1.5 s)."""
_EAR_START: Final = 5.0
"""The slow mean starts as if it had heard this many frames of the usual spectrum."""
_AUDIBLE: Final = (0.20, 10.0)
"""Mean log-mel from which a frame counts for the slow mean, and how steeply."""
_CONTRAST: Final = 4.0
_WIDEST: Final = HIDDEN_WIDTHS["high"]


def fidelity_mask(widths: Tensor) -> Tensor:
    """Which hidden units work: widths int[...] → float32[..., hidden]."""
    return (torch.arange(_WIDEST, device=widths.device) < widths[..., None]).float()


class _Mix(torch.autograd.Function):
    """A depthwise convolution over time: taps[3] + sum over k of taps[k] * past[:, k * dilation :].

    Written out, because PyTorch's own is many times slower on a CPU and a sum of products keeps seven copies.
    """

    @staticmethod
    def forward(context: Any, past: Tensor, taps: Tensor, dilation: int) -> Tensor:
        """past: float32[batch, 2 * dilation + time, width], taps: float32[4, width] → float32[batch, time, width]."""
        context.save_for_backward(past, taps)
        context.dilation = dilation
        frames = past.shape[1] - 2 * dilation
        mixed = torch.addcmul(taps[3], past[:, :frames], taps[0])
        for tap in (1, 2):
            mixed.addcmul_(past[:, tap * dilation : tap * dilation + frames], taps[tap])
        return mixed

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """See torch.autograd.Function."""
        (gradient,) = gradients
        past, taps = context.saved_tensors
        dilation, frames = context.dilation, gradient.shape[1]
        to_past, to_taps = torch.zeros_like(past), torch.empty_like(taps)
        for tap in range(3):
            piece = slice(tap * dilation, tap * dilation + frames)
            to_past[:, piece].addcmul_(gradient, taps[tap])
            to_taps[tap] = (gradient * past[:, piece]).sum(dim=(0, 1))
        to_taps[3] = gradient.sum(dim=(0, 1))
        return to_past, to_taps, None


class Student(nn.Module):
    """One network, three fidelities, any number of characters.

    Args:
        usual: mean log-mel / 255 of speech, float32[40]: what the slow mean starts from.
    """

    def __init__(self, usual: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("usual", torch.tensor(usual))
        self.stem = nn.Linear(INPUTS + 2, TRUNK_WIDTH)
        self.taps = nn.ParameterList(nn.Parameter(_taps()) for _ in DILATIONS)
        self.widen = nn.ModuleList(nn.Linear(TRUNK_WIDTH, _WIDEST) for _ in DILATIONS)
        self.narrow = nn.ModuleList(nn.Linear(_WIDEST, TRUNK_WIDTH) for _ in DILATIONS)
        self.head = nn.Linear(TRUNK_WIDTH, HEAD_WIDTH)
        self.out = nn.Linear(HEAD_WIDTH, len(OUTPUTS))
        for layer in self.narrow:
            nn.init.normal_(layer.weight, std=0.3 / _WIDEST**0.5)
            nn.init.zeros_(layer.bias)

    @classmethod
    def from_weights(cls, weights: Mapping[str, NDArray[np.float32]]) -> Self:
        """A student with given parameters, by the names of `origin.distill.export.weights_of`."""
        student = cls(weights["usual"])
        student.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        return student

    def hear(self, mel: Tensor, ear: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise by the slow mean.

        Args:
            mel: float32[batch, time, 40] in [0, 1].
            ear: float32[batch, 41]: how the slow mean differs from the usual one, and frames heard.
        Returns: float32[batch, time, 42] (contrast to the slow mean, level, the slow mean's level), and the ear after.
        """
        level = mel.mean(dim=2)
        audible = ((level - _AUDIBLE[0]) * _AUDIBLE[1]).clamp(0.0, 1.0)
        mean, heard = ear[:, :LOG_MEL_BANDS] + self.usual, ear[:, LOG_MEL_BANDS, None]
        counted = (heard + audible.cumsum(dim=1)).clamp(max=EAR_SPAN)
        means = []
        for frame, rate in zip(mel.unbind(1), (audible / (counted + _EAR_START)).unbind(1), strict=True):
            mean = torch.lerp(mean, frame, rate[:, None])
            means.append(mean)
        slow = torch.stack(means, dim=1)
        heard_now = torch.cat([(mel - slow) * _CONTRAST, level[..., None], slow.mean(dim=2, keepdim=True)], dim=2)
        return heard_now, torch.cat([mean - self.usual, counted[:, -1:]], dim=1)

    def forward(self, inputs: Tensor, state: Tensor, style: Tensor, units: Tensor | int) -> tuple[Tensor, Tensor]:
        """Answer a sequence of frames.

        Args:
            inputs: float32[batch, time, INPUTS].
            state: float32[batch, STATE_ROWS, TRUNK_WIDTH].
            style: float32[batch, time or 1, STYLE_WIDTH].
            units: which hidden units work: how many of the first in every sequence, or float32[batch, time or 1,
                hidden] from `fidelity_mask`.
        Returns: float32[batch, time, len(OUTPUTS)], not clipped, and the state after the last frame.
        """
        trunk, mixed, after = self.listen(inputs, state, units)
        return self.face(self.shape(trunk, mixed, style, units), style), after

    def listen(self, inputs: Tensor, state: Tensor, units: Tensor | int) -> tuple[Tensor, Tensor, Tensor]:
        """All that knows no character.

        Args: see `forward`.
        Returns: the trunk before the last block and what that block sees of time, both float32[batch, time,
            TRUNK_WIDTH], and the state after.
        """
        ear_width = LOG_MEL_BANDS + 1
        with torch.no_grad():
            heard, ear = self.hear(inputs[..., :LOG_MEL_BANDS], state[:, 0, :ear_width])
        trunk = self.stem(torch.cat([heard, inputs[..., LOG_MEL_BANDS:]], dim=2))
        rows = [nn.functional.pad(ear, (0, TRUNK_WIDTH - ear_width))[:, None]]
        first = 1
        for index, dilation in enumerate(DILATIONS):
            past = torch.cat([state[:, first : first + 2 * dilation], trunk], dim=1)
            rows.append(past[:, -2 * dilation :])
            first += 2 * dilation
            mixed = _mix(past, self.taps[index], dilation)
            if index < len(DILATIONS) - 1:
                trunk = trunk + self._narrowed(index, self._widened(index, mixed, units), units)
        return trunk, mixed, torch.cat(rows, dim=1)

    def shape(self, trunk: Tensor, mixed: Tensor, style: Tensor, units: Tensor | int) -> Tensor:
        """The last block, the first that knows the character: float32[batch, time, TRUNK_WIDTH]."""
        last, width = len(DILATIONS) - 1, _width_of(units)
        scale, shift = split_style(style)[:2]
        hidden = self._widened(last, mixed, units) * (1.0 + scale[..., :width]) + shift[..., :width]
        return trunk + self._narrowed(last, hidden, units)

    def face(self, trunk: Tensor, style: Tensor) -> Tensor:
        """The answers: float32[batch, time, len(OUTPUTS)]."""
        scale_head, shift_head, scale_out, shift_out = split_style(style)[2:]
        head = torch.relu(self.head(trunk) * (1.0 + scale_head) + shift_head)
        return self.out(head) * (1.0 + scale_out) + shift_out

    def _widened(self, index: int, mixed: Tensor, units: Tensor | int) -> Tensor:
        layer, width = self.widen[index], _width_of(units)
        return torch.relu(nn.functional.linear(mixed, layer.weight[:width], layer.bias[:width]))

    def _narrowed(self, index: int, hidden: Tensor, units: Tensor | int) -> Tensor:
        layer = self.narrow[index]
        worked = hidden if isinstance(units, int) else hidden * units
        return nn.functional.linear(worked, layer.weight[:, : _width_of(units)], layer.bias)


def _width_of(units: Tensor | int) -> int:
    return units if isinstance(units, int) else _WIDEST


def split_style(style: Tensor) -> tuple[Tensor, ...]:
    """Scales and shifts of the last block's hidden units, of the head's and of the outputs."""
    widths = [width for width in (_WIDEST, HEAD_WIDTH, len(OUTPUTS)) for _ in range(2)]
    assert sum(widths) == STYLE_WIDTH
    return torch.split(style, widths, dim=-1)


def _mix(past: Tensor, taps: Tensor, dilation: int) -> Tensor:
    mixed: Tensor = _Mix.apply(past, taps, dilation)
    return mixed


def _taps() -> Tensor:
    """Rows: the frame 2 dilations ago, 1 ago, now, and a bias."""
    taps = torch.randn(4, TRUNK_WIDTH) * 0.35
    taps[2] += 0.7
    taps[3] = 0.0
    return taps


def blank_state(batch: int) -> Tensor:
    """Sessions that have heard nothing."""
    return torch.zeros(batch, STATE_ROWS, TRUNK_WIDTH)

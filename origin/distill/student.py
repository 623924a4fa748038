"""The student as PyTorch sees it: only for training. What runs in a POP is the graph that `export` makes of it.

Frames flow in time order through a trunk of residual blocks (a causal depthwise convolution over time, then a small
perceptron per frame), so a frame costs the same however long the past is. The trunk is equally wide in all fidelities;
a lower fidelity uses fewer hidden units in every block, the first ones. So every fidelity reads and writes the same
state, and training that changes the fidelity within a sequence makes the states mean the same.

Source: slimmable widths after Yu et al. (2019), FiLM after Perez et al. (2018).
"""

from __future__ import annotations

from typing import Final

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
    return (torch.arange(_WIDEST) < widths[..., None]).float()


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

    def hear(self, mel: Tensor, ear: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise by the slow mean.

        Args:
            mel: float32[batch, time, 40] in [0, 1].
            ear: float32[batch, 41]: how the slow mean differs from the usual one, and frames heard.
        Returns: float32[batch, time, 42] (contrast to the slow mean, level, the slow mean's level), and the ear after.
        """
        level = mel.mean(dim=2)
        audible = ((level - _AUDIBLE[0]) * _AUDIBLE[1]).clamp(0.0, 1.0)
        mean, heard = ear[:, :LOG_MEL_BANDS] + self.usual, ear[:, LOG_MEL_BANDS]
        means = []
        for frame, loud in zip(mel.unbind(1), audible.unbind(1), strict=True):
            heard = (heard + loud).clamp(max=EAR_SPAN)
            mean = mean + (loud / (heard + _EAR_START))[:, None] * (frame - mean)
            means.append(mean)
        slow = torch.stack(means, dim=1)
        heard_now = torch.cat([(mel - slow) * _CONTRAST, level[..., None], slow.mean(dim=2, keepdim=True)], dim=2)
        return heard_now, torch.cat([mean - self.usual, heard[:, None]], dim=1)

    def forward(self, inputs: Tensor, state: Tensor, style: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Answer a sequence of frames.

        Args:
            inputs: float32[batch, time, INPUTS].
            state: float32[batch, STATE_ROWS, TRUNK_WIDTH].
            style: float32[batch, time or 1, STYLE_WIDTH].
            mask: float32[batch, time or 1, hidden], from `fidelity_mask`.
        Returns: float32[batch, time, len(OUTPUTS)], not clipped, and the state after the last frame.
        """
        ear_width = LOG_MEL_BANDS + 1
        with torch.no_grad():
            heard, ear = self.hear(inputs[..., :LOG_MEL_BANDS], state[:, 0, :ear_width])
        trunk = self.stem(torch.cat([heard, inputs[..., LOG_MEL_BANDS:]], dim=2))
        rows = [nn.functional.pad(ear, (0, TRUNK_WIDTH - ear_width))[:, None]]
        scale_hidden, shift_hidden, scale_head, shift_head, scale_out, shift_out = split_style(style)
        first, frames = 1, trunk.shape[1]
        for index, dilation in enumerate(DILATIONS):
            past = torch.cat([state[:, first : first + 2 * dilation], trunk], dim=1)
            rows.append(past[:, -2 * dilation :])
            first += 2 * dilation
            taps = self.taps[index]
            mixed = taps[3] + sum(taps[tap] * past[:, tap * dilation : tap * dilation + frames] for tap in range(3))
            hidden = torch.relu(self.widen[index](mixed))
            if index == len(DILATIONS) - 1:
                hidden = hidden * (1.0 + scale_hidden) + shift_hidden
            trunk = trunk + self.narrow[index](hidden * mask)
        head = torch.relu(self.head(trunk) * (1.0 + scale_head) + shift_head)
        answer = self.out(head) * (1.0 + scale_out) + shift_out
        return answer, torch.cat(rows, dim=1)


def split_style(style: Tensor) -> tuple[Tensor, ...]:
    """Scales and shifts of the last block's hidden units, of the head's and of the outputs."""
    widths = [width for width in (_WIDEST, HEAD_WIDTH, len(OUTPUTS)) for _ in range(2)]
    assert sum(widths) == STYLE_WIDTH
    return torch.split(style, widths, dim=-1)


def _taps() -> Tensor:
    """Rows: the frame 2 dilations ago, 1 ago, now, and a bias."""
    taps = torch.randn(4, TRUNK_WIDTH) * 0.35
    taps[2] += 0.7
    taps[3] = 0.0
    return taps


def blank_state(batch: int) -> Tensor:
    """Sessions that have heard nothing."""
    return torch.zeros(batch, STATE_ROWS, TRUNK_WIDTH)

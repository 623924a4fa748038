"""What a viewer sees of an answer, as PyTorch computes it: `core.avatar.blend.layer_mouth`, with gradients."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.avatar.blend import BITE, JAW_LEFT, SHOWN, SHUT
from core.avatar.rig import BLENDSHAPE_INDEX
from core.speech.student_layout import MOUTH, OUTPUTS
from core.speech.visemes import ARTICULATORS

__all__ = ["LOOKS", "look_of", "shown_weights"]

LOOKS: Final[tuple[str, ...]] = (
    "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthStretchLeft", "mouthSmileLeft", "mouthLowerDownLeft",
    "mouthUpperUpLeft", "mouthRollLower", "mouthRollUpper", "mouthPressLeft", "tongueOut", "browInnerUp",
)  # fmt: skip
"""The weights compared; a "Left" stands for the mean of both sides. The brow is the last."""
_JAW, _CLOSE, _BROW = (LOOKS.index(name) for name in ("jawOpen", "mouthClose", "browInnerUp"))


def _matrix() -> Tensor:
    matrix = np.zeros((len(ARTICULATORS), len(LOOKS)), np.float32)
    for articulator, shown in SHOWN.items():
        for name, gain in shown:
            if name in LOOKS:
                matrix[ARTICULATORS.index(articulator), LOOKS.index(name)] = gain
    return torch.from_numpy(matrix)


def _posture(table: dict[str, float]) -> tuple[Tensor, Tensor]:
    decides = torch.tensor([float(name in table) for name in LOOKS])
    return decides, torch.tensor([table.get(name, 0.0) for name in LOOKS])


_MATRIX: Final = _matrix()
_SHUT_MASK, _SHUT_POSE = _posture(SHUT)
_BITE_MASK, _BITE_POSE = _posture(BITE)


def look_of(answers: Tensor) -> Tensor:
    """Weights of an answer: float32[..., len(OUTPUTS)] → float32[..., len(LOOKS)], as layer_mouth lays them."""
    mouth = answers[..., : len(MOUTH)].clamp(0.0, 1.0)
    lips, teeth = mouth[..., len(ARTICULATORS), None], mouth[..., len(ARTICULATORS) + 1, None]
    weights = mouth[..., : len(ARTICULATORS)] @ _MATRIX
    weights = weights * (1.0 - teeth * _BITE_MASK) + teeth * _BITE_POSE
    weights = weights * (1.0 - lips * _SHUT_MASK) + lips * _SHUT_POSE
    offset, part, most = JAW_LEFT
    jaw = weights[..., _JAW, None]
    left = (offset + part * jaw.clamp(min=0.0)).clamp(max=most)
    columns = list(weights.split(1, dim=-1))
    columns[_JAW] = jaw + (left - jaw) * lips
    columns[_CLOSE] = columns[_CLOSE] + (left - columns[_CLOSE]) * lips
    columns[_BROW] = answers[..., OUTPUTS.index("brow_inner"), None]
    return torch.cat(columns, dim=-1)


def shown_weights(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The compared weights of a recorded face: float32[frames, 52] → float32[frames, len(LOOKS)]."""
    columns = []
    for name in LOOKS:
        sides = [name, name.removesuffix("Left") + "Right"] if name.endswith("Left") else [name]
        columns.append(weights[:, [BLENDSHAPE_INDEX[side] for side in sides]].mean(axis=1))
    return np.asarray(np.stack(columns, axis=1), np.float32)

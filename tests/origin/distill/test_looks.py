from __future__ import annotations

import numpy as np
import torch

from core.avatar.blend import layer_mouth
from core.avatar.expression import CHANNELS
from core.avatar.rig import BLENDSHAPES
from core.speech.student_layout import MOUTH, OUTPUTS
from core.speech.visemes import ARTICULATORS
from origin.distill.looks import LOOKS, look_of, shown_weights


def answers(rows: int = 200) -> np.ndarray:
    drawn = np.random.default_rng(0).uniform(-0.2, 1.2, (rows, len(OUTPUTS))).astype(np.float32)
    drawn[::3, len(ARTICULATORS) : len(MOUTH)] = 0.0
    return drawn


def test_a_look_is_what_the_face_shows() -> None:
    said = answers()
    mouth = np.clip(said[:, : len(MOUTH)], 0.0, 1.0)
    pose = np.zeros((len(said), CHANNELS), np.float32)
    ones = np.ones(len(said), np.float32)
    layer_mouth(pose, mouth[:, : len(ARTICULATORS)], mouth[:, len(ARTICULATORS) :], ones, 0.0 * ones)
    wanted = shown_weights(pose[:, : len(BLENDSHAPES)])
    found = look_of(torch.from_numpy(said)).numpy()
    brow = LOOKS.index("browInnerUp")
    assert np.allclose(np.delete(found, brow, axis=1), np.delete(wanted, brow, axis=1), atol=1e-5)
    assert np.array_equal(found[:, brow], said[:, OUTPUTS.index("brow_inner")])


def test_both_sides_count() -> None:
    weights = np.zeros((1, len(BLENDSHAPES)), np.float32)
    weights[0, BLENDSHAPES.index("mouthSmileRight")] = 0.5
    assert shown_weights(weights)[0, LOOKS.index("mouthSmileLeft")] == 0.25


def test_gradients_reach_every_number_of_the_mouth() -> None:
    said = torch.full((1, len(OUTPUTS)), 0.4, requires_grad=True)
    look_of(said).sum().backward()
    assert said.grad is not None
    moved = said.grad[0, : len(MOUTH)].numpy() != 0.0
    silent = {"voice", "puff"}
    assert all(moved[index] or name in silent for index, name in enumerate(MOUTH))

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.speech.student_layout import FIDELITIES, HIDDEN_WIDTHS, INPUTS, OUTPUTS, STATE_ROWS, STYLE_WIDTH, TRUNK_WIDTH
from origin.distill.corpus import build
from origin.distill.examine import open_model
from origin.distill.lessons import prepare
from origin.distill.teacher import load_styles


@pytest.fixture(scope="module")
def torch() -> Any:
    pytest.importorskip("onnx", reason="the extra [distill] is not installed: training is not part of `make setup`")
    found = pytest.importorskip("torch", reason="the extra [distill] is not installed: it is not part of `make setup`")
    found.set_num_threads(1)
    return found


def test_the_graph_says_what_the_network_says(torch: Any, tmp_path: Path) -> None:
    from origin.distill.export import checksum, export, weights_of
    from origin.distill.student import Student, fidelity_mask

    torch.manual_seed(0)
    student = Student(np.full(40, 0.4, np.float32))
    sound = torch.rand(3, 30, INPUTS)
    style = 0.2 * torch.randn(3, 1, STYLE_WIDTH)
    for fidelity in FIDELITIES:
        path = tmp_path / f"{fidelity}.onnx"
        assert export(path, weights_of(student), fidelity) == checksum(path)
        mask = fidelity_mask(torch.tensor([[HIDDEN_WIDTHS[fidelity]]]))
        with torch.no_grad():
            wanted, after = student(sound, torch.zeros(3, STATE_ROWS, TRUNK_WIDTH), style, mask)
        state = np.zeros((3, STATE_ROWS, TRUNK_WIDTH), np.float32)
        model = open_model(path)
        for frame in range(30):
            feed = {"inputs": sound[:, frame].numpy(), "state": state, "style": style[:, 0].numpy()}
            said, state = model.run(None, feed)
            assert np.allclose(said, wanted[:, frame].numpy(), atol=1e-4)
        assert np.allclose(state, after.numpy(), atol=1e-4)


def test_a_few_steps_learn_something_and_can_be_repeated(torch: Any) -> None:
    from origin.distill.train import TrainingPlan, train

    lessons = prepare(build(0.3, seed=1, situations=1), load_styles()[:2])
    plan = TrainingPlan(steps=25, batch=8, frames=60)
    one, other = train(lessons, plan), train(lessons, plan)
    assert one.losses[-1] < 0.9 * one.losses[0]
    assert one.losses == other.losses
    assert one.styles.shape == (2, STYLE_WIDTH)
    assert not one.styles[0].any() and one.styles[1].any()
    assert len(OUTPUTS) == one.student.out.out_features

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from core.errors import ConfigError
from core.speech.student_layout import FIDELITIES, INPUTS, KEPT, RECALLED, STATE_ROWS, STYLE_WIDTH, TRUNK_WIDTH
from edge.student import find_student_files
from origin.distill.examine import open_model
from origin.distill.export import export, read_weights
from origin.distill.serving import refit, refit_folder

FOLDER, FILES = find_student_files()


def test_what_is_shipped_is_what_its_weights_give(tmp_path: Path) -> None:
    weights = read_weights(FOLDER / FILES.models["fp32"]["high"])
    for fidelity in FIDELITIES:
        digest = export(tmp_path / "again.onnx", weights, fidelity)
        assert digest == FILES.sha256[FILES.models["fp32"][fidelity]]


def test_a_graph_is_given_what_it_reads_and_gives_back_what_is_new() -> None:
    for files in FILES.models.values():
        graph = onnx.load(str(FOLDER / files["high"])).graph
        names = [value.name for value in graph.input]
        assert set(names) == {"inputs", "style", "ear_mean", "ear_heard", *RECALLED}
        assert [value.name for value in graph.output] == ["answers", "ear_after", "heard", *KEPT]


def test_a_state_goes_through_it_row_by_row() -> None:
    """Thirteen frames later nothing is left of what a state was; until then its rows grow older one by one."""
    model = open_model(FOLDER / FILES.models["fp32"]["high"])
    rng = np.random.default_rng(0)
    state = rng.random((2, STATE_ROWS, TRUNK_WIDTH), dtype=np.float32)
    style = np.zeros((2, STYLE_WIDTH), np.float32)
    _, after = model.run(None, {"inputs": rng.random((2, INPUTS), np.float32), "style": style, "state": state})
    for row in (1, 3, 5, 6, 7, 9, 10, 11):
        np.testing.assert_array_equal(after[:, row], state[:, row + 1])
    for row in (2, 4, 8, 12):
        assert np.abs(after[:, row] - state[:, row]).max() > 1e-3


def test_what_is_done_is_not_done_again_and_no_other_graph_is_taken_apart(tmp_path: Path) -> None:
    for name in (*FILES.sha256, "student.json", "student_training.json"):
        shutil.copy(FOLDER / name, tmp_path / name)
    assert refit_folder(tmp_path) == []
    assert (tmp_path / "student_training.json").read_bytes() == (FOLDER / "student_training.json").read_bytes()
    value = helper.make_tensor_value_info("state", onnx.TensorProto.FLOAT, ["batch", 3])
    node = helper.make_node("Identity", ["state"], ["after"], name="copy")
    after = helper.make_tensor_value_info("after", onnx.TensorProto.FLOAT, ["batch", 3])
    with pytest.raises(ConfigError, match="does not take it apart"):
        refit(helper.make_model(helper.make_graph([node], "other", [value], [after])))

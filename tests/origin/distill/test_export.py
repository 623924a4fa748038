from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from core.errors import ConfigError
from core.speech.student_layout import FIDELITIES, HIDDEN_WIDTHS, INPUTS, STATE_ROWS, STYLE_WIDTH, TRUNK_WIDTH
from origin.distill.corpus import build
from origin.distill.examine import answer, open_model
from origin.distill.export import OPSET, checksum, export, read_weights, weights_of
from origin.distill.lessons import prepare
from origin.distill.prune import prune
from origin.distill.quantize import quantize, quantize_four_bits
from origin.distill.student import Student
from origin.distill.teacher import load_styles
from origin.distill.train import Trained, TrainingPlan


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    return Student(np.full(40, 0.4, np.float32))


def feed(rows: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"inputs": (INPUTS,), "state": (STATE_ROWS, TRUNK_WIDTH), "style": (STYLE_WIDTH,)}
    return {name: 0.3 * rng.standard_normal((rows, *shape)).astype(np.float32) for name, shape in shapes.items()}


def test_weights_are_read_back_from_the_graph(student: Student, tmp_path: Path) -> None:
    export(tmp_path / "one.onnx", weights_of(student), "high")
    again = Student.from_weights(read_weights(tmp_path / "one.onnx"))
    assert export(tmp_path / "other.onnx", weights_of(again), "high") == checksum(tmp_path / "other.onnx")
    one, other = (open_model(tmp_path / f"{name}.onnx").run(None, feed()) for name in ("one", "other"))
    assert all(np.allclose(mine, theirs, atol=1e-5) for mine, theirs in zip(one, other, strict=True))
    with pytest.raises(ConfigError, match="is no fp32 student"):
        read_weights(tmp_path / "none.onnx")


def test_the_same_weights_are_the_same_bytes(student: Student, tmp_path: Path) -> None:
    for fidelity in FIDELITIES:
        first = export(tmp_path / "a.onnx", weights_of(student), fidelity)
        assert first == export(tmp_path / "b.onnx", weights_of(student), fidelity)
        model = onnx.load(str(tmp_path / "a.onnx"))
        assert {one.key: one.value for one in model.metadata_props}["fidelity"] == fidelity
        assert model.opset_import[0].version == OPSET


@pytest.mark.parametrize("bits", [4, 8])
def test_fewer_bits_say_nearly_the_same_and_no_row_knows_its_neighbour(
    student: Student, tmp_path: Path, bits: int
) -> None:
    export(tmp_path / "fp32.onnx", weights_of(student), "high")
    few = tmp_path / "few.onnx"
    if bits == 4:
        quantize_four_bits(tmp_path / "fp32.onnx", few)
    else:
        quantize(tmp_path / "fp32.onnx", few, build(0.1, seed=1, situations=1))
    assert few.stat().st_size < 0.7 * (tmp_path / "fp32.onnx").stat().st_size
    whole, said = (open_model(path).run(None, feed())[0] for path in (tmp_path / "fp32.onnx", few))
    assert 0.0 < np.abs(said - whole).mean() < 0.25 * np.abs(whole).mean()
    loud = feed()
    loud["inputs"][1:] *= 50.0
    assert np.allclose(open_model(few).run(None, loud)[0][0], said[0], atol=2e-5)


def test_pruned_units_are_gone_and_the_rest_still_learns(student: Student, tmp_path: Path) -> None:
    clips = build(0.2, seed=1, situations=1)
    lessons = prepare(clips, load_styles()[:2])
    before = {name: value.copy() for name, value in weights_of(student).items()}
    trained = Trained(student, np.zeros((2, STYLE_WIDTH), np.float32), [])
    weights, widths = prune(lessons, trained, 40, TrainingPlan(steps=16, batch=4, frames=60))
    assert widths == (40, 40, 40, HIDDEN_WIDTHS["high"])
    assert weights["widen.0.weight"].shape == (40, TRUNK_WIDTH)
    assert all(np.array_equal(value, before[name]) for name, value in weights_of(student).items()), "left as it was"
    export(tmp_path / "small.onnx", weights, "high", widths)
    export(tmp_path / "whole.onnx", weights_of(student), "high")
    assert (tmp_path / "small.onnx").stat().st_size < 0.7 * (tmp_path / "whole.onnx").stat().st_size
    said = answer(open_model(tmp_path / "small.onnx"), [clip.clean for clip in clips[:2]], None)
    assert all(np.isfinite(one).all() for one in said)

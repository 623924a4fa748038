from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from core.host.cli import main
from core.speech.student_layout import FIDELITIES, HIDDEN_WIDTHS, OUTPUTS, STYLE_WIDTH
from edge.student import Student as Runner
from origin.distill.corpus import build
from origin.distill.lessons import SOUNDS, Lessons, prepare
from origin.distill.ship import model_name, read_record
from origin.distill.teacher import load_styles
from origin.distill.train import TrainingPlan, draw_batch, train, usual_spectrum


@pytest.fixture(scope="module")
def lessons() -> Lessons:
    return prepare(build(0.3, seed=1, situations=1), load_styles()[:2])


def test_training_learns_and_one_seed_gives_the_same_bits(lessons: Lessons) -> None:
    torch.set_num_threads(1)
    plan = TrainingPlan(steps=40, batch=8, frames=60)
    one, other = train(lessons, plan), train(lessons, plan)
    assert one.losses[-1] < 0.8 * one.losses[0]
    assert one.losses == other.losses
    assert one.styles.shape == (2, STYLE_WIDTH) and not one.styles[0].any() and one.styles[1].any()
    for mine, theirs in zip(one.student.parameters(), other.student.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_batch_holds_every_fidelity_and_the_sound_of_each_frame(lessons: Lessons) -> None:
    plan = TrainingPlan(batch=40, frames=60)
    batch = draw_batch(lessons, plan, usual_spectrum(lessons), np.random.default_rng(0))
    assert [units for _, units in batch.groups[:-1]] == [HIDDEN_WIDTHS[name] for name in FIDELITIES]
    rows = [rows for rows, _ in batch.groups]
    assert rows[0].start == 0 and rows[-1].stop == 40
    assert all(one.stop == other.start for one, other in pairwise(rows))
    assert isinstance(batch.groups[-1][1], torch.Tensor)
    assert batch.sounds.shape == (40, 60, 3) and int(batch.sounds.max()) < len(SOUNDS)
    assert batch.targets.shape == (40, 60, len(OUTPUTS))


def test_plain_training_hears_only_the_clean_sound(lessons: Lessons) -> None:
    plan = TrainingPlan(batch=30, frames=60, augment=False)
    batch = draw_batch(lessons, plan, usual_spectrum(lessons), np.random.default_rng(0))
    mel = batch.inputs[..., : lessons.mel.shape[2]].numpy() * 255.0
    first = np.rint(mel[0]).astype(np.uint8)
    assert any(np.array_equal(first, lessons.mel[0, at : at + 60]) for at in range(lessons.mel.shape[1] - 60))


def test_the_recipe_from_corpus_to_a_running_student(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models, out = tmp_path / "models", ["--out", str(tmp_path / "out")]
    assert main(["distill", "corpus", "--minutes", "0.3", "--no-people", *out]) == 0
    assert main(["distill", "train", "--steps", "12", "--models", str(models), *out]) == 0
    assert main(["distill", "train", "--steps", "4", "--plain", *out]) == 0
    assert main(["distill", "quantize", "--steps", "8", "--models", str(models), *out]) == 0
    record = read_record(models)
    assert record["training"]["steps"] == 12 and record["corpus"]["clips"] > 2 and "same bytes" in record["repeats"]
    assert (tmp_path / "out" / "plain" / model_name("fp32", "high")).is_file()
    assert {path.name for path in (tmp_path / "out" / "trials").iterdir()} == {
        model_name("int4", "high"), model_name("pruned", "high"),
    }  # fmt: skip
    for precision in ("fp32", "int8"):
        assert len(Runner(models, precision=precision).characters) == len(load_styles())
    assert "train [" in capsys.readouterr().err, "a bar says how far it is"


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["corpus", "--minutes", "0"], ["train", "--steps", "0"], ["train", "--out", str(tmp_path)],
        ["quantize", "--out", str(tmp_path)],
    ):  # fmt: skip
        assert main(["distill", *arguments]) == 2
        said = capsys.readouterr().err.strip()
        assert "Traceback" not in said and len(said.splitlines()) == 1
    assert json.dumps(read_record(tmp_path)) == "{}"

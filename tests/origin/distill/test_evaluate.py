from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigError
from core.speech.student_layout import FIDELITIES
from edge.student import find_student_files
from origin.distill.cards import CARDS, card_name
from origin.distill.evaluate import evaluate, trial_files
from origin.distill.measure import cost_us, exam, measure
from origin.distill.ship import MANIFEST, RECORD, model_name, read_manifest, read_record
from origin.distill.speaker import Speaker
from tests.origin.distill.test_recordings import write_wav

SHIPPED, FILES = find_student_files()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A report on a few utterances, and the models with their new cards."""
    models, folder = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("report")
    for name in (*FILES.sha256, MANIFEST, RECORD):
        shutil.copy(SHIPPED / name, models / name)
    trials, natural = tmp_path_factory.mktemp("trials"), tmp_path_factory.mktemp("natural")
    shutil.copy(SHIPPED / FILES.models["int8"]["high"], trials / model_name("int4", "high"))  # any model will do
    with Speaker() as speaker:
        text = "The boy was there when the sun rose."
        spoken = speaker.say(text, voice="en-us", rate_wpm=150, pitch=50, pitch_range=50)
    assert spoken is not None
    write_wav(natural / "a.wav", spoken.pcm[::3], rate=16_000)
    (natural / "a.txt").write_text(text)
    done: list[float] = []
    path = evaluate(
        models, folder, natural=natural, trials=trials, plain=models, cards=True, minutes=0.15,
        progress=lambda part, note: done.append(part),
    )  # fmt: skip
    assert done == sorted(done) and done[-1] == 1.0
    return path, models


def test_the_report_shows_marks_curves_and_mouths(said: tuple[Path, Path]) -> None:
    text = said[0].read_text(encoding="utf-8")
    for title in ("Models", "Characters", "People&#x27;s speech", "Compression", "Curves", "Mouth shapes"):
        assert f"<h2>{title}".replace("&#x27;", "'") in text
    assert text.count("<polyline") >= 3 * 8
    assert text.count("clip-path=") + text.count("stroke-linecap") >= 3 * 5, "a mouth for each sound and series"
    assert not re.search(r"\bnan\b|None", text)


def test_every_artefact_has_a_card_of_what_was_measured(said: tuple[Path, Path]) -> None:
    models = said[1]
    assert {path.name for path in (models / CARDS).iterdir()} == {Path(card_name(name)).name for name in FILES.sha256}
    card = (models / card_name(FILES.models["int8"]["low"])).read_text(encoding="utf-8")
    assert "cost per frame" in card and "licence" in card and "| jaw | 0." in card
    record = read_record(models)
    steps = [line["step"] for line in record["compression"]]
    assert steps == [f"{precision} {one}" for precision in ("fp32", "int8") for one in FIDELITIES] + ["int4 high"]
    assert set(record["augmentation"]) == {"plain_steps", "r_natural_before", "r_natural_after"}


def test_the_shipped_cards_are_those_of_the_shipped_files() -> None:
    names = {Path(card_name(name)).name for name in FILES.sha256}
    assert {path.name for path in (SHIPPED / CARDS).iterdir()} == names
    training = read_record(SHIPPED)["training"]
    for name, digest in FILES.sha256.items():
        card = (SHIPPED / card_name(name)).read_text(encoding="utf-8")
        assert f"`{digest}`" in card
        assert f"{(SHIPPED / name).stat().st_size:,} bytes" in card
        assert f"seed {training['seed']}, {training['steps']} steps" in card


def test_no_models_no_report(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not name a student"):
        evaluate(tmp_path, tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({"models": {"fp32": {"high": "a"}}}))
    with pytest.raises(ConfigError, match="some fidelities are missing"):
        read_manifest(tmp_path)
    assert trial_files(tmp_path) == {} and read_record(tmp_path) == {}


def test_measuring_marks_all_that_is_named() -> None:
    clips, lessons = exam(0.05, seed=9)
    files = {"fp32": {"high": FILES.models["fp32"]["high"]}, "int8": {"low": FILES.models["int8"]["low"]}}
    measured = measure(SHIPPED, files, clips, lessons, batches=(1, 4))
    assert set(measured.rows) == {files["fp32"]["high"], files["int8"]["low"]}
    row = measured.rows[files["fp32"]["high"]]
    assert set(row.us_per_frame) == {1, 4} and min(row.us_per_frame.values()) > 0.0
    assert row.examined["phonemes"].marks.mae_mouth < row.examined["audio"].marks.mae_mouth
    assert all(len(said) == len(clip.clean) for said, clip in zip(measured.answers["audio"], clips, strict=True))


def test_time_is_taken_of_the_model_alone() -> None:
    class Idle:
        """A model that does nothing."""

        def get_inputs(self) -> list[object]:
            return [type("Value", (), {"name": "inputs", "shape": ["batch", 3]})()]

        def run(self, outputs: None, feed: dict[str, np.ndarray]) -> None:
            assert feed["inputs"].shape == (5, 3)

    assert 0.0 < cost_us(Idle(), 5) < 1_000.0

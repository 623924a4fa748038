from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.avatar.blend import layer_mouth
from core.avatar.expression import CHANNELS
from core.avatar.rig import BLENDSHAPES
from core.errors import ConfigError
from core.host.cli import main
from core.speech.student_layout import MOUTH, OUTPUTS, STYLE_WIDTH
from core.speech.visemes import ARTICULATORS
from edge.student import Student as Runner
from edge.student import find_student_files
from origin.distill.adapt import adapt
from origin.distill.cards import card_name
from origin.distill.corpus import Clip
from origin.distill.export import export, weights_of
from origin.distill.ship import model_name
from origin.distill.speaker import Speaker
from origin.distill.student import Student
from origin.distill.teacher import Style, teach
from origin.distill.texts import TRAINING, sentences
from tests.origin.distill.test_recordings import write_wav

SHIPPED = Path(__file__).parents[3] / "edge" / "models"
STRANGER = Style(
    "stranger",
    gains={"jaw": 0.5, "smile": 2.0, "pucker": 0.6, "funnel": 0.6, "lower_down": 1.5},
    raise_by={"smile": 0.08},
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute of a voice with its texts."""
    folder = tmp_path_factory.mktemp("recordings")
    with Speaker() as speaker:
        for index, text in enumerate(sentences(TRAINING)[:12]):
            spoken = speaker.say(text, voice="en-us+f3", rate_wpm=160, pitch=50, pitch_range=50)
            assert spoken is not None
            write_wav(folder / f"{index:02d}.wav", spoken.pcm[::3], rate=16_000)
            (folder / f"{index:02d}.txt").write_text(text)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of what is shipped, to add to."""
    folder = tmp_path / "models"
    shutil.copytree(SHIPPED, folder)
    return folder


def filmed(recordings: Path, folder: Path, style: Style, late_s: float = 0.0) -> Path:
    """The same recordings with a camera's weights instead of texts."""
    from origin.distill.recordings import load_recordings

    folder.mkdir()
    names = [name[0].upper() + name[1:] for name in BLENDSHAPES]
    for clip in load_recordings(recordings):
        said = teach(clip.spans, clip.clean, style=style, pitch=clip.pitch).targets
        pose = np.zeros((len(said), CHANNELS), np.float32)
        ones = np.ones(len(said), np.float32)
        mouth = said[:, : len(MOUTH)]
        layer_mouth(pose, mouth[:, : len(ARTICULATORS)], mouth[:, len(ARTICULATORS) :], ones, 0.0 * ones)
        pose[:, BLENDSHAPES.index("browInnerUp")] = said[:, OUTPUTS.index("brow_inner")]
        lines = ["Timecode,BlendshapeCount," + ",".join(names)]
        for frame, row in enumerate(np.clip(pose[:, : len(BLENDSHAPES)], 0.0, 1.0)):
            seconds, part = divmod(frame * 0.02 + late_s, 1.0)
            lines.append(f"00:00:{int(seconds):02d}:{part * 60:06.3f},61," + ",".join(f"{one:.4f}" for one in row))
        (folder / f"{clip.name}.csv").write_text("\n".join(lines))
        (folder / f"{clip.name}.wav").write_bytes((recordings / f"{clip.name}.wav").read_bytes())
    return folder


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    assert main(["distill", "adapt", *arguments, "--json"]) == 0
    score: dict[str, float] = json.loads(capsys.readouterr().out)
    return score


def test_a_filmed_face_is_recovered(
    recordings: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = filmed(recordings, tmp_path / "filmed", STRANGER)
    score = run([str(folder), "--name", "stranger", "--models", str(models)], capsys)
    assert score["error_after"] < 0.8 * score["error_before"]
    assert score["held_out_s"] > 5.0
    card = (models / card_name("student_style_stranger.npy")).read_text(encoding="utf-8")
    assert find_student_files(models)[1].sha256["student_style_stranger.npy"] in card
    runner = Runner(models)
    assert "stranger" in runner.characters, "the manifest names it, with its checksum"
    runner.set_character(runner.open(), "stranger")


def test_a_style_on_a_persons_own_voice(
    recordings: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    styles = tmp_path / "styles.toml"
    styles.write_text("[mumbler]\n[mumbler.gains]\njaw = 0.4\nlower_down = 0.4\nsmile = 0.2\n")
    arguments = [str(recordings), "--name", "mumbler", "--models", str(models), "--styles", str(styles)]
    score = run(arguments, capsys)
    assert score["error_after"] < 0.8 * score["error_before"]


def test_the_same_seed_fits_the_same_character(recordings: Path) -> None:
    from origin.distill.recordings import load_recordings

    clips = load_recordings(recordings)
    one, other = (adapt(SHIPPED, model_name("fp32", "high"), clips, style=STRANGER, seed=3) for _ in range(2))
    assert one.style.shape == (STYLE_WIDTH,) and one.style.dtype == np.float32
    assert np.array_equal(one.style, other.style)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["distill", "adapt", *arguments]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


def test_mistakes_are_one_clear_line(
    recordings: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = ["--models", str(models)]
    assert "no folder" in refused([str(tmp_path / "none"), "--name", "a", *beside], capsys)
    assert "no name for a character" in refused([str(recordings), "--name", "Ä!", *beside], capsys)
    assert "no name for a character" in refused([str(recordings), "--name", "neutral", *beside], capsys)
    assert "is no style" in refused([str(recordings), "--name", "nobody", *beside], capsys)
    assert "cannot be read" in refused([str(recordings), "--name", "a", "--styles", "none.toml", *beside], capsys)
    assert "does not name a student" in refused([str(recordings), "--name", "gruff", "--models", str(tmp_path)], capsys)
    short = tmp_path / "short"
    short.mkdir()
    for end in ("wav", "txt"):
        (short / f"00.{end}").write_bytes((recordings / f"00.{end}").read_bytes())
    assert "no basis for a character" in refused([str(short), "--name", "gruff", *beside], capsys)
    (short / "00.txt").unlink()
    assert "has neither" in refused([str(short), "--name", "gruff", *beside], capsys)
    (short / "00.csv").write_text("Timecode,JawOpen\n0,0.1\n0.02,0.2")
    assert "another rig" in refused([str(short), "--name", "gruff", *beside], capsys)


def test_a_face_that_never_moves_teaches_nothing(recordings: Path, tmp_path: Path) -> None:
    mel = np.full((1_500, 40), 120, np.uint8)
    nothing = np.zeros((0, *mel.shape), np.uint8)
    still = Clip("still", (), mel, nothing, np.zeros(1_500, np.float32), np.full((1_500, 52), 0.1, np.float32))
    with pytest.raises(ConfigError, match="never moves"):
        adapt(SHIPPED, model_name("fp32", "high"), [still], style=None)


def test_a_late_camera_is_noticed(recordings: Path, tmp_path: Path) -> None:
    from origin.distill.recordings import load_recordings

    clips = load_recordings(filmed(recordings, tmp_path / "filmed", STRANGER))
    late = [replace(clip, weights=np.roll(clip.weights, 5, axis=0)) for clip in clips if clip.weights is not None]
    lags = adapt(SHIPPED, model_name("fp32", "high"), late, style=None).lags_ms
    assert np.median(lags) == pytest.approx(100, abs=20)


def test_another_network_than_the_fp32_one_is_refused(tmp_path: Path) -> None:
    weights = weights_of(Student(np.full(40, 0.4, np.float32)))
    export(tmp_path / "medium.onnx", weights, "medium")
    mel = np.full((1_500, 40), 120, np.uint8)
    clip = Clip("a", (), mel, np.zeros((0, *mel.shape), np.uint8), np.zeros(1_500, np.float32))
    for name in ("medium.onnx", "nothing.onnx"):
        with pytest.raises(ConfigError, match=name):
            adapt(tmp_path, name, [clip], style=STRANGER)
    (tmp_path / "nothing.onnx").write_bytes(b"\xff\xff no model")
    with pytest.raises(ConfigError, match="is no fp32 student"):
        adapt(tmp_path, "nothing.onnx", [clip], style=STRANGER)

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.avatar.blend import STEP_MAX
from core.avatar.expression import channel
from core.errors import ConfigError, LocalProtocolError
from core.limits import LOG_MEL_BANDS, WEIGHT_STEP_MAX
from core.speech.features import log_mel_frames
from core.speech.student_layout import FIDELITIES, INPUTS, LOOKAHEAD_FRAMES, MOUTH, OUTPUTS, STATE_ROWS, TRUNK_WIDTH
from edge.compiled import CompiledFaces
from edge.student import PRECISIONS, STYLE_EASE_FRAMES, Student, find_student_files
from loadtests.audio import read_audio

FOLDER, FILES = find_student_files()
SOUNDS = Path(__file__).parents[1] / "data"
JAW = OUTPUTS.index("jaw")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Inputs without phonemes of a spoken sentence: float32[frames, INPUTS]."""
    samples, rate = read_audio(SOUNDS / "milky_way.wav", length_s_max=10.0), 48_000
    mel = log_mel_frames(samples, rate)
    inputs = np.zeros((len(mel), INPUTS), np.float32)
    inputs[:, :LOG_MEL_BANDS] = mel / np.float32(255.0)
    return inputs


def play(student: Student, slot: int, inputs: np.ndarray) -> np.ndarray:
    return np.concatenate([student.run(np.array([slot]), row[None]) for row in inputs])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_voice_alone_moves_the_mouth(precision: str, speech: np.ndarray) -> None:
    student = Student(precision=precision)
    answers = play(student, student.open(), speech)
    loud = speech[:, :LOG_MEL_BANDS].mean(axis=1)
    jaw, sound = answers[LOOKAHEAD_FRAMES:, JAW], loud[:-LOOKAHEAD_FRAMES]
    quiet, full = np.quantile(sound, (0.2, 0.7))
    assert jaw[sound >= full].mean() > jaw[sound <= quiet].mean() + 0.1
    assert np.corrcoef(jaw, sound)[0, 1] > 0.4
    assert student.mended == 0


@pytest.mark.parametrize("compiled", [None, CompiledFaces()], ids=["numpy", "compiled"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_session_depends_on_its_batch_mates(
    precision: str, compiled: CompiledFaces | None, speech: np.ndarray
) -> None:
    alone, crowded = (Student(precision=precision, compiled=compiled) for _ in range(2))
    slot = alone.open()
    slots = np.array([crowded.open() for _ in range(7)])
    rng = np.random.default_rng(0)
    for frame, row in enumerate(speech[:80]):
        others = rng.normal(0.0, 20.0, (7, INPUTS)).astype(np.float32)  # far louder than anything real
        others[5] = np.nan
        others[6] = np.inf if frame % 2 else 0.0
        others[2] = row
        expected = alone.run(np.array([slot]), row[None])[0]
        given = crowded.run(slots, others)
        assert np.allclose(given[2], expected, atol=2e-5)
        assert np.isfinite(given).all()
    assert crowded.mended > 80, "the neighbour that is not a number begins anew each time"


def test_fidelity_and_character_change_every_second_without_a_jump(speech: np.ndarray) -> None:
    student = Student(precision="fp32")
    slot, twin = student.open(), student.open()
    characters = student.characters
    track = np.concatenate([speech] * 3)
    shown, steady = [], []
    for frame, row in enumerate(track):
        if frame % 50 == 25:
            turn = frame // 50
            student.set_fidelity(slot, FIDELITIES[turn % len(FIDELITIES)])
            student.set_character(slot, characters[turn % len(characters)])
        pair = student.run(np.array([slot, twin]), np.stack([row, row]))
        shown.append(pair[0, : len(MOUTH)])
        steady.append(pair[1, : len(MOUTH)])
    steps = np.abs(np.diff(np.clip(shown, 0.0, 1.0), axis=0))
    usual = np.abs(np.diff(np.clip(steady, 0.0, 1.0), axis=0))
    swaps = np.arange(25, len(track), 50) - 1
    lips, jaw = MOUTH.index("lips"), MOUTH.index("jaw")
    articulators = [index for index in range(lips) if MOUTH[index] not in ("voice", "puff", "roll_lower")]
    assert steps[swaps][:, articulators].max() <= WEIGHT_STEP_MAX
    assert steps[:, jaw].max() <= max(STEP_MAX[channel("jawOpen")], 1.3 * usual[:, jaw].max())
    assert student.mended == 0


def test_a_fidelity_understands_what_another_remembers(speech: np.ndarray) -> None:
    """The first frames after a swap are the other fidelity's own, not those of a session that starts anew."""
    student = Student(precision="fp32")
    swapping, own, anew = (student.open() for _ in range(3))
    student.set_fidelity(own, "low")
    far = near = 0.0
    for begin in range(40, 160, 20):
        for row in speech[begin - 40 : begin]:
            student.run(np.array([swapping, own]), np.stack([row, row]))
        student.set_fidelity(swapping, "low")
        student.close(anew)
        anew = student.open(fidelity="low")
        for row in speech[begin : begin + 4]:
            given = student.run(np.array([swapping, own, anew]), np.stack([row] * 3))[:, : len(MOUTH)]
            near += float(np.abs(given[0] - given[1]).mean())
            far += float(np.abs(given[2] - given[1]).mean())
        student.set_fidelity(swapping, "high")
    assert near < 0.5 * far


def test_slots_are_reused_and_grow_without_forgetting(speech: np.ndarray) -> None:
    student, other = Student(precision="fp32", capacity=2), Student(precision="fp32", capacity=2)
    kept, expected = student.open(), other.open()
    for row in speech[:20]:
        student.run(np.array([kept]), row[None])
        other.run(np.array([expected]), row[None])
    more = [student.open() for _ in range(9)]
    assert len({kept, *more}) == 10
    row = speech[20]
    assert np.allclose(
        student.run(np.array([kept, *more]), np.stack([row] * 10))[0], other.run(np.array([expected]), row[None])[0],
        atol=2e-5,
    )  # fmt: skip
    student.close(more[0])
    fresh = student.open()
    assert fresh == more[0]
    first = student.run(np.array([fresh]), speech[:1])
    assert np.allclose(first, other.run(np.array([other.open()]), speech[:1]), atol=2e-5), "nothing of the former one"


def test_silence_keeps_the_mouth_still() -> None:
    student = Student(precision="fp32")
    answers = play(student, student.open(), np.zeros((100, INPUTS), np.float32))
    mouth = np.clip(answers[20:, : MOUTH.index("voice")], 0.0, 1.0)
    assert mouth.max() < 0.08
    assert np.abs(np.diff(mouth, axis=0)).max() < 0.01


@pytest.mark.parametrize("kind", ["clipped", "offset", "narrow", "loud noise"])
def test_bad_sound_never_breaks_the_mouth(kind: str) -> None:
    samples, rate = read_audio(SOUNDS / "mars.wav", length_s_max=10.0), 48_000
    if kind == "clipped":
        samples = np.clip(samples * 40.0, -1.0, 1.0)
    elif kind == "offset":
        samples = samples + 0.5
    elif kind == "narrow":
        spectrum = np.fft.rfft(samples)
        spectrum[round(len(spectrum) * 3_400 / (rate / 2)) :] = 0.0
        samples = np.fft.irfft(spectrum, len(samples)).astype(np.float32)
    else:
        samples = np.random.default_rng(0).uniform(-1.0, 1.0, rate).astype(np.float32)
    mel = log_mel_frames(samples, rate)
    inputs = np.zeros((len(mel), INPUTS), np.float32)
    inputs[:, :LOG_MEL_BANDS] = mel / np.float32(255.0)
    student = Student(precision="fp32")
    answers = play(student, student.open(), inputs)
    assert np.isfinite(answers).all() and student.mended == 0
    assert np.abs(answers[:, : len(MOUTH)]).max() < 2.0


def test_characters_that_are_done_changing_share_their_style_exactly(speech: np.ndarray) -> None:
    student = Student(precision="fp32")
    born, changed, other = student.open(character="mira"), student.open(), student.open(character="gruff")
    student.set_character(changed, "mira")
    for row in speech[:STYLE_EASE_FRAMES]:
        mixed = student.run(np.array([born, changed, other]), np.stack([row] * 3))
    assert np.abs(mixed[0] - mixed[2]).max() > 1e-3, "another character looks different"
    assert np.array_equal(student._style[born], student._style[changed])
    row = np.stack([speech[STYLE_EASE_FRAMES]] * 2)
    memory = [student.memory(slot) for slot in (born, changed)]
    together = student.run(np.array([born, changed]), row)
    for slot, state in zip((born, changed), memory, strict=True):
        student.remember(slot, state)
    apart = [student.run(np.array([slot, other]), row)[0] for slot in (born, changed)]
    assert np.allclose(together, apart, atol=2e-3), "one row of style for all, or one each"


# --- files -----------------------------------------------------------------------------------------------------------


def copy_models(tmp_path: Path) -> Path:
    for name in (*FILES.sha256, "student.json"):
        shutil.copy(FOLDER / name, tmp_path / name)
    return tmp_path


def test_what_is_shipped_is_small_and_whole() -> None:
    assert sum((FOLDER / name).stat().st_size for name in FILES.sha256) < 3_000_000
    assert len(FILES.styles) >= 4
    assert set(FILES.models) == set(PRECISIONS)


def test_a_damaged_model_is_refused_by_name(tmp_path: Path) -> None:
    folder = copy_models(tmp_path)
    name = FILES.models["fp32"]["medium"]
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ConfigError, match=f"{name} is damaged"):
        Student(folder, precision="fp32")
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=f"{name} cannot be read"):
        Student(folder, precision="fp32")


def rewrite(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "student.json").read_text())
    manifest.update(changes)
    (folder / "student.json").write_text(json.dumps(manifest))


def test_a_model_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    folder = copy_models(tmp_path)
    shutil.copy(FOLDER / "silero_vad.onnx", folder / "silero_vad.onnx")
    import hashlib

    digest = hashlib.sha256((folder / "silero_vad.onnx").read_bytes()).hexdigest()
    models = {"fp32": {**FILES.models["fp32"], "low": "silero_vad.onnx"}}
    rewrite(folder, models=models, sha256={**FILES.sha256, "silero_vad.onnx": digest})
    with pytest.raises(ConfigError, match=r"silero_vad\.onnx is no student"):
        Student(folder)


def test_a_character_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    import hashlib

    folder = copy_models(tmp_path)
    name = FILES.styles["mira"]
    for wrong in (np.zeros(7, np.float32), np.full(10, np.nan, np.float32)):
        np.save(folder / name, wrong)
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        rewrite(folder, sha256={**FILES.sha256, name: digest})
        with pytest.raises(ConfigError, match=f"{name} is no character"):
            Student(folder, precision="fp32")
    (folder / name).write_bytes(b"no numpy")
    rewrite(folder, sha256={**FILES.sha256, name: hashlib.sha256(b"no numpy").hexdigest()})
    with pytest.raises(ConfigError, match=f"{name} is no character"):
        Student(folder, precision="fp32")


def test_a_manifest_of_another_layout_is_refused(tmp_path: Path) -> None:
    folder = copy_models(tmp_path)
    rewrite(folder, layout=99)
    with pytest.raises(ConfigError, match="layout 99"):
        Student(folder)
    (folder / "student.json").write_text("{")
    with pytest.raises(ConfigError, match="does not name a student"):
        Student(folder)
    with pytest.raises(ConfigError, match="does not name a student"):
        Student(tmp_path / "nowhere")


def test_the_faster_precision_is_chosen() -> None:
    assert Student().precision in PRECISIONS
    with pytest.raises(ConfigError, match="int4"):
        Student(precision="int4")


def test_wrong_use_is_named() -> None:
    student = Student(precision="fp32")
    slot = student.open()
    with pytest.raises(LocalProtocolError, match="fidelity"):
        student.set_fidelity(slot, "highest")
    with pytest.raises(LocalProtocolError, match="nobody"):
        student.set_character(slot, "nobody")
    with pytest.raises(LocalProtocolError, match="not open"):
        student.close(slot + 1)
    with pytest.raises(LocalProtocolError, match="numbers per slot"):
        student.run(np.array([slot]), np.zeros((1, 3), np.float32))
    assert student.run(np.zeros(0, np.intp), np.zeros((0, INPUTS), np.float32)).shape == (0, len(OUTPUTS))
    assert STATE_ROWS * TRUNK_WIDTH * 4 < 8_192, "a session's memory stays a few kilobytes"

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from core.avatar.rig import BLENDSHAPES
from core.errors import ConfigError
from origin.distill.recordings import face_track, load_recording, load_recordings

JAW = BLENDSHAPES.index("jawOpen")


def write_wav(path: Path, samples: np.ndarray, *, rate: int = 16_000, width: int = 2, channels: int = 1) -> None:
    scaled = np.round(np.clip(samples, -1, 1) * (2 ** (8 * width - 1) - 1)).astype("<i4")
    if width == 1:
        data = (scaled + 128).astype(np.uint8).tobytes()
    else:
        data = scaled.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)


def live_link_face() -> str:
    names = [name[0].upper() + name[1:] for name in BLENDSHAPES]
    lines = ["Timecode,BlendshapeCount," + ",".join([*names, "HeadYaw"])]
    for k in range(60):
        weights = [0.0] * 52
        weights[JAW] = k / 59
        lines.append(f"10:59:59:{k:02d}.250,61," + ",".join(f"{weight:.4f}" for weight in weights) + ",0.5")
    return "\n".join(lines)


def test_live_link_face_is_put_on_our_clock(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(live_link_face(), encoding="utf-8-sig")
    track = face_track(path, 60)
    assert track.shape == (60, 52)
    assert track[25, JAW] == pytest.approx(25 * 0.020 * 60 / 59, abs=1e-3)
    assert track[59, JAW] == 1.0, "the end is held"
    assert track[:, 0].max() == 0.0


def test_audio2face_is_read_in_both_forms(tmp_path: Path) -> None:
    rows = [[float(k == JAW) * t / 29 for k in range(52)] for t in range(30)]
    (tmp_path / "a.json").write_text(json.dumps({"exportFps": 30, "facsNames": BLENDSHAPES, "weightMat": rows}))
    table = ["timeCode," + ",".join(f"blendShapes.{name}" for name in BLENDSHAPES)]
    table += [f"{t / 30},{','.join(map(str, row))}" for t, row in enumerate(rows)]
    (tmp_path / "a.csv").write_text("\n".join(table))
    one, other = face_track(tmp_path / "a.json", 50), face_track(tmp_path / "a.csv", 50)
    assert np.allclose(one, other, atol=1e-6)
    assert one[:, JAW].max() > 0.9


def test_a_recording_with_a_face_or_a_text(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16_000))
    with pytest.raises(ConfigError, match=r"neither a\.txt nor a\.csv"):
        load_recording(tmp_path / "a.wav")
    (tmp_path / "a.csv").write_text(live_link_face())
    (clip,) = load_recordings(tmp_path)
    assert clip.weights is not None and len(clip.weights) == len(clip.clean) == 50


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2", "Timecode,JawOpen\n0,0.1\n0.02,0.2", live_link_face().replace("0.0000", "nan"), "\x00\x01", "{}"],
    ids=["empty", "no clock", "other rig", "not finite", "binary", "json"],
)
def test_what_is_no_face_track_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"a\.csv"):
        face_track(path, 10)


def test_damaged_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        load_recordings(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"no \.wav"):
        load_recordings(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"RIFF no wave")
    with pytest.raises(ConfigError, match=r"a\.wav is no PCM"):
        load_recordings(tmp_path)
    write_wav(tmp_path / "a.wav", np.zeros(0))
    with pytest.raises(ConfigError, match="no sound"):
        load_recordings(tmp_path)

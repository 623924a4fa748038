"""What users have: recordings of a voice with its text, or with the movements of a face.

A folder holds `NAME.wav` with, beside it, a text, a face, or both:
- `NAME.txt`: what is said, found in the sound by a forced alignment; without a face the teacher moves one,
- `NAME.csv`: Live Link Face (ARKit weights, one row per video frame, with timecodes),
- `NAME.csv` or `NAME.json`: Audio2Face-3D (ARKit weights, at a constant rate).
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import soxr
from numpy.typing import NDArray

from core.avatar.rig import BLENDSHAPE_INDEX, BLENDSHAPES
from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ, PTIME_MS
from origin.distill.alignment import align
from origin.distill.corpus import Clip, padded_frames
from origin.distill.prosody import pitch_semitones
from origin.distill.wav import check_recording, read_wav

__all__ = ["face_track", "load_recording", "load_recordings"]

_FRAME_S: Final = PTIME_MS / 1000.0
_NAMES: Final = {name.lower(): index for name, index in BLENDSHAPE_INDEX.items()}
_MOUTH_NAMES_MIN: Final = 20
"""A face track with fewer known weights than this is of another rig."""


def load_recordings(folder: Path) -> list[Clip]:
    """Every recording of a folder. Raises: ConfigError: there is none, or one is damaged; the text names it."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    clips = [load_recording(path) for path in sorted(folder.glob("*.wav"))]
    if not clips:
        raise ConfigError(f"{folder} holds no .wav file")
    return clips


def load_recording(path: Path) -> Clip:
    """One recording with what lies beside it. Raises: ConfigError: nothing lies there, or it does not fit."""
    pcm, rate = read_wav(path)
    check_recording(path, pcm, rate)
    text, faces = path.with_suffix(".txt"), [path.with_suffix(end) for end in (".csv", ".json")]
    sound = pcm if rate == MEDIA_CLOCK_HZ else soxr.resample(pcm, rate, MEDIA_CLOCK_HZ, quality="HQ")
    mel = padded_frames(np.asarray(sound, np.float32))
    pitch = pitch_semitones(pcm, rate, len(mel))
    nothing = np.zeros((0, *mel.shape), np.uint8)
    face = next((each for each in faces if each.is_file()), None)
    weights = face_track(face, len(mel)) if face is not None else None
    if not text.is_file():
        if weights is None:
            raise ConfigError(f"{path} has neither {text.name} nor {faces[0].name} nor {faces[1].name} beside it")
        return Clip(path.stem, (), mel, nothing, pitch, weights)
    try:
        words = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{text} cannot be read: {error}") from None
    return Clip(path.stem, tuple(align(pcm, rate, words, name=str(path))), mel, nothing, pitch, weights)


def face_track(path: Path, frames: int) -> NDArray[np.float32]:
    """A recorded face on our clock: float32[frames, 52] in [0, 1], interpolated; the ends are held.

    Raises: ConfigError: not a face track, or of another rig.
    """
    try:
        raw = path.read_text(encoding="utf-8-sig")
        times, names, rows = _audio2face(json.loads(raw)) if path.suffix == ".json" else _table(raw)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"{path} is no face track: {error}") from None
    columns = {index: _NAMES[name] for index, name in enumerate(names) if name in _NAMES}
    if len(columns) < _MOUTH_NAMES_MIN or len(times) < 2 or not (np.diff(times) > 0).all():
        raise ConfigError(f"{path} has {len(columns)} of the {len(BLENDSHAPES)} ARKit weights; another rig?")
    if not np.isfinite(rows).all():
        raise ConfigError(f"{path} holds numbers that are not finite")
    track = np.zeros((frames, len(BLENDSHAPES)), np.float32)
    wanted = np.arange(frames) * _FRAME_S
    for source, target in columns.items():
        track[:, target] = np.interp(wanted, times, rows[:, source])
    return np.clip(track, 0.0, 1.0)


Track = tuple[NDArray[np.float64], list[str], NDArray[np.float64]]


def _audio2face(document: dict[str, Any]) -> Track:
    """Audio2Face's export: `facsNames`, `weightMat` and `exportFps`."""
    rows = np.array(document["weightMat"], np.float64)
    times = np.arange(len(rows)) / float(document["exportFps"])
    return times, [str(name).lower() for name in document["facsNames"]], rows


def _table(raw: str) -> Track:
    """Live Link Face has Timecode, BlendshapeCount and names; Audio2Face-3D has timeCode and `blendShapes.` names."""
    lines = list(csv.reader(raw.splitlines()))
    header = [name.strip().lower().removeprefix("blendshapes.") for name in lines[0]]
    body = [line for line in lines[1:] if len(line) == len(header)]
    clock = next((index for index, name in enumerate(header) if name in ("timecode", "time_code", "time")), None)
    if clock is None:
        raise ValueError("it has no column of times")
    times = np.array([_seconds(line[clock]) for line in body])
    names = [name if index != clock else "" for index, name in enumerate(header)]
    rows = np.array([[_number(cell) if names[i] in _NAMES else 0.0 for i, cell in enumerate(line)] for line in body])
    return times - times[0], names, rows


def _number(cell: str) -> float:
    return float(cell) if cell.strip() else 0.0


def _seconds(cell: str) -> float:
    """Seconds, or Live Link Face's HH:MM:SS:FF.fff at 60 frames per second."""
    parts = cell.split(":")
    if len(parts) == 4:
        hours, minutes, seconds, frame = (float(part) for part in parts)
        return 3600.0 * hours + 60.0 * minutes + seconds + frame / 60.0
    return float(cell)

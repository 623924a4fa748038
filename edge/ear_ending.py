"""Whether a pause that has just begun is the end of what the user says: a small learnt judgement over 60-120 ms of it.

A pause inside a sentence and the end of one look alike in energy. They differ, a little, in what went before: how long
the last syllable was, how it faded, its colour, how much had been said. Pitch is left out: learnt from synthetic speech
it misled on voices that were not trained on. `EndingFeatures` keeps
what is needed of the last second; `EndingModel` is a perceptron with one hidden layer, evaluated once per packet of a
pause and never otherwise. `python -m loadtests.bench._ear_training` makes its weights.
"""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError

__all__ = ["FEATURES", "FEATURE_NAMES", "EndingFeatures", "EndingModel", "load_ending_model"]

_RATE_HZ: Final = 16_000
_HOP: Final = 160
"""10 ms."""
_MEMORY_WINDOWS: Final = 128
_LEVEL_SPANS: Final = ((0, 2), (2, 5), (5, 10), (10, 20), (20, 40), (40, 80))
"""Windows before the pause whose mean levels are looked at."""
_FADES_DB: Final = (-10.0, -15.0, -20.0, -25.0)
_FRAME: Final = 512
_FRAME_FFT: Final = 1_024
_FRAMES_BEFORE: Final = (0, 1_024)
"""Samples before the pause at which the 32 ms whose colour is looked at end."""
_BAND_EDGES_HZ: Final = (80, 300, 600, 1_000, 1_600, 2_500, 4_000, 7_500)
_BANDS: Final = tuple(round(hertz * _FRAME_FFT / _RATE_HZ) for hertz in _BAND_EDGES_HZ)
_TAPER: Final = np.hanning(_FRAME).astype(np.float32)

FEATURE_NAMES: Final = (
    *(f"level_{first}_{last}" for first, last in _LEVEL_SPANS),
    *("quiet_mean", "quiet_last", "quiet_above_floor", "quiet_max_late", "floor"),
    *(f"fade_{-db:.0f}" for db in _FADES_DB),
    *("near_peak", "far_peak", "last_stretch", "nuclei", "spoken_log", "spoken_short", "quiet_windows"),
    *("vad_now", "vad_before", "vad_mean"),
    *(f"band_last_{index}" for index in range(len(_BANDS) - 1)),
    *(f"band_before_{index}" for index in range(len(_BANDS) - 1)),
)
FEATURES: Final = len(FEATURE_NAMES)
"""How many numbers describe a pause."""


class EndingFeatures:
    """What one ear remembers of the last 1.3 s, and how a pause looks from there."""

    __slots__ = ("_levels", "_probabilities", "_sound")

    def __init__(self) -> None:
        self._levels: deque[float] = deque(maxlen=_MEMORY_WINDOWS)
        self._probabilities: deque[float] = deque([0.0] * 8, maxlen=8)
        self._sound: deque[NDArray[np.float32]] = deque(maxlen=_MEMORY_WINDOWS)

    def push(self, window: NDArray[np.float32], level_db: float) -> None:
        """The next 10 ms: float32[160] at 16 kHz, and its level in dB below full scale."""
        self._sound.append(window)
        self._levels.append(level_db)

    def push_probability(self, probability: float) -> None:
        """The next judgement of the voice activity model."""
        self._probabilities.append(probability)

    def describe(self, *, quiet_windows: int, peak_db: float, floor_db: float, spoken_s: float) -> NDArray[np.float32]:
        """The pause that has lasted for the last `quiet_windows` windows.

        Args:
            quiet_windows: at least 1, fewer than are remembered.
            peak_db: the utterance's peak in dB below full scale.
            floor_db: the room's noise.
            spoken_s: from the utterance's first sound to the pause.
        Returns: float32[FEATURES], finite.
        """
        levels = np.full(_MEMORY_WINDOWS, -60.0)
        known = np.asarray(self._levels) - peak_db
        levels[_MEMORY_WINDOWS - len(known) :] = np.clip(known, -60.0, 0.0)
        quiet = levels[-quiet_windows:]
        before = levels[:-quiet_windows][::-1]  # nearest first
        sound = np.concatenate(list(self._sound)) if self._sound else np.zeros(0, np.float32)
        sound = sound[: max(0, len(sound) - quiet_windows * _HOP)]
        values = [float(before[first:last].mean()) / 20.0 for first, last in _LEVEL_SPANS]
        values += [
            float(quiet.mean()) / 20.0,
            float(quiet[-1]) / 20.0,
            (float(quiet[-2:].mean()) + peak_db - floor_db) / 20.0,
            float(quiet[-3:].max()) / 20.0,
            (floor_db - peak_db) / 20.0,
        ]
        values += [float(_first(before > db, 40)) / 10.0 for db in _FADES_DB]
        values += [float(before[:15].max()) / 20.0, float(before[15:45].max()) / 20.0]
        loud_from = _first(before > -20.0, 40)
        stretch = _first(before[loud_from:] < -20.0, 60)
        values += [stretch / 30.0, _nuclei(before) / 4.0, float(np.log2(max(spoken_s, 0.05)))]
        values += [max(0.0, 1.0 - spoken_s), quiet_windows / 10.0]
        recent = list(self._probabilities)
        values += [recent[-1], recent[-4], float(np.mean(recent[-6:]))]
        values += _colour(sound)
        return np.asarray(values, np.float32)


def _first(flags: NDArray[np.bool_], otherwise: int) -> int:
    """Index of the first that is true, at most `otherwise`."""
    index = int(flags.argmax()) if flags.any() else otherwise
    return min(index, otherwise)


def _nuclei(before: NDArray[np.float64]) -> int:
    """Syllables, roughly: peaks of the smoothed level that stand 3 dB out of their surroundings."""
    smooth = np.convolve(before[:100], np.full(5, 0.2), "valid")
    inner = smooth[4:-4]
    peaks = (inner >= smooth[3:-5]) & (inner > smooth[5:-3]) & (inner > -22.0)
    lower = np.minimum(smooth[:-8], smooth[8:])
    return int((peaks & (inner > lower + 3.0)).sum())


def _colour(sound: NDArray[np.float32]) -> list[float]:
    """How the last sounds before the pause spread over the spectrum."""
    span = _FRAMES_BEFORE[-1] + _FRAME
    if len(sound) < span:
        sound = np.concatenate((np.zeros(span - len(sound), np.float32), sound))
    values: list[float] = []
    for before in _FRAMES_BEFORE:
        end = len(sound) - before
        spectrum = np.fft.rfft(sound[end - _FRAME : end] * _TAPER, _FRAME_FFT)
        power = spectrum.real**2 + spectrum.imag**2
        bands = np.log10(np.maximum(np.add.reduceat(power[: _BANDS[-1]], _BANDS[:-1]), 1e-9))
        values += [float(value) for value in bands - np.log10(max(float(power.sum()), 1e-9))]
    return [float(np.clip(value, -6.0, 6.0)) for value in values]


class EndingModel:
    """Probability that a pause is the end, from its features.

    Args:
        mean, scale: of each feature, float32[FEATURES].
        hidden: float32[FEATURES + 1, n], the last row is the bias.
        output: float32[n + 1], the last is the bias.
    """

    def __init__(
        self,
        *,
        mean: NDArray[np.float32],
        scale: NDArray[np.float32],
        hidden: NDArray[np.float32],
        output: NDArray[np.float32],
    ) -> None:
        self._mean = mean
        self._scale = scale
        self._hidden = hidden
        self._output = output

    def probability(self, features: NDArray[np.float32]) -> float:
        """Of float32[FEATURES] being an end, 0 to 1."""
        inner = np.tanh(np.clip((features - self._mean) / self._scale, -4, 4) @ self._hidden[:-1] + self._hidden[-1])
        return float(1.0 / (1.0 + np.exp(-(inner @ self._output[:-1] + self._output[-1]))))


def load_ending_model(path: Path | None = None) -> EndingModel:
    """Read the weights.

    Raises: ConfigError: missing, or not made for these features.
    """
    path = path if path is not None else Path(__file__).parent / "models" / "ear_ending.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["features"] != list(FEATURE_NAMES):
            raise ValueError("made for other features")
        arrays = {name: np.asarray(data[name], np.float32) for name in ("mean", "scale", "hidden", "output")}
        width = arrays["hidden"].shape[1]
        expected = {"mean": (FEATURES,), "scale": (FEATURES,), "hidden": (FEATURES + 1, width), "output": (width + 1,)}
        for name, shape in expected.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} is not {shape} finite numbers")
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"the weights of the ear in {path} cannot be used: {error}") from error
    return EndingModel(**arrays)

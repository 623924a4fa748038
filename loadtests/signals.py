"""What a recording says about a conversation: where speech ends, how far one curve lags another, which words differ.

Pure numpy; nothing here knows of networks or clocks. Times are seconds, curves are one-dimensional float arrays.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SPEECH_RANGE_DB",
    "Lag",
    "WordErrors",
    "dbfs",
    "end_of_speech",
    "envelope",
    "lag",
    "level_dbov",
    "loud_from",
    "resample_at",
    "start_of_speech",
    "word_errors",
]

SPEECH_RANGE_DB: Final = 35.0
"""A 10 ms window belongs to an utterance when it is within this of the utterance's loudest window."""
_WINDOW_S: Final = 0.010
_SILENCE_DBFS: Final = -60.0
"""A recording whose loudest 10 ms are below this holds no speech."""
_DBOV_MIN: Final = -127.0

Samples = NDArray[np.float32]
Curve = NDArray[np.float64]


def dbfs(rms: float) -> float:
    """Root mean square in [0, 1] as dB below full scale, at least -127."""
    return max(_DBOV_MIN, 20.0 * float(np.log10(rms))) if rms > 0.0 else _DBOV_MIN


def level_dbov(samples: Samples) -> int:
    """Audio level of one packet after RFC 6464: 0 = loudest … 127 = digital silence."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0
    return round(-min(0.0, dbfs(rms)))


def _window_rms(samples: Samples, rate_hz: int) -> Curve:
    size = round(rate_hz * _WINDOW_S)
    count = -(-samples.size // size)
    padded = np.zeros(count * size, dtype=np.float64)
    padded[: samples.size] = samples
    return np.asarray(np.sqrt(np.mean(np.square(padded.reshape(count, size)), axis=1)), dtype=np.float64)


def _speech_windows(samples: Samples, rate_hz: int) -> NDArray[np.intp]:
    if samples.size == 0:
        return np.empty(0, dtype=np.intp)
    rms = _window_rms(samples, rate_hz)
    peak = float(rms.max())
    if dbfs(peak) < _SILENCE_DBFS:
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(rms >= peak * 10.0 ** (-SPEECH_RANGE_DB / 20.0))


def start_of_speech(samples: Samples, rate_hz: int) -> float | None:
    """Seconds at which the first window within SPEECH_RANGE_DB of the loudest begins; None: nothing but silence."""
    windows = _speech_windows(samples, rate_hz)
    return float(windows[0]) * _WINDOW_S if windows.size else None


def end_of_speech(samples: Samples, rate_hz: int) -> float | None:
    """Seconds at which the last window within SPEECH_RANGE_DB of the loudest ends; None: nothing but silence."""
    windows = _speech_windows(samples, rate_hz)
    if not windows.size:
        return None
    return min((float(windows[-1]) + 1.0) * _WINDOW_S, samples.size / rate_hz)


def loud_from(samples: Samples, rate_hz: int, threshold_dbfs: float) -> float | None:
    """Seconds at which the first 5 ms window louder than the threshold begins; None when there is none."""
    size = round(rate_hz * 0.005)
    for start in range(0, samples.size, size):
        window = samples[start : start + size].astype(np.float64)
        if dbfs(float(np.sqrt(np.mean(np.square(window))))) > threshold_dbfs:
            return start / rate_hz
    return None


def envelope(samples: Samples, rate_hz: int, *, hop_s: float = 0.005, window_s: float = 0.020) -> Curve:
    """Loudness over time: RMS of a Hann window centred on each hop.

    Returns: float64[n], the value at index i belongs to second i * hop_s.
    """
    hop = round(rate_hz * hop_s)
    half = round(rate_hz * window_s / 2)
    window = np.hanning(2 * half + 1)
    power = np.convolve(np.square(samples, dtype=np.float64), window / window.sum(), mode="same")
    return np.asarray(np.sqrt(np.maximum(power[::hop], 0.0)), dtype=np.float64)


def resample_at(times_s: Curve, values: Curve, at_s: Curve, *, hold: bool = False) -> Curve:
    """A curve given at irregular, increasing times, read at other times.

    Args:
        hold: a value stays until the next one (a picture on a screen) instead of moving in a straight line to it.
    Returns: float64, the first and last value outside the curve's span.
    """
    if not hold:
        return np.asarray(np.interp(at_s, times_s, values), dtype=np.float64)
    index = np.clip(np.searchsorted(times_s, at_s, side="right") - 1, 0, values.size - 1)
    return np.asarray(values[index], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far one curve is behind another.

    Attributes:
        seconds: positive: the second curve comes later.
        correlation: Pearson's r at that shift.
    """

    seconds: float
    correlation: float


def lag(reference: Curve, delayed: Curve, *, step_s: float, lag_s_max: float = 0.3) -> Lag | None:
    """The shift at which two equally sampled curves correlate best, to a fraction of a step.

    Args:
        reference: float64[n].
        delayed: float64[n].
        step_s: seconds between samples of both.
        lag_s_max: shifts looked at, both ways.
    Returns: None when a curve is constant or too short to say anything.
    """
    size = min(reference.size, delayed.size)
    reach = round(lag_s_max / step_s)
    if size < 2 * reach + 10 or reach < 1:
        return None
    # The same stretch of the reference is compared at every shift, so that the ends do not favour small shifts.
    fixed = reference[reach : size - reach]
    scores = np.array([_pearson(fixed, delayed[shift : shift + fixed.size]) for shift in range(2 * reach + 1)])
    if not np.isfinite(scores).any():
        return None
    best = int(np.nanargmax(scores))
    fraction = _parabola_peak(scores, best)
    return Lag(seconds=(best + fraction - reach) * step_s, correlation=float(scores[best]))


def _pearson(left: Curve, right: Curve) -> float:
    a = left - left.mean()
    b = right - right.mean()
    norm = float(np.sqrt(np.dot(a, a) * np.dot(b, b)))
    return float(np.dot(a, b)) / norm if norm > 1e-12 else float("nan")


def _parabola_peak(scores: Curve, best: int) -> float:
    if not 0 < best < scores.size - 1:
        return 0.0
    before, here, after = (float(value) for value in scores[best - 1 : best + 2])
    curvature = before - 2.0 * here + after
    if not np.isfinite(curvature) or curvature >= 0.0:
        return 0.0
    return float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))


@dataclass(frozen=True, slots=True)
class WordErrors:
    """How a transcript differs from what was said.

    Attributes:
        errors: words inserted, missing or wrong.
        words: words that were said.
    """

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """Word error rate; 0.0 when nothing was said and nothing was heard, 1.0 when only something was heard."""
        if self.words == 0:
            return 1.0 if self.errors else 0.0
        return self.errors / self.words


def word_errors(said: str, heard: str) -> WordErrors:
    """Levenshtein distance over words, without regard to case, accents or punctuation."""
    reference, hypothesis = _words(said), _words(heard)
    row = list(range(len(hypothesis) + 1))
    for index, word in enumerate(reference, start=1):
        above, row = row, [index]
        for column, (left, right) in enumerate(pairwise(above), start=1):
            substitution = left + (word != hypothesis[column - 1])
            row.append(min(substitution, right + 1, row[-1] + 1))
    return WordErrors(errors=row[-1], words=len(reference))


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", "".join(c for c in plain if not unicodedata.combining(c)))

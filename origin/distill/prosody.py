"""The melody of a voice: its pitch, frame by frame, as far as head and brows follow it."""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from core.limits import PTIME_MS

__all__ = ["pitch_semitones"]

_RATE_HZ: Final = 8_000
_WINDOW: Final = 320
"""Samples of a window: 40 ms, two periods of the lowest voice."""
_LOWEST_HZ: Final = 65.0
_HIGHEST_HZ: Final = 420.0
_VOICED: Final = 0.5
"""Autocorrelation (of 1) from which a frame has a pitch."""
_QUIET: Final = 0.02
"""Part of the loudest frame's amplitude below which a frame is silent."""
_RANGE_SEMITONES: Final = 10.0
_BLOCK: Final = 4_096
"""Frames that are worked on at a time."""


def pitch_semitones(pcm: NDArray[np.float32], sample_rate_hz: int, frames: int) -> NDArray[np.float32]:
    """How far the voice is above its own usual pitch.

    Args:
        pcm: float32[n], mono.
        frames: how many frames of 20 ms to answer for.
    Returns: float32[frames] in [-10, 10] semitones from the median; 0 where there is no voice at all, a straight line
        between neighbours where only this frame has none.
    Source: normalised autocorrelation after Boersma (1993), without his path search: a median of five frames instead.
    """
    hop = _RATE_HZ * PTIME_MS // 1000
    sound = np.zeros(frames * hop + _WINDOW, np.float32)
    low = np.asarray(soxr.resample(np.nan_to_num(pcm), sample_rate_hz, _RATE_HZ, quality="MQ"), np.float32)
    low = low[: frames * hop]
    lead = (_WINDOW - hop) // 2
    sound[lead : lead + len(low)] = low
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::hop][:frames]
    hertz = np.concatenate([_pitch_hz(windows[at : at + _BLOCK]) for at in range(0, frames, _BLOCK)] or [np.zeros(0)])
    strength = np.sqrt(np.mean(windows**2, axis=1)) if frames else np.zeros(0)
    voiced = (hertz > 0.0) & (strength > _QUIET * max(float(strength.max(initial=0.0)), 1e-6))
    if voiced.sum() < 5:
        return np.zeros(frames, np.float32)
    times = np.flatnonzero(voiced)
    octaves = np.log2(hertz[voiced])
    padded = np.pad(octaves, 2, mode="edge")
    steady = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    semitones = 12.0 * (steady - np.median(steady))
    line = np.interp(np.arange(frames), times, semitones)
    return np.asarray(np.clip(line, -_RANGE_SEMITONES, _RANGE_SEMITONES), np.float32)


def _pitch_hz(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64[n]: the pitch of each window, 0 where it has none."""
    taper = np.hanning(_WINDOW)
    size = 2 * _WINDOW
    shape = np.fft.irfft(np.abs(np.fft.rfft(taper, size)) ** 2, size)[:_WINDOW]
    alike = np.fft.irfft(np.abs(np.fft.rfft((windows - windows.mean(axis=1, keepdims=True)) * taper, size)) ** 2, size)
    alike = alike[:, :_WINDOW] / (np.maximum(alike[:, :1], 1e-9) * (shape / shape[0]))
    first, last = int(_RATE_HZ / _HIGHEST_HZ), int(_RATE_HZ / _LOWEST_HZ)
    # A shorter period is as good as twice of it, so that no octave is lost.
    seen = alike[:, first:last] - 0.02 * np.log2(np.arange(first, last) / first)
    best = seen.argmax(axis=1)
    lag = best + first
    strength = alike[np.arange(len(alike)), lag]
    return np.asarray(np.where(strength > _VOICED, _RATE_HZ / lag, 0.0))

"""WAV files as they come."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import (
    PTIME_MS,
    RECORDING_AUDIBLE_PART_MIN,
    RECORDING_CLIPPED_PART_MAX,
    RECORDING_OFFSET_MAX,
    RECORDING_RATE_HZ_MIN,
    RECORDING_S_MAX,
)

__all__ = ["check_recording", "read_wav"]

_FULL_SCALE: Final = 0.999
_AUDIBLE: Final = 0.003
"""Amplitude (-50 dB) from which 20 ms of sound count as audible."""


def read_wav(path: Path) -> tuple[NDArray[np.float32], int]:
    """A PCM WAV of 8, 16, 24 or 32 bits: float32[n] in [-1, 1), the mean of its channels, and its sample rate.

    Raises: ConfigError: missing, damaged, empty, too long, or not PCM.
    """
    try:
        with path.open("rb") as source, wave.open(source, "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            if file.getnframes() > RECORDING_S_MAX * rate:
                raise ConfigError(f"{path} is longer than {RECORDING_S_MAX:.0f} s; cut it")
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise ConfigError(f"{path} is no PCM WAV file: {error}") from None
    data = data[: len(data) // (width * channels) * width * channels]
    if not data or rate < 4_000:
        raise ConfigError(f"{path} holds no sound")
    if width == 1:
        samples = np.frombuffer(data, np.uint8).astype(np.float32) / 128.0 - 1.0
    else:
        widened = np.zeros((len(data) // width, 4), np.uint8)
        widened[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
        samples = widened.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    return np.asarray(samples.reshape(-1, channels).mean(axis=1), np.float32), rate


def check_recording(path: Path, pcm: NDArray[np.float32], sample_rate_hz: int) -> None:
    """Refuse sound that nothing can be learnt from or measured by.

    Args:
        path: for the text of the error.
        pcm: float32[n] in [-1, 1).
    Raises: ConfigError: sampled below RECORDING_RATE_HZ_MIN, silent, clipped, or with a constant offset.
    """
    if sample_rate_hz < RECORDING_RATE_HZ_MIN:
        raise ConfigError(f"{path} has {sample_rate_hz} Hz; {RECORDING_RATE_HZ_MIN} Hz or more are needed")
    offset = float(pcm.mean())
    if abs(offset) > RECORDING_OFFSET_MAX:
        raise ConfigError(f"{path} has a constant offset of {offset:+.0%} of full scale; record or filter it anew")
    hop = sample_rate_hz * PTIME_MS // 1000
    ticks = pcm[: len(pcm) // hop * hop].reshape(-1, hop)
    audible = float((ticks.std(axis=1) > _AUDIBLE).mean()) if len(ticks) else 0.0
    if audible < RECORDING_AUDIBLE_PART_MIN:
        raise ConfigError(f"{path} is silent: {audible:.0%} of it can be heard")
    clipped = float((np.abs(pcm) >= _FULL_SCALE).mean())
    if clipped > RECORDING_CLIPPED_PART_MAX:
        raise ConfigError(f"{path} is clipped: {clipped:.1%} of its samples are at full scale; record it more quietly")

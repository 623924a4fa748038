"""Log-mel frames: 40 bands of a 25 ms window every 20 ms, one byte per band.

The byte is `round(255 · (L - FLOOR_DB) / (CEILING_DB - FLOOR_DB))`, L the band's energy in dB where a full-scale sine
in one band is about 0 dB. Bands are triangles on the HTK mel scale from 60 Hz to 7,800 Hz, the same for every sample
rate. The window of frame k starts with access unit k and ends 5 ms after it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import LocalProtocolError
from core.limits import LOG_MEL_BANDS

__all__ = [
    "CEILING_DB", "FLOOR_DB", "HOP_S", "WINDOW_S", "LogMelStream", "log_mel", "log_mel_decibels", "log_mel_frames",
    "window_samples",
]  # fmt: skip

HOP_S: Final = 0.020
WINDOW_S: Final = 0.025
FLOOR_DB: Final = -100.0
CEILING_DB: Final = 0.0
_LOW_HZ: Final = 60.0
_HIGH_HZ: Final = 7_800.0
_POWER_MIN: Final = np.float32(1e-12)
_BYTES_PER_NEPER: Final = np.float32(10.0 / np.log(10.0) * 255.0 / (CEILING_DB - FLOOR_DB))
"""Of power: bytes that a factor of e is worth."""
_BYTE_AT_0_DB: Final = np.float32(-FLOOR_DB * 255.0 / (CEILING_DB - FLOOR_DB))
_ROWS_AT_ONCE: Final = 12
"""Larger products make OpenBLAS wake its threads, which costs a process whose other cores are busy far more than they
save (its limit is 2^18 multiplications; 12 · 514 · 40 at 16 kHz stay below it)."""
_SAMPLE_RATES: Final = (16_000, 22_050, 24_000, 44_100, 48_000)
"""What TTS engines produce."""


@lru_cache(maxsize=len(_SAMPLE_RATES))
def _bank(sample_rate: int) -> tuple[int, int, int, NDArray[np.float32], NDArray[np.float32]]:
    """(hop, window, FFT size, window function float32[window], filters float32[2 · (FFT/2 + 1), 40])."""
    if sample_rate not in _SAMPLE_RATES:
        raise LocalProtocolError(f"log-mel wants one of {_SAMPLE_RATES} Hz, not {sample_rate}")
    hop, window = round(HOP_S * sample_rate), round(WINDOW_S * sample_rate)
    size = 1 << (window - 1).bit_length()
    taper = np.hanning(window + 1)[:window]
    edges_mel = np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), LOG_MEL_BANDS + 2)
    edges = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins = np.arange(size // 2 + 1) * (sample_rate / size)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    # A band narrower than a bin would be empty: it takes the bin nearest to its centre.
    for band in np.flatnonzero(filters.sum(axis=0) == 0.0):
        filters[np.abs(bins - edges[band + 1]).argmin(), band] = 1.0
    filters *= (2.0 / taper.sum()) ** 2
    # One row for a bin's real and one for its imaginary part: a product with their squares is the power's.
    return hop, window, size, taper.astype(np.float32), filters.repeat(2, axis=0).astype(np.float32)


def _mel(frequency_hz: float) -> float:
    return float(2595.0 * np.log10(1.0 + frequency_hz / 700.0))


def _quantise(windows: NDArray[np.float32], size: int, filters: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Tapered windows into bytes."""
    parts: NDArray[np.float32] = np.fft.rfft(windows, n=size, axis=-1).astype(np.complex64, copy=False).view(np.float32)
    np.square(parts, out=parts)
    bands = np.empty((len(parts), LOG_MEL_BANDS), dtype=np.float32)
    for start in range(0, len(parts), _ROWS_AT_ONCE):
        np.matmul(parts[start : start + _ROWS_AT_ONCE], filters, out=bands[start : start + _ROWS_AT_ONCE])
    np.maximum(bands, _POWER_MIN, out=bands)
    np.log(bands, out=bands)
    bands *= _BYTES_PER_NEPER
    bands += _BYTE_AT_0_DB
    np.minimum(np.maximum(bands, 0.0, out=bands), 255.0, out=bands)
    quantised: NDArray[np.uint8] = np.rint(bands, out=bands).astype(np.uint8)
    return quantised


def window_samples(sample_rate: int) -> tuple[int, int]:
    """Samples from one frame to the next, and in a frame's window. Raises: LocalProtocolError: see `log_mel_frames`."""
    hop, window, *_ = _bank(sample_rate)
    return hop, window


def log_mel(windows: NDArray[np.float32], sample_rate: int) -> NDArray[np.uint8]:
    """One frame of many sounds at once; each row is what `log_mel_frames` gives for it.

    Args:
        windows: float32[n, window_samples(sample_rate)[1]] in [-1, 1]; bad samples as in `log_mel_frames`.
        sample_rate: as in `log_mel_frames`.
    Returns: uint8[n, 40].
    Raises: LocalProtocolError: another sample rate or shape.
    """
    _, window, size, taper, filters = _bank(sample_rate)
    if windows.ndim != 2 or windows.shape[1] != window:
        raise LocalProtocolError(f"log-mel at {sample_rate} Hz wants windows [n, {window}], not shape {windows.shape}")
    return _quantise(_clean(windows) * taper, size, filters)


def log_mel_decibels(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bytes back into decibels, any shape."""
    return (frames.astype(np.float32) * ((CEILING_DB - FLOOR_DB) / 255.0) + FLOOR_DB).astype(np.float32)


def _checked(pcm: ArrayLike) -> NDArray[np.float32]:
    samples = np.asarray(pcm, dtype=np.float32)
    if samples.ndim != 1:
        raise LocalProtocolError(f"log-mel wants mono samples float32[n], not shape {samples.shape}")
    return _clean(samples)


def _clean(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    # One bad sample must not blacken a whole window, nor cost all others the search for it.
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(samples, axis=None)
    if not np.isfinite(total):
        samples = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    cleaned: NDArray[np.float32] = np.minimum(np.maximum(samples, np.float32(-4.0)), np.float32(4.0))
    return cleaned


def log_mel_frames(pcm: ArrayLike, sample_rate: int) -> NDArray[np.uint8]:
    """All frames of a whole sound.

    Args:
        pcm: float32[n], mono, in [-1, 1]; non-finite samples count as silence or full scale.
        sample_rate: 16,000, 22,050, 24,000, 44,100 or 48,000 Hz.
    Returns: uint8[ceil(n / hop), 40]; the last hop is filled up with silence.
    Raises: LocalProtocolError: another sample rate or shape.
    """
    stream = LogMelStream(sample_rate)
    head = stream.push(pcm)
    return np.concatenate([head, stream.finish()])


class LogMelStream:
    """The same frames, sample block by sample block: block sizes never change the result."""

    def __init__(self, sample_rate: int) -> None:
        """Raises: LocalProtocolError: a sample rate that is not listed in `log_mel_frames`."""
        self._hop, self._window, self._size, self._taper, self._filters = _bank(sample_rate)
        self._lead = self._window - self._hop
        self._pending = np.zeros(0, dtype=np.float32)

    def push(self, pcm: ArrayLike) -> NDArray[np.uint8]:
        """Take samples (float32[n], mono) and return the frames they complete, uint8[m, 40]."""
        self._pending = np.concatenate([self._pending, _checked(pcm)])
        count = max(0, (len(self._pending) - self._lead) // self._hop)
        return self._take(count)

    def finish(self) -> NDArray[np.uint8]:
        """The frames of the rest, filled up with silence; afterwards the stream is as new."""
        count = -(-len(self._pending) // self._hop)
        missing = count * self._hop + self._lead - len(self._pending)
        self._pending = np.concatenate([self._pending, np.zeros(missing, dtype=np.float32)])
        frames = self._take(count)
        self._pending = np.zeros(0, dtype=np.float32)
        return frames

    def _take(self, count: int) -> NDArray[np.uint8]:
        if count == 0:
            return np.zeros((0, LOG_MEL_BANDS), dtype=np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(self._pending, self._window)[:: self._hop][:count]
        frames = _quantise(windows * self._taper, self._size, self._filters)
        self._pending = self._pending[count * self._hop :]
        return frames

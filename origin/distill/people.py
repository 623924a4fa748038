"""What synthetic voices lack: the spectra of real people, out of the recogniser's acoustic model.

The model that comes with PocketSphinx was trained on many hours of many speakers; for each of its sounds it keeps 128
Gaussians over cepstra. `Crowd.speak` moves every frame of a synthetic utterance towards those spectra of the same sound
that are most like it, chosen from a few drawn anew per utterance, which is what another speaker amounts to. Times stay,
so the phonemes stay exact.

Source of the file format and of the cepstra (25 mel filters from 130 to 6,800 Hz, orthonormal DCT, lifter 22, cepstral
mean removed): the model's `feat.params` and the sources of CMU Sphinx.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import LOG_MEL_BANDS, MEDIA_CLOCK_HZ, TICK_SAMPLES
from core.speech.features import CEILING_DB, FLOOR_DB
from core.speech.messages import PhonemeSpan
from core.speech.phonemes import split_symbol
from origin.distill.alignment import arpabet_of

__all__ = ["Crowd"]

_FILTERS: Final = 25
_CEPSTRA: Final = 13
_LIFTER: Final = 22
_BYTES_PER_LOG: Final = 10.0 / np.log(10.0) * 255.0 / (CEILING_DB - FLOOR_DB)
"""Log-mel bytes per unit of natural log power."""
_AUDIBLE: Final = 0.25
_EARLY_S: Final = 0.036
"""Voiceless stops begin with their closure in the acoustic model, with their burst in espeak-ng."""


def _mel(frequency_hz: float) -> float:
    return float(2595.0 * np.log10(1.0 + frequency_hz / 700.0))


def _centres(low_hz: float, high_hz: float, count: int) -> NDArray[np.float64]:
    return np.linspace(_mel(low_hz), _mel(high_hz), count + 2)[1:-1]


def _dct() -> NDArray[np.float64]:
    """Orthonormal DCT-II with the lifter: float64[13, 25]."""
    order, filters = np.arange(_CEPSTRA)[:, None], np.arange(_FILTERS)[None, :]
    matrix = np.cos(np.pi * order * (filters + 0.5) / _FILTERS) * np.sqrt(2.0 / _FILTERS)
    matrix[0] /= np.sqrt(2.0)
    return np.asarray(matrix * (1.0 + _LIFTER / 2.0 * np.sin(order * np.pi / _LIFTER)))


def _gaussians(path: Path) -> NDArray[np.float32]:
    """A parameter file of Sphinx 3: the first stream, float32[sounds, densities, 13]."""
    data = path.read_bytes()
    begin = data.index(b"endhdr\n") + 7
    magic, sounds, streams, densities = struct.unpack_from("<4i", data, begin)
    lengths = struct.unpack_from(f"<{streams}i", data, begin + 16)
    if magic != 0x11223344 or lengths[0] != _CEPSTRA:
        raise ConfigError(f"{path} is no parameter file of the acoustic model that is known here")
    values = np.frombuffer(data, "<f4", offset=begin + 20 + 4 * streams, count=sounds * densities * sum(lengths))
    size = densities * lengths[0]
    return values.reshape(sounds, -1)[:, :size].reshape(sounds, densities, lengths[0])


class Crowd:
    """All speakers of the acoustic model.

    Raises: ConfigError: the model is missing or another one.
    """

    def __init__(self) -> None:
        from pocketsphinx import get_model_path

        folder = Path(get_model_path()) / "en-us" / "en-us"
        try:
            self._means = _gaussians(folder / "means").astype(np.float64)
            variances = _gaussians(folder / "variances").astype(np.float64)
            definition = (folder / "mdef").read_bytes()
        except (OSError, ValueError, struct.error) as error:
            raise ConfigError(f"the acoustic model in {folder} cannot be read: {error}") from None
        self._spread = np.sqrt(np.maximum(variances, 1e-4))
        start = definition.index(b"+NSN+\0")
        names = definition[start : start + 400].split(b"\0")[: len(self._means)]
        self._sounds = {name.decode("ascii", "replace"): index for index, name in enumerate(names)}
        if "AA" not in self._sounds or "SIL" not in self._sounds:
            raise ConfigError(f"the acoustic model in {folder} names other sounds")
        ours, theirs = _centres(60.0, 7_800.0, LOG_MEL_BANDS), _centres(130.0, 6_800.0, _FILTERS)
        dct = _dct()
        to_filters = np.array([np.interp(theirs, ours, row) for row in np.eye(LOG_MEL_BANDS)])
        self._to_cepstra = to_filters @ dct.T / _BYTES_PER_LOG
        to_bands = np.array([np.interp(ours, theirs, row) for row in np.eye(_FILTERS)])
        self._to_bands = np.linalg.pinv(dct).T @ to_bands * _BYTES_PER_LOG

    def speak(
        self, mel: NDArray[np.uint8], spans: Sequence[PhonemeSpan], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """The same utterance as somebody else says it.

        Args:
            mel: uint8[frames, 40], clean.
            spans: its phonemes, from the first frame on.
        Returns: uint8[frames, 40].
        """
        values = mel.astype(np.float64)
        audible = values.mean(axis=1) > _AUDIBLE * 255.0
        if audible.sum() < 5:
            return mel
        usual = values[audible].mean(axis=0)
        cepstra = (values - usual) @ self._to_cepstra
        sounds = self._labels(spans, len(mel))
        wanted = np.zeros_like(cepstra)
        kept = int(rng.integers(10, 48))
        warmth = float(rng.uniform(0.1, 0.8))
        for sound in np.unique(sounds).tolist():
            rows = np.flatnonzero(sounds == sound)
            some = rng.choice(self._means.shape[1], kept, replace=False)
            means, spread = self._means[sound, some], self._spread[sound, some]
            apart = (((cepstra[rows, None] - means) / spread) ** 2).sum(axis=2) / (2.0 * _CEPSTRA * warmth)
            apart += 0.3 * rng.standard_normal(kept)  # this speaker's habits
            weights = np.exp(apart.min(axis=1, keepdims=True) - apart)
            wanted[rows] = (weights / weights.sum(axis=1, keepdims=True)) @ means
        padded = np.pad(wanted, ((1, 1), (0, 0)), mode="edge")
        wanted = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
        quiet = sounds == self._sounds["SIL"]
        strength = np.where(quiet | ~audible, 0.0, rng.uniform(0.4, 1.0))[:, None]
        moved = values + strength * ((wanted - cepstra) @ self._to_bands)
        return np.asarray(np.clip(np.rint(moved), 0, 255), np.uint8)

    def _labels(self, spans: Sequence[PhonemeSpan], frames: int) -> NDArray[np.intp]:
        """The acoustic model's sound of every frame, by the middle of its window."""
        labels = np.full(frames, self._sounds["SIL"], dtype=np.intp)
        middles = np.arange(frames) * TICK_SAMPLES + 600
        for span in spans:
            begin = float(span.start)
            segments, _, _ = split_symbol(span.symbol)
            for segment in segments:
                end = begin + segment.share * (span.end - span.start)
                name = arpabet_of(segment.sound)
                early = _EARLY_S * MEDIA_CLOCK_HZ if name in ("P", "T", "K") else 0.0
                labels[(middles >= begin - early) & (middles < end)] = self._sounds.get(name, self._sounds["AH"])
                begin = end
        return labels

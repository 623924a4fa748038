from __future__ import annotations

import numpy as np
import pytest

from origin.distill.prosody import pitch_semitones


def sing(hertz: np.ndarray, rate: int = 48_000) -> np.ndarray:
    """A buzz of a given pitch per sample."""
    phase = 2 * np.pi * np.cumsum(hertz) / rate
    return np.asarray(0.1 * sum(np.sin(k * phase) / k for k in range(1, 12)), np.float32)


@pytest.mark.parametrize("middle_hz", [95.0, 150.0, 230.0])
def test_a_melody_is_followed_in_semitones(middle_hz: float) -> None:
    times = np.arange(96_000) / 48_000
    hertz = middle_hz * 2.0 ** (4.0 * np.sin(2 * np.pi * 0.7 * times) / 12.0)
    found = pitch_semitones(sing(hertz), 48_000, 100)
    wanted = 12.0 * np.log2(hertz[480::960] / np.median(hertz))
    assert found.shape == (100,) and found.dtype == np.float32
    assert np.abs(found - wanted)[3:-3].max() < 0.6


def test_silence_and_noise_have_no_melody() -> None:
    assert not pitch_semitones(np.zeros(48_000, np.float32), 48_000, 50).any()
    hiss = np.random.default_rng(0).normal(0.0, 0.1, 48_000).astype(np.float32)
    assert not pitch_semitones(hiss, 48_000, 50).any()
    assert pitch_semitones(np.zeros(0, np.float32), 48_000, 0).shape == (0,)


def test_a_breath_between_two_notes_is_bridged() -> None:
    tone = sing(np.full(48_000, 140.0))
    tone[20_000:24_000] = 0.0
    tone[24_000:] = sing(np.full(24_000, 140.0 * 2 ** (3 / 12)))
    found = pitch_semitones(np.append(tone, np.float32(np.nan)), 48_000, 50)
    assert np.isfinite(found).all() and np.abs(found).max() <= 10.0
    assert found[40] - found[5] == pytest.approx(3.0, abs=0.5)

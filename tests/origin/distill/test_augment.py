from __future__ import annotations

import numpy as np
import pytest

from core.speech.features import log_mel_frames
from origin.distill.augment import change_speed, in_a_room, record, through_opus, vary_log_mel, with_noise, with_tone


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """A second of something like speech: a buzz whose loudness comes and goes."""
    times = np.arange(48_000) / 48_000
    buzz = sum(np.sin(2 * np.pi * 120 * k * times) / k for k in range(1, 40))
    return np.asarray(0.1 * buzz * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * times)), np.float32)


@pytest.mark.parametrize("step", [in_a_room, with_noise, with_tone, record])
def test_times_and_lengths_stay(step: object, voice: np.ndarray) -> None:
    for seed in range(4):
        heard = step(voice, np.random.default_rng(seed))  # type: ignore[operator]
        assert heard.shape == voice.shape and heard.dtype == np.float32
        assert np.isfinite(heard).all()
        before, after = (log_mel_frames(sound, 48_000).mean(axis=1) for sound in (voice, heard))
        assert np.corrcoef(before, after)[0, 1] > 0.5


def test_opus_comes_back_in_time(voice: np.ndarray) -> None:
    heard = through_opus(voice, 24_000)
    assert heard.shape == voice.shape
    lags = range(-192, 193, 24)  # less than a period of the buzz
    best = max(lags, key=lambda lag: float(np.dot(voice[1_000:-1_000], heard[1_000 + lag : len(heard) - 1_000 + lag])))
    assert abs(best) <= 48


def test_speed_changes_length(voice: np.ndarray) -> None:
    assert len(change_speed(voice, 1.25)) == pytest.approx(len(voice) / 1.25, abs=2)


def test_log_mel_varies_within_its_range(voice: np.ndarray) -> None:
    frames = np.stack([log_mel_frames(voice, 48_000)] * 6)
    varied = vary_log_mel(frames, np.random.default_rng(1))
    assert varied.shape == frames.shape
    assert varied.min() >= 0.0 and varied.max() <= 255.0
    assert np.abs(varied[0] - varied[1]).mean() > 1.0
    again = vary_log_mel(frames, np.random.default_rng(1))
    assert np.array_equal(varied, again)


def test_a_wall_repeats_what_was_loud() -> None:
    frames = np.zeros((60, 40, 40), np.uint8)
    frames[:, 5] = 200
    varied = vary_log_mel(frames, np.random.default_rng(3)).mean(axis=2)
    later = varied[:, 6:13].max(axis=1) - varied[:, 14:].mean(axis=1)
    assert 5 < (later > 60).sum() < 40, "about a third of the sequences"


def test_silence_stays_finite() -> None:
    silence = np.zeros(9_600, np.float32)
    for seed in range(6):
        assert np.isfinite(record(silence, np.random.default_rng(seed))).all()

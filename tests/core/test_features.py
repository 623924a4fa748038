from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import LocalProtocolError
from core.limits import LOG_MEL_BANDS
from core.speech.features import CEILING_DB, FLOOR_DB, LogMelStream, log_mel_decibels, log_mel_frames

RATES = (16_000, 22_050, 24_000, 44_100, 48_000)


def tone(frequency_hz: float, rate: int, amplitude: float = 1.0, seconds: float = 0.2) -> NDArray[np.float32]:
    return (amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("frequency_hz", [250.0, 1000.0, 4000.0])
def test_a_tone_stands_in_its_band_whatever_the_rate(rate: int, frequency_hz: float) -> None:
    frames = log_mel_frames(tone(frequency_hz, rate), rate)
    assert frames.shape == (10, LOG_MEL_BANDS)
    reference = log_mel_frames(tone(frequency_hz, 48_000), 48_000)
    assert abs(int(frames[4].argmax()) - int(reference[4].argmax())) <= 1
    assert log_mel_decibels(frames[4]).max() == pytest.approx(0.0, abs=5.0)


def test_ten_decibels_are_ten_decibels() -> None:
    loud, soft = (log_mel_decibels(log_mel_frames(tone(700.0, 16_000, a), 16_000))[3].max() for a in (0.5, 0.05))
    assert loud - soft == pytest.approx(20.0, abs=0.8)


def test_silence_is_the_floor_and_bytes_span_the_range() -> None:
    assert log_mel_frames(np.zeros(1000), 16_000).max() == 0
    assert log_mel_decibels(np.array([0, 255], dtype=np.uint8)).tolist() == [FLOOR_DB, CEILING_DB]


def test_bad_samples_do_not_spread() -> None:
    sound = tone(500.0, 16_000)
    sound[7] = np.nan
    sound[9] = np.inf
    frames = log_mel_frames(sound, 16_000)
    np.testing.assert_array_equal(frames[2:], log_mel_frames(tone(500.0, 16_000), 16_000)[2:])


@pytest.mark.parametrize("rate", [8_000, 0, -1, 96_000])
def test_an_unknown_rate_is_refused(rate: int) -> None:
    with pytest.raises(LocalProtocolError):
        log_mel_frames(np.zeros(10), rate)


def test_stereo_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        log_mel_frames(np.zeros((2, 100)), 16_000)


@given(st.lists(st.integers(0, 1500), max_size=12), st.sampled_from(RATES), st.integers(0, 2**32 - 1))
def test_block_sizes_do_not_matter(sizes: list[int], rate: int, seed: int) -> None:
    sound = np.random.default_rng(seed).uniform(-0.5, 0.5, sum(sizes)).astype(np.float32)
    stream = LogMelStream(rate)
    pieces = [stream.push(part) for part in np.split(sound, np.cumsum(sizes)[:-1])] if sizes else []
    streamed = np.concatenate([*pieces, stream.finish()])
    whole = log_mel_frames(sound, rate)
    assert len(whole) == -(-len(sound) // round(0.02 * rate))
    np.testing.assert_array_equal(streamed, whole)

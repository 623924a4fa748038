from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import LocalProtocolError
from core.limits import LOG_MEL_BANDS
from core.speech.features import (
    CEILING_DB,
    FLOOR_DB,
    LogMelStream,
    log_mel,
    log_mel_decibels,
    log_mel_frames,
    window_samples,
)

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


def windows_of(sound: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    hop, window = window_samples(rate)
    starts = range(0, len(sound) - window + 1, hop)
    return np.stack([sound[start : start + window] for start in starts])


@pytest.mark.parametrize("rate", RATES)
def test_many_sounds_at_once_are_each_what_they_are_alone(rate: int) -> None:
    sound = tone(440.0, rate, 0.3) + 0.01 * np.random.default_rng(1).standard_normal(round(0.2 * rate))
    windows = windows_of(sound.astype(np.float32), rate)
    together = log_mel(windows, rate)
    np.testing.assert_array_equal(together, log_mel_frames(sound, rate)[: len(windows)])


def test_a_bad_neighbour_changes_nobody_else() -> None:
    windows = windows_of(tone(700.0, 16_000), 16_000)
    good = log_mel(windows, 16_000)
    spoilt = windows.copy()
    spoilt[3, ::7] = np.nan
    spoilt[4] = np.finfo(np.float32).max
    others = [row for row in range(len(windows)) if row not in (3, 4)]
    np.testing.assert_array_equal(log_mel(spoilt, 16_000)[others], good[others])


def test_a_direct_current_stays_below_the_voice() -> None:
    voice = tone(900.0, 16_000, 0.2)
    plain, lifted = (log_mel_frames(sound, 16_000)[2:8].astype(int) for sound in (voice, voice + np.float32(0.4)))
    assert np.abs(plain - lifted)[:, 8:].max() <= 3


def test_a_clipped_voice_keeps_its_bands() -> None:
    voice = tone(300.0, 16_000, 1.0)
    clipped = np.clip(3.0 * voice, -1.0, 1.0)
    plain, square = (log_mel_decibels(log_mel_frames(sound, 16_000))[4] for sound in (voice, clipped))
    assert abs(int(plain.argmax()) - int(square.argmax())) <= 1
    assert square.max() <= plain.max() + 4.0


def test_sound_of_a_telephone_has_nothing_above_its_band() -> None:
    rng = np.random.default_rng(3)
    spectrum = np.fft.rfft(rng.standard_normal(16_000))
    spectrum[4_000:] = 0.0
    narrow = np.fft.irfft(spectrum).astype(np.float32) * np.float32(0.1)
    frames = log_mel_decibels(log_mel_frames(narrow, 16_000))[4:40]
    assert frames[:, 34:].max() < -60.0
    assert frames[:, :28].min() > -60.0


@pytest.mark.parametrize("shape", [(400,), (3, 399), (2, 2, 400)])
def test_windows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LocalProtocolError):
        log_mel(np.zeros(shape, np.float32), 16_000)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loadtests.signals import (
    dbfs,
    end_of_speech,
    envelope,
    lag,
    level_dbov,
    loud_from,
    resample_at,
    start_of_speech,
    word_errors,
)

RATE = 16_000


def speech(lead_s: float, length_s: float, tail_s: float, noise_dbfs: float = -80.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(3)
    sound = np.zeros(round((lead_s + length_s + tail_s) * RATE))
    start, size = round(lead_s * RATE), round(length_s * RATE)
    sound[start : start + size] = 0.3 * np.sin(2 * np.pi * 220 * np.arange(size) / RATE)
    sound += rng.normal(scale=10 ** (noise_dbfs / 20), size=sound.size)
    return sound.astype(np.float32)


@pytest.mark.parametrize("noise_dbfs", [-120.0, -80.0, -60.0])
def test_speech_begins_and_ends_where_it_does_whatever_the_room_says(noise_dbfs: float) -> None:
    sound = speech(0.5, 1.0, 0.7, noise_dbfs)
    assert start_of_speech(sound, RATE) == pytest.approx(0.5, abs=0.011)
    assert end_of_speech(sound, RATE) == pytest.approx(1.5, abs=0.011)


def test_quiet_tail_within_35_db_belongs_to_the_utterance_and_a_quieter_one_does_not() -> None:
    sound = speech(0.1, 1.0, 1.0, -120.0)
    tail = slice(round(1.1 * RATE), round(1.3 * RATE))
    sound[tail] = 0.3 * 10 ** (-33 / 20) * np.sin(2 * np.pi * 220 * np.arange(round(0.2 * RATE)) / RATE)
    assert end_of_speech(sound, RATE) == pytest.approx(1.3, abs=0.011)
    sound[tail] *= 10 ** (-4 / 20)
    assert end_of_speech(sound, RATE) == pytest.approx(1.1, abs=0.011)


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(RATE), np.full(RATE, 1e-4)])
def test_silence_holds_no_speech(sound: NDArray[np.float64]) -> None:
    assert end_of_speech(sound.astype(np.float32), RATE) is None
    assert start_of_speech(sound.astype(np.float32), RATE) is None


def test_speech_to_the_last_sample_ends_with_the_recording() -> None:
    sound = speech(0.0, 0.333, 0.0)
    assert end_of_speech(sound, RATE) == pytest.approx(sound.size / RATE, abs=1e-6)


def test_levels() -> None:
    assert dbfs(1.0) == 0.0
    assert dbfs(0.1) == pytest.approx(-20.0)
    assert dbfs(0.0) == -127.0
    assert level_dbov(np.zeros(960, dtype=np.float32)) == 127
    assert level_dbov(np.ones(960, dtype=np.float32)) == 0
    assert level_dbov(np.full(960, 0.01, dtype=np.float32)) == 40
    assert level_dbov(np.empty(0, dtype=np.float32)) == 127


def test_first_loud_window() -> None:
    sound = speech(0.5, 0.5, 0.0)
    assert loud_from(sound, RATE, -45.0) == pytest.approx(0.5, abs=0.006)
    assert loud_from(np.zeros(RATE, dtype=np.float32), RATE, -45.0) is None


def test_envelope_peaks_where_the_sound_does() -> None:
    sound = np.zeros(RATE, dtype=np.float32)
    sound[RATE // 2] = 1.0
    assert int(np.argmax(envelope(sound, RATE))) * 0.005 == pytest.approx(0.5, abs=0.003)


def test_reading_a_curve_between_its_points_or_holding_them() -> None:
    times, values = np.array([0.0, 1.0, 2.0]), np.array([0.0, 10.0, 0.0])
    at = np.array([-1.0, 0.5, 1.0, 1.5, 9.0])
    assert resample_at(times, values, at).tolist() == [0.0, 5.0, 10.0, 5.0, 0.0]
    assert resample_at(times, values, at, hold=True).tolist() == [0.0, 0.0, 10.0, 10.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(shift_s=st.floats(-0.25, 0.25), seed=st.integers(0, 1000))
def test_lag_is_found_to_a_fraction_of_a_step(shift_s: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frequencies, phases = rng.uniform(0.5, 6.0, 12), rng.uniform(0, 6.28, 12)
    times = np.arange(0.0, 4.0, 0.005)

    def curve(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sin(2 * np.pi * np.outer(at, frequencies) + phases).sum(axis=1), dtype=np.float64)

    found = lag(curve(times), 3.0 * curve(times - shift_s) + 7.0, step_s=0.005)
    assert found is not None
    assert found.seconds == pytest.approx(shift_s, abs=0.002)
    assert found.correlation > 0.98


def test_lag_of_curves_that_say_nothing() -> None:
    assert lag(np.zeros(1000), np.zeros(1000), step_s=0.005) is None
    assert lag(np.arange(20.0), np.arange(20.0), step_s=0.005) is None


@pytest.mark.parametrize(
    ("said", "heard", "errors", "words"),
    [
        ("What is your name?", "what is your name", 0, 4),
        ("What's Zoë's name?", "what’s zoe's name", 0, 3),
        ("tell me about mars", "tell me mars", 1, 4),
        ("tell me about mars", "tell me all about venus", 2, 4),
        ("", "", 0, 0),
        ("hello", "", 1, 1),
        ("", "hello", 1, 0),
    ],
)
def test_word_errors(said: str, heard: str, errors: int, words: int) -> None:
    found = word_errors(said, heard)
    assert (found.errors, found.words) == (errors, words)


def test_word_error_rate() -> None:
    assert word_errors("a b c d", "a b").rate == 0.5
    assert word_errors("", "").rate == 0.0
    assert word_errors("", "noise").rate == 1.0


@given(left=st.text("abc ", max_size=20), right=st.text("abc ", max_size=20))
def test_word_errors_are_a_distance(left: str, right: str) -> None:
    assert word_errors(left, right).errors == word_errors(right, left).errors
    assert word_errors(left, left).errors == 0
    assert word_errors(left, right).errors <= max(len(left.split()), len(right.split()))

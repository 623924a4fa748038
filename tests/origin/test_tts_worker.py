from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.dialogue.espeak import Spoken
from origin.dialogue.tts_worker import shape_loudness, words_of


def spoken(*words: tuple[int, int, int, int]) -> Spoken:
    return Spoken(np.zeros(0, np.float32), [], list(words))


def test_each_report_belongs_to_the_word_it_lies_in() -> None:
    text = "Look: 384,000 stars!"
    found = words_of(text, spoken((0, 4, 0, 100), (6, 3, 100, 200), (6, 3, 200, 340), (14, 5, 340, 500)))
    assert found == [("Look:", 0, 100), ("384,000", 100, 340), ("stars!", 340, 500)]


def test_a_word_that_is_not_reported_takes_no_time() -> None:
    found = words_of("one - two", spoken((0, 3, 0, 100), (6, 3, 150, 250)))
    assert found == [("one", 0, 100), ("-", 100, 100), ("two", 150, 250)]
    assert words_of("… hm", spoken()) == [("…", 0, 0), ("hm", 0, 0)]
    assert words_of("", spoken()) == []


@given(st.floats(0.03, 1.0), st.one_of(st.none(), st.floats(0.2, 3.0)))
def test_loudness_is_bounded_and_keeps_its_signs(peak: float, gain: float | None) -> None:
    pcm = (peak * np.sin(np.arange(2_000) / 9)).astype(np.float32)
    loud, used = shape_loudness(pcm, gain)
    assert np.abs(loud).max() <= 1.0
    assert 0.0 < used <= 3.0
    assert np.all(np.sign(loud) == np.sign(pcm))


def test_clauses_come_to_the_common_loudness_step_by_step() -> None:
    quiet = (0.05 * np.sin(np.arange(4_000) / 9)).astype(np.float32)
    first, gain = shape_loudness(quiet, 1.0)
    second, later = shape_loudness(quiet, gain)
    assert 1.0 < gain < later <= 3.0
    assert np.abs(quiet).max() < np.abs(first).max() < np.abs(second).max()


@pytest.mark.parametrize("gain", [None, 1.5])
def test_silence_stays_silence(gain: float | None) -> None:
    silent = np.zeros(100, np.float32)
    loud, used = shape_loudness(silent, gain)
    assert not loud.any() and used == (gain or 1.0)

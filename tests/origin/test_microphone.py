from __future__ import annotations

import numpy as np
import pytest

from origin.dialogue.microphone import Levels, MediaClock, RecentSound


def test_a_late_packet_does_not_move_the_clock() -> None:
    clock = MediaClock()
    assert clock.at(0.02, 100.02) == pytest.approx(100.02)
    assert clock.at(0.04, 100.30) == pytest.approx(100.04, abs=1e-3)  # stood still for 260 ms
    assert clock.at(0.06, 100.31) == pytest.approx(100.06, abs=1e-3)
    assert clock.at(0.08, 100.05) == pytest.approx(100.05)  # a faster way than any before
    for index in range(1, 3_000):
        arrival = 100.06 + 0.02 * index * 1.0005  # clocks that drift apart
        spoken_at = clock.at(0.08 + 0.02 * index, arrival)
        assert arrival - 0.02 < spoken_at <= arrival + 1e-9


def test_a_media_clock_that_stood_still_is_set_again() -> None:
    clock = MediaClock()
    clock.at(5.0, 100.0)
    assert clock.at(5.02, 130.0) == pytest.approx(130.0)


def test_the_end_of_speech_is_that_of_the_last_loud_window() -> None:
    levels = Levels()
    loud, quiet = (np.full(320, value, "<i2").tobytes() for value in (8_000, 20))
    for index in range(100):
        levels.push(loud if 20 <= index < 60 else quiet, 10.0 + 0.02 * (index + 1))
    assert levels.speech_end(10.0, 12.0) == pytest.approx(11.2)
    assert levels.speech_end(10.0, 11.0) == pytest.approx(11.0)  # what comes later is another sound
    assert levels.speech_end(11.3, 12.0) > 11.3  # of quiet sounds the loudest counts
    assert Levels().speech_end(0.0, 99.0) == 0.0
    silent = Levels()
    silent.push(bytes(640), 1.0)
    silent.push(b"\0\0", 1.0)
    assert silent.speech_end(0.0, 2.0) == 0.0


def test_recent_sound_is_bounded_and_the_newest() -> None:
    recent = RecentSound()
    for index in range(2_000):
        recent.push(np.full(320, index, "<i2").tobytes())
    newest = np.frombuffer(recent.last(1.0), "<i2")
    assert len(newest) == 16_000 and newest[-1] == 1_999 and newest[0] == 1_950
    assert len(recent.last(1e6)) == 8 * 32_000
    assert recent.last(0.0) == recent.last(-1.0) == b""

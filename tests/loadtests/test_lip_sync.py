from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from loadtests.lip_sync import Curve, assemble, lip_sync, loudness


def swell(times: NDArray[np.float64]) -> NDArray[np.float64]:
    rng = np.random.default_rng(2)
    curve = np.sin(2 * np.pi * np.outer(times, rng.uniform(0.5, 5.0, 9)) + rng.uniform(0, 6.28, 9)).sum(axis=1)
    return np.asarray(np.abs(curve) / 9, dtype=np.float64)


def jaw(late_s: float, *, rate_hz: float) -> Curve:
    times = np.arange(0.0, 5.0, 1 / rate_hz)
    return Curve(times, swell(times - late_s))


def voice(late_s: float) -> Curve:
    times = np.arange(0.0, 5.0, 1 / 48_000)
    return loudness(0.0, (swell(times - late_s) * np.sin(2 * np.pi * 200 * times)).astype(np.float32))


@pytest.mark.parametrize(("lips_s", "sound_s"), [(0.0, 0.0), (0.1, 0.1), (0.05, 0.1), (0.12, 0.04)])
def test_offset_is_the_difference_of_both_delays(lips_s: float, sound_s: float) -> None:
    found = lip_sync(
        sent_jaw=jaw(0.0, rate_hz=50),
        drawn_jaw=jaw(lips_s, rate_hz=500),
        sent_voice=voice(0.0),
        heard_voice=voice(sound_s),
    )
    assert found is not None
    assert found.offset_ms == pytest.approx((lips_s - sound_s) * 1e3, abs=4.0)
    assert found.motion.correlation > 0.95


def test_too_little_or_something_else_says_nothing() -> None:
    short = Curve(np.arange(5.0), np.arange(5.0))
    curves = {"sent_jaw": jaw(0, rate_hz=50), "drawn_jaw": jaw(0, rate_hz=60), "sent_voice": voice(0)}
    assert lip_sync(**curves, heard_voice=short) is None
    noise = np.random.default_rng(0).uniform(size=1_000)
    assert lip_sync(**curves, heard_voice=Curve(np.arange(1_000, dtype=np.float64) * 0.005, noise)) is None


def test_curve_shifts_in_time_only() -> None:
    curve = Curve(np.array([0.0, 1.0]), np.array([5.0, 6.0])).shifted(2.0)
    assert curve.times_s.tolist() == [2.0, 3.0]
    assert curve.values.tolist() == [5.0, 6.0]


def test_pieces_lie_where_they_sounded() -> None:
    one = np.ones(480, dtype=np.float32)
    start, sound = assemble([(10.0, one), (10.02, 2 * one), (10.025, 3 * one)])
    assert start == 10.0
    assert sound.size == 960 + 240 + 480
    assert sound[0] == 1.0
    assert sound[700] == 0.0
    assert sound[960] == 2.0
    assert sound[-1] == 3.0
    assert assemble([])[1].size == 0

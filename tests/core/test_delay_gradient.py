"""The slope is that of the delay, whatever clocks, order and nonsense come."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.limits import TICK_SAMPLES
from core.stream.delay_gradient import DelayGradient


def _after(count: int, arrival_s: Callable[[float], float]) -> DelayGradient:
    gradient = DelayGradient()
    for index in range(count):
        gradient.add(TICK_SAMPLES * index, arrival_s(0.02 * index))
    return gradient


@pytest.mark.parametrize("growth", [0.0, 0.02, -0.1, 0.3])
def test_the_slope_is_the_growth_of_the_delay_whatever_the_offset(growth: float) -> None:
    gradient = _after(100, lambda media_s: 5.0 + (1 + growth) * media_s)
    assert gradient.slope == pytest.approx(growth, abs=1e-9)
    assert gradient.wire == round(growth * 10_000)


@pytest.mark.parametrize("begin_s", [2.2 + 0.02 * step for step in range(40)])
def test_a_stall_is_no_queue(begin_s: float) -> None:
    """A machine or a radio that stands still for 80 ms hands over everything together afterwards."""
    gradient = _after(150, lambda media_s: max(media_s, begin_s + 0.08) if media_s > begin_s else media_s)
    assert abs(gradient.slope or 0.0) < 0.02


def test_a_queue_shows_through_jitter() -> None:
    gradient = _after(100, lambda media_s: 1.1 * media_s + 0.02 * ((media_s * 50 * 7) % 11) / 11)
    assert gradient.slope == pytest.approx(0.1, abs=0.02)


def test_what_is_older_than_a_second_is_forgotten() -> None:
    gradient = _after(200, lambda media_s: 1.1 * media_s if media_s < 2 else 0.2 + media_s)
    assert gradient.slope == pytest.approx(0, abs=1e-9)


def test_it_says_nothing_before_it_knows_enough() -> None:
    assert _after(5, lambda media_s: media_s).slope is None
    assert _after(20, lambda media_s: media_s).wire is None
    assert _after(22, lambda media_s: media_s).slope == pytest.approx(0, abs=1e-9)


def test_a_new_track_begins_anew() -> None:
    gradient = _after(60, lambda media_s: media_s)
    gradient.add(10**9, 1.3)
    assert gradient.slope is None
    gradient.add(10**9, -5.0)
    assert gradient.slope is None


def test_it_saturates() -> None:
    gradient = DelayGradient()
    for index in range(20):
        gradient.add(-4 * TICK_SAMPLES * index, 0.02 * index)
    assert gradient.wire == -12_500
    gradient = DelayGradient()
    for index, media in enumerate([0, 20_000, 1, 2, 3, 4, 5, 30_000]):
        gradient.add(media, 0.1 * index)
    assert gradient.wire is not None
    assert -32_768 <= gradient.wire <= 32_767


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.floats(-1e9, 1e9)), max_size=100))
def test_any_arrivals_are_survived(arrivals: list[tuple[int, float]]) -> None:
    gradient = DelayGradient()
    for media_ticks, arrival_s in arrivals:
        gradient.add(media_ticks, arrival_s)
        assert gradient.wire is None or -32_768 <= gradient.wire <= 32_767

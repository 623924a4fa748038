"""Feedback becomes loss, bursts and round-trip times; lost, repeated and invented feedback does no harm."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Dropped
from core.stream.reception import Reception, ReceptionMeter
from core.wire.feedback import Feedback


def _report(lost: set[int], newest: int) -> Feedback:
    """What a viewer says that received all but `lost`; the newest that it has must not be lost."""
    received = sum(1 << back for back in range(32) if newest - 1 - back >= 0 and newest - 1 - back not in lost)
    return Feedback(acknowledged=newest & 0xFFFF, received=received, owd_gradient=150)


def _run(lost: set[int], units: int, *, every: int = 5, skip: Collection[int] = ()) -> Reception:
    meter = ReceptionMeter()
    reception: Reception | Dropped = Dropped("none yet")
    for unit in range(units):
        meter.on_sent(0.02 * unit)
        if unit % every == every - 1 and unit not in skip:
            newest = max(each for each in range(unit + 1) if each not in lost)
            reception = meter.on_feedback(_report(lost, newest), 0.02 * unit + 0.05)
    assert isinstance(reception, Reception)
    return reception


def test_a_clean_link() -> None:
    reception = _run(set(), 200)
    assert reception == Reception(0.0, 1.0, 0.015, reception.rtt_s)
    assert reception.rtt_s == pytest.approx(0.05)


def test_loss_and_bursts() -> None:
    assert _run({unit for unit in range(400) if unit % 10 == 3}, 400).loss == pytest.approx(0.1, abs=0.01)
    bursts = _run({unit for unit in range(400) if unit % 20 in (3, 4)}, 400)
    assert bursts.loss == pytest.approx(0.1, abs=0.02)
    assert bursts.burst == pytest.approx(2, abs=0.15)


def test_lost_feedback_costs_nothing_while_the_next_one_covers_it() -> None:
    lost = {unit for unit in range(400) if unit % 10 == 3}
    assert _run(lost, 400, skip={unit for unit in range(400) if unit % 3}) == _run(lost, 400)


def test_reordered_units_are_not_lost() -> None:
    meter = ReceptionMeter()
    for unit in range(20):
        meter.on_sent(0.02 * unit)
    first = meter.on_feedback(_report({8, 9}, 10), 0.3)
    assert isinstance(first, Reception)
    assert first.loss == 0
    assert first.rtt_s == pytest.approx(0.1)
    second = meter.on_feedback(_report(set(), 19), 0.5)
    assert isinstance(second, Reception)
    assert second.loss == 0


def test_units_before_the_bitmap_are_unknown() -> None:
    meter = ReceptionMeter()
    for unit in range(300):
        meter.on_sent(0.02 * unit)
    reception = meter.on_feedback(_report(set(), 299), 6.0)
    assert isinstance(reception, Reception)
    assert reception.loss == 0


def test_feedback_without_news_is_dropped() -> None:
    meter = ReceptionMeter()
    assert meter.on_feedback(Feedback(acknowledged=0, received=0), 1.0) == Dropped("never-sent")
    meter.on_sent(0.0)
    meter.on_sent(0.02)
    assert meter.on_feedback(Feedback(keyframe_request=True), 1.0) == Dropped("nothing-acknowledged")
    assert meter.on_feedback(Feedback(acknowledged=2, received=0), 1.0) == Dropped("never-sent")
    assert isinstance(meter.on_feedback(Feedback(acknowledged=1), 1.0), Reception)
    assert meter.on_feedback(Feedback(acknowledged=0), 1.0) == Dropped("stale")


def test_numbers_wrap_and_old_units_are_forgotten() -> None:
    lost = {unit for unit in range(70_000) if unit % 10 == 3}
    meter = ReceptionMeter()
    for unit in range(70_000):
        meter.on_sent(0.02 * unit)
        if unit % 5 == 4:
            reception = meter.on_feedback(_report(lost, unit), 0.02 * unit + 0.05)
    assert isinstance(reception, Reception)
    assert reception.loss == pytest.approx(0.1, abs=0.01)
    assert reception.rtt_s == pytest.approx(0.05)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 60), st.none() | st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.floats(-10, 1e6)
        ),
        max_size=40,
    )
)
def test_invented_feedback_is_survived(reports: list[tuple[int, int | None, int, float]]) -> None:
    meter, now = ReceptionMeter(), 0.0
    for units, acknowledged, received, at in reports:
        for _ in range(units):
            meter.on_sent(now)
            now += 0.02
        for number in (acknowledged, None if acknowledged is None else acknowledged % 50):
            result = meter.on_feedback(Feedback(acknowledged=number, received=None if number is None else received), at)
            if isinstance(result, Reception):
                assert 0 <= result.loss <= 1
                assert result.burst >= 1
                assert result.rtt_s >= 0

"""The rate of arrivals: a steady stream is measured, an end of it forgotten."""

from __future__ import annotations

import math

import pytest

from core.errors import LocalProtocolError
from core.session.arrivals import ArrivalRate


def test_a_steady_stream_is_measured() -> None:
    rate = ArrivalRate(window_s=60.0)
    assert rate.per_s(0.0) == 0.0
    for second in range(600):
        rate.arrive(second / 2)
    assert rate.per_s(299.5) == pytest.approx(2.0, rel=0.02)


def test_what_is_over_is_forgotten() -> None:
    rate = ArrivalRate(window_s=60.0)
    rate.arrive(100.0)
    assert rate.per_s(160.0) == pytest.approx(1 / 60 / math.e)
    assert rate.per_s(90.0) == rate.per_s(100.0), "a clock that goes back changes nothing"
    assert rate.per_s(1e6) < 1e-12


@pytest.mark.parametrize("window_s", [0.0, -1.0, math.nan, math.inf])
def test_no_window_is_refused(window_s: float) -> None:
    with pytest.raises(LocalProtocolError):
        ArrivalRate(window_s)

"""No more than so many a minute, each party for itself, and no memory without bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.session.rates import Rates


def test_a_burst_then_a_steady_rate() -> None:
    rates = Rates()
    assert [rates.ask("a", 3, 0.0) for _ in range(3)] == [0.0] * 3
    assert rates.ask("a", 3, 0.0) == pytest.approx(20.0)
    assert rates.ask("b", 3, 0.0) == 0.0
    assert rates.ask("a", 3, 19.9) > 0.0
    assert rates.ask("a", 3, 20.0) == 0.0
    assert rates.ask("a", 3, 10.0) > 0.0, "a clock that goes backwards gives nothing"
    assert all(rates.ask("c", 0, 0.0) == 0.0 for _ in range(1_000))


def test_who_was_quiet_longest_is_forgotten() -> None:
    rates = Rates(parties_max=2)
    rates.ask("a", 1, 0.0)
    rates.ask("b", 1, 0.0)
    assert rates.ask("a", 1, 0.0) > 0.0
    rates.ask("c", 1, 0.0)
    assert len(rates) == 2
    assert rates.ask("b", 1, 0.0) == 0.0


@given(st.lists(st.floats(0.0, 30.0), max_size=200), st.integers(1, 20))
def test_never_more_than_allowed(waits: list[float], per_minute: int) -> None:
    rates, now, taken = Rates(), 0.0, 0
    for wait in waits:
        now += wait
        left = rates.ask("a", per_minute, now)
        taken += left == 0.0
        assert left >= 0.0
        if left > 0.0:
            assert Rates.ask(rates, "a", per_minute, now + left + 1e-6) == 0.0
            taken, now = taken + 1, now + left + 1e-6
    assert taken <= per_minute + now * per_minute / 60.0 + 1e-3

"""What is sent within the allowance is taken, beyond it dropped, and ten times as much is a flood."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.session.allowance import Allowance, Verdict


def _ask(allowance: Allowance, per_second: float, seconds: float, start: float = 0.0) -> list[Verdict]:
    return [allowance.ask(start + index / per_second) for index in range(int(per_second * seconds))]


def test_within_the_allowance_everything_is_taken() -> None:
    assert set(_ask(Allowance(rate_hz=100, burst=20), 100, 60)) == {Verdict.TAKE}


def test_a_burst_after_a_pause_is_taken() -> None:
    allowance = Allowance(rate_hz=10, burst=20)
    assert [allowance.ask(5.0) for _ in range(21)] == [Verdict.TAKE] * 20 + [Verdict.DROP]
    assert [allowance.ask(7.0) for _ in range(21)] == [Verdict.TAKE] * 20 + [Verdict.DROP]


def test_what_is_too_much_is_dropped_down_to_the_rate() -> None:
    verdicts = _ask(Allowance(rate_hz=100, burst=20), 500, 60)
    assert Verdict.FLOOD not in verdicts
    assert 100 * 60 <= verdicts.count(Verdict.TAKE) <= 100 * 60 + 21


def test_ten_times_the_allowance_is_a_flood() -> None:
    assert Verdict.FLOOD in _ask(Allowance(rate_hz=100, burst=20), 2_000, 1)
    assert Verdict.FLOOD not in _ask(Allowance(rate_hz=100, burst=20), 900, 60)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=200))
def test_no_clock_gives_more_than_a_burst_at_once(times: list[float]) -> None:
    allowance, taken, last = Allowance(rate_hz=0.0, burst=5), 0, 0.0
    for last in times:
        taken += allowance.ask(last) is Verdict.TAKE
    assert taken <= 5
    for _ in range(60):
        verdict = allowance.ask(last)
    assert verdict is Verdict.FLOOD

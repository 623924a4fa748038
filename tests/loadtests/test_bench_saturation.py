"""The search finds the limit of a server that has one, and says when it could not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.bench._saturation import Trial, find_limit


def trial(
    sessions: int, *, us: float = 2_000.0, late: bool = False, waited: float = 0.0, generator_us: float = 500.0
) -> Trial:
    """A second on a server that takes `us` microseconds per session."""
    return Trial(
        sessions=sessions,
        seconds=1.0,
        packets=70 * sessions,
        delivery=1.0,
        lateness_s_p50=0.001,
        lateness_s_p99=0.050 if late else 0.002,
        server_cpu_s=min(1.0, sessions * us / 1e6),
        server_wait_s=waited,
        generator_cpu_s=min(1.0, sessions * generator_us / 1e6),
    )


@given(limit=st.integers(1, 900), first=st.integers(1, 100))
def test_the_limit_is_found(limit: int, first: int) -> None:
    search = find_limit(
        lambda sessions: trial(sessions, us=1e6 / limit, late=sessions > limit), first=first, most=2_000, trials=30
    )
    assert not search.derived
    assert limit / 1.08 - 1 <= search.sessions <= limit
    assert search.best.sessions == search.sessions


@given(limit=st.integers(1, 900))
def test_a_load_that_only_grows_never_shrinks(limit: int) -> None:
    search = find_limit(
        lambda sessions: trial(sessions, us=1e6 / limit, late=sessions > limit),
        first=1,
        most=2_000,
        trials=40,
        shrinks=False,
    )
    loads = [made.sessions for made in search.trials]
    assert loads == sorted(loads)
    assert search.sessions <= limit


def test_a_failure_with_time_to_spare_is_tried_again() -> None:
    calls: list[int] = []

    def measure(sessions: int) -> Trial:
        calls.append(sessions)
        return trial(sessions, late=len(calls) == 1)

    search = find_limit(measure, first=100, most=100, trials=8)
    assert calls == [100, 100]
    assert search.sessions == 100
    assert not search.derived


def test_a_failure_that_others_had_a_part_in_is_tried_again_twice() -> None:
    calls: list[int] = []

    def measure(sessions: int) -> Trial:
        calls.append(sessions)
        return trial(sessions, late=len(calls) <= 2, waited=0.3 if len(calls) <= 2 else 0.0)

    search = find_limit(measure, first=100, most=100, trials=8)
    assert calls == [100, 100, 100]
    assert search.sessions == 100
    assert not search.derived


@pytest.mark.parametrize("why", ["starved", "generator", "trials"])
def test_what_could_not_be_measured_is_derived_and_said_so(why: str) -> None:
    def measure(sessions: int) -> Trial:
        over = sessions > 150 and why != "trials"
        return trial(
            sessions,
            late=over,
            waited=0.3 if over and why == "starved" else 0.0,
            generator_us=6_000.0 if why == "generator" else 500.0,
        )

    search = find_limit(measure, first=100, most=2_000, trials=1 if why == "trials" else 8)
    assert search.derived
    assert search.sessions == pytest.approx(500 * 0.9)
    assert search.describe()["derived"] is True


def test_a_server_that_carries_nothing_has_limit_0() -> None:
    search = find_limit(lambda sessions: trial(sessions, us=1e7, late=True), first=8, most=100, trials=20)
    assert search.sessions == 0
    assert search.best.sessions == 1


def test_losing_packets_is_as_bad_as_being_late() -> None:
    assert trial(10).holds
    assert not trial(10, late=True).holds
    lossy = trial(10)
    assert not Trial(**{**{name: getattr(lossy, name) for name in lossy.__dataclass_fields__}, "delivery": 0.99}).holds

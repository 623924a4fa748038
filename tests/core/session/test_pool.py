"""The warm pool: what a slot may become, and how many must wait for whoever comes."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.errors import LocalProtocolError
from core.limits import COLD_START_SHARE_MAX, POOL_SLOTS_MAX
from core.session.pool import TRANSITIONS, Pool, PoolPolicy, SlotEvent, SlotState, slot_diagram, warm_needed

S, E = SlotState, SlotEvent


def warm_pool(count: int, policy: PoolPolicy | None = None) -> Pool:
    pool = Pool(policy or PoolPolicy())
    for number in range(count):
        pool.add(f"s{number}")
        assert pool.apply(f"s{number}", E.START) and pool.apply(f"s{number}", E.READY)
    return pool


def test_a_slot_lives_from_cold_to_leased_and_back() -> None:
    pool = warm_pool(2)
    assert pool.take() == "s0"
    assert pool.apply("s0", E.LEASE) and pool.apply("s0", E.RETURN)
    assert pool.take() == "s1", "who has waited longest comes first"
    assert pool.take() == "s0"
    assert pool.take() is None
    assert pool.apply("s1", E.LAPSE)
    assert pool.take() == "s1"


def test_what_never_happens() -> None:
    assert E.LEASE not in TRANSITIONS[S.DRAINING] and E.RESERVE not in TRANSITIONS[S.DRAINING]
    assert E.STOP not in TRANSITIONS[S.LEASED] and E.STOP not in TRANSITIONS[S.RESERVED]
    assert {after for row in TRANSITIONS.values() for event, after in row.items() if event is E.RESERVE} == {S.RESERVED}
    assert all(E.LOSE in row for state, row in TRANSITIONS.items() if state is not S.LOST)
    pool = warm_pool(1)
    assert not pool.apply("s0", E.LEASE), "only what is reserved is leased"
    assert pool.state("s0") is S.WARM


def test_the_diagram_shows_all_of_it() -> None:
    assert slot_diagram() in (Path(__file__).parents[3] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert slot_diagram().count("-->") == 1 + sum(len(row) for row in TRANSITIONS.values())


def test_slots_that_are_not_there_or_there_already() -> None:
    pool = warm_pool(1)
    for wrong in (lambda: pool.add("s0"), lambda: pool.remove("s0"), lambda: pool.state("x")):
        with pytest.raises(LocalProtocolError):
            wrong()
    pool.apply("s0", E.LOSE)
    pool.remove("s0")
    assert len(pool) == 0


@pytest.mark.parametrize(
    "wrong", [{"buffer": -1}, {"buffer": math.nan}, {"warm_up_s": math.inf}, {"slots_max": POOL_SLOTS_MAX + 1}]
)
def test_policies_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(LocalProtocolError):
        PoolPolicy(**wrong)  # type: ignore[arg-type]


def test_a_buffer_is_kept_beside_what_is_in_use() -> None:
    pool = warm_pool(3, PoolPolicy(buffer=3))
    assert pool.plan().start == pool.plan().missing == 0
    pool.take()
    plan = pool.plan()
    assert (plan.start, plan.missing, plan.stop) == (1, 1, ())
    pool.apply("s0", E.LAPSE)
    pool.policy = PoolPolicy(buffer=1)
    assert pool.plan().stop == ("s1", "s2")
    pool.policy = PoolPolicy(mode="percent", buffer=50)
    assert pool.policy.spare(10, 0.0) == 5 and pool.policy.spare(0, 0.0) == 1


def test_the_limit_of_all_is_kept_and_alarms() -> None:
    pool = warm_pool(2, PoolPolicy(buffer=5, slots_max=3))
    assert (pool.plan().start, pool.plan().missing) == (1, 3)
    pool.take()
    pool.take()
    assert (pool.plan().start, pool.plan().missing) == (1, 5)


def poisson_tail(mean: float, count: int) -> float:
    return 1.0 - sum(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(count))


@given(st.floats(0.001, 500.0))
def test_the_forecast_is_the_smallest_buffer_that_is_enough(mean: float) -> None:
    needed = warm_needed(mean)
    assert poisson_tail(mean, needed) <= COLD_START_SHARE_MAX + 1e-9
    assert poisson_tail(mean, needed - 1) > COLD_START_SHARE_MAX - 1e-9


@pytest.mark.parametrize(("mean", "needed"), [(0.0, 0), (1e-12, 1), (1.0, 6), (20.0, 36), (10_000.0, 10_311)])
def test_forecasts_of_all_sizes(mean: float, needed: int) -> None:
    assert warm_needed(mean) == needed


@pytest.mark.parametrize("wrong", [(-1.0, 0.1), (math.nan, 0.1), (math.inf, 0.1), (1.0, 0.0), (1.0, 1.0)])
def test_forecasts_from_nothing(wrong: tuple[float, float]) -> None:
    with pytest.raises(LocalProtocolError):
        warm_needed(*wrong)


def test_of_many_arrivals_as_few_as_promised_find_nothing_warm() -> None:
    """The pool itself, driven by Poisson arrivals with a replacement started for each; sessions outlast the test."""
    chance, rate, warm_up_s = random.Random(3), 2.0, 10.0
    pool = warm_pool(0, PoolPolicy(mode="forecast", buffer=0, warm_up_s=warm_up_s))
    ready: list[tuple[float, str]] = []
    now, cold, arrivals, made = 0.0, 0, 60_000, 0

    def start(count: int) -> None:
        nonlocal made
        for _ in range(count):
            pool.add(slot := f"n{made}")
            made += 1
            pool.apply(slot, E.START)
            ready.append((now + warm_up_s, slot))

    start(pool.plan(rate).start)
    for number in range(arrivals):
        now += chance.expovariate(rate)
        while ready and ready[0][0] <= now:
            pool.apply(ready.pop(0)[1], E.READY)
        slot = pool.take()
        if slot is None:
            cold += number > 1_000
        else:
            pool.apply(slot, E.LOSE)  # it never comes back: the hardest case
            pool.remove(slot)
        start(pool.plan(rate).start)
    assert cold / (arrivals - 1_000) <= 2 * COLD_START_SHARE_MAX
    assert len(pool) == warm_needed(rate * warm_up_s)


class Life(RuleBasedStateMachine):
    """Any events in any order."""

    @initialize(count=st.integers(1, 5))
    def fill(self, count: int) -> None:
        self.pool = warm_pool(count)
        self.names = [f"s{number}" for number in range(count)]

    @rule(number=st.integers(0, 4), event=st.sampled_from(list(SlotEvent)))
    def move(self, number: int, event: SlotEvent) -> None:
        slot = self.names[number % len(self.names)]
        before = self.pool.state(slot)
        moved = self.pool.apply(slot, event)
        assert moved == (event in TRANSITIONS[before])
        assert self.pool.state(slot) == TRANSITIONS[before].get(event, before)

    @rule()
    def take(self) -> None:
        warm = self.pool.count(S.WARM)
        slot = self.pool.take()
        assert (slot is not None) == (warm > 0)

    @invariant()
    def the_counts_are_right(self) -> None:
        for state in SlotState:
            assert self.pool.count(state) == sum(self.pool.state(name) is state for name in self.names)


TestLife = Life.TestCase

"""Who gives way, in which order, and that calm brings everything back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.limits import FIDELITY_LOWER_S, FIDELITY_RAISE_S, SILENT_ACTIVITY_MAX
from core.session.fidelity import FidelityPolicy

TIERS = 4


def tiers(*values: int) -> NDArray[np.int8]:
    return np.array(values, dtype=np.int8)


def test_the_silent_go_first_and_all_the_way() -> None:
    policy = FidelityPolicy(TIERS)
    activity = np.array([0.9, 0.0, 0.4, SILENT_ACTIVITY_MAX])
    assert policy.relieve(tiers(0, 0, 0, 1), activity).tolist() == [0, 3, 0, 3]
    assert policy.lowered == 2


def test_then_those_that_speak_least_one_tier_at_a_time() -> None:
    policy = FidelityPolicy(TIERS)
    activity = np.linspace(0.2, 1.0, 16)
    wanted = policy.relieve(np.zeros(16, np.int8), activity)
    assert wanted.tolist() == [1, 1] + [0] * 14


def test_the_least_active_are_at_the_cheapest_before_the_others_lose_anything_more() -> None:
    policy = FidelityPolicy(TIERS)
    activity = np.array([0.3, 0.5, 0.9])
    now = tiers(0, 0, 0)
    seen = []
    for _ in range(9):
        now = policy.relieve(now, activity)
        seen.append(now.tolist())
    assert seen[2] == [3, 0, 0]
    assert seen[5] == [3, 3, 0]
    assert seen[8] == [3, 3, 3]
    assert policy.relieve(now, activity).tolist() == [3, 3, 3], "nobody is sent away"


def test_the_most_active_come_back_first() -> None:
    policy = FidelityPolicy(TIERS)
    assert policy.restore(tiers(3, 3, 0), np.array([0.1, 0.8, 0.9])).tolist() == [3, 2, 0]
    assert policy.restore(tiers(0, 0), np.array([0.1, 0.8])).tolist() == [0, 0]
    assert policy.raised == 1


def test_steps_down_are_quick_and_steps_up_are_slow() -> None:
    policy = FidelityPolicy(TIERS)
    steps = {index / 10: policy.wants(0.9, index / 10) for index in range(21)}
    assert [time for time, step in steps.items() if step == 1] == [0.0, FIDELITY_LOWER_S, 1.0, 1.5, 2.0]
    assert policy.wants(0.6, 3.0) == 0, "between the two nothing happens"
    calm = {3.0 + index / 10: policy.wants(0.2, 3.0 + index / 10) for index in range(1, 70)}
    raised = [time for time, step in calm.items() if step == -1]
    assert len(raised) == 2
    assert raised[1] - raised[0] >= FIDELITY_RAISE_S - 1e-6


def test_one_busy_moment_ends_the_calm() -> None:
    policy = FidelityPolicy(TIERS)
    policy.wants(0.2, 0.0)
    policy.wants(0.6, FIDELITY_RAISE_S - 0.1)
    assert policy.wants(0.2, FIDELITY_RAISE_S) == 0
    assert policy.wants(0.2, 2 * FIDELITY_RAISE_S) == -1


@given(st.lists(st.tuples(st.integers(0, TIERS - 1), st.floats(0, 1)), max_size=40), st.booleans())
def test_tiers_move_in_one_direction_and_stay_in_range(sessions: list[tuple[int, float]], down: bool) -> None:
    policy = FidelityPolicy(TIERS)
    before = np.array([tier for tier, _ in sessions], dtype=np.int8)
    activity = np.array([active for _, active in sessions], dtype=np.float64)
    after = (policy.relieve if down else policy.restore)(before, activity)
    change = after.astype(int) - before
    assert after.dtype == np.int8
    assert (change >= 0).all() if down else ((change <= 0) & (change >= -1)).all()
    assert ((after >= 0) & (after < TIERS)).all()
    room = before < TIERS - 1 if down else before > 0
    assert bool((change != 0).any()) == bool(room.any())


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 200), st.floats(0.3, 3.0), st.integers(0, 2**32 - 1))
def test_an_overload_is_relieved_and_everybody_gets_back_what_they_had(count: int, excess: float, seed: int) -> None:
    """A POP whose faces cost what their tier costs: it settles below the limit, and recovers when the load has gone."""
    rng = np.random.default_rng(seed)
    activity = np.where(rng.random(count) < 0.3, 0.0, rng.random(count))
    speaking = activity > SILENT_ACTIVITY_MAX
    costs = np.array([1.0, 0.8, 0.6, 0.2])
    dearest = max(1, int(speaking.sum()))
    policy, now, current = FidelityPolicy(TIERS), 0.0, np.zeros(count, np.int8)
    for tick in range(4_000):
        now = tick * 0.1
        others = 1.0 if tick < 1_000 else 0.1
        load = excess * others * float(costs[current][speaking].sum()) / dearest
        step = policy.wants(load, now)
        if step:
            current = (policy.relieve if step > 0 else policy.restore)(current, activity)
        if tick == 999:
            assert load <= 0.75 or (current == TIERS - 1).all()
    assert (current == 0).all()

"""The time that phases take, and whether one more session fits into it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import LocalProtocolError
from core.limits import ADMISSION_LOAD_MAX, FIDELITY_LOWER_LOAD, FIDELITY_RAISE_LOAD, PHASES_PER_TICK
from core.session.tick_budget import PHASE_S, TickBudget


def serve(budget: TickBudget, *, ticks: int, busy: float, late: float = 0.0, frames: int = 50) -> None:
    for _ in range(ticks):
        for phase in range(PHASES_PER_TICK):
            budget.observe(phase, late_s=late * PHASE_S, busy_s=busy * PHASE_S, frames=frames)


def test_the_mean_follows_what_phases_take() -> None:
    budget = TickBudget()
    assert budget.load == budget.busy == 0.0
    serve(budget, ticks=300, busy=0.4, late=0.2)
    assert budget.busy == pytest.approx(0.4, abs=0.01)
    assert budget.load == pytest.approx(0.6, abs=0.01)
    assert budget.frame_s == pytest.approx(0.4 * PHASE_S / 50)
    serve(budget, ticks=50, busy=0.1)
    assert 0.15 < budget.busy < 0.25, "a second later two thirds of the change show"


def test_one_stall_is_no_overload() -> None:
    budget = TickBudget()
    serve(budget, ticks=100, busy=0.3)
    budget.observe(0, late_s=0.2, busy_s=0.1, frames=50)
    assert budget.load < 0.5


def test_a_session_is_let_in_while_its_frames_fit() -> None:
    budget = TickBudget()
    serve(budget, ticks=500, busy=ADMISSION_LOAD_MAX - 0.03, frames=50)
    assert budget.admits(200)
    serve(budget, ticks=500, busy=ADMISSION_LOAD_MAX - 0.005, frames=50)
    assert not budget.admits(200), "its own frames are what is too much"
    assert budget.admits(PHASES_PER_TICK - 1)


def test_lateness_that_others_cause_keeps_nobody_out_and_is_no_reason_to_do_less_of_little() -> None:
    budget = TickBudget()
    serve(budget, ticks=500, busy=0.1, late=3.0)
    assert budget.load < FIDELITY_RAISE_LOAD
    assert budget.admits(100)
    serve(budget, ticks=500, busy=0.4, late=0.5)
    assert budget.load > FIDELITY_LOWER_LOAD, "but of much it is"
    assert budget.admits(100)


@pytest.mark.parametrize(
    ("phase", "late_s", "busy_s"),
    [(-1, 0, 0), (4, 0, 0), (0, -1e-9, 0), (0, 0, -1), (0, math.nan, 0), (0, 0, math.inf)],
)
def test_impossible_times_are_refused(phase: int, late_s: float, busy_s: float) -> None:
    with pytest.raises(LocalProtocolError):
        TickBudget().observe(phase, late_s=late_s, busy_s=busy_s, frames=1)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 10), st.floats(0, 10), st.integers(0, 500)), max_size=60))
def test_means_stay_between_what_was_seen(rounds: list[tuple[int, float, float, int]]) -> None:
    budget = TickBudget()
    for phase, late_s, busy_s, frames in rounds:
        budget.observe(phase, late_s=late_s, busy_s=busy_s, frames=frames)
    assert 0.0 <= budget.busy <= 4.0
    assert 0.0 <= budget.load <= 4.0
    assert math.isfinite(budget.frame_s)

"""A few seeds of the simulation with every run of the tests; `python -m tests.sim --seeds 10000` for many."""

from __future__ import annotations

import pytest

from tests.sim.world import simulate


@pytest.mark.parametrize("seed", range(100))
def test_a_session_keeps_its_promises(seed: int) -> None:
    outcome = simulate(seed)
    if outcome.failures:
        pytest.fail("\n".join([*outcome.failures, f"replay: python -m tests.sim --seed {seed}"]), pytrace=False)
    assert outcome.resync_ms is not None


def test_one_seed_is_one_session() -> None:
    first, second = simulate(3), simulate(3)
    assert first == second
    assert first.worst_jump_ratio > 0.0
    assert first != simulate(4)

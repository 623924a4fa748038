"""A few seeds of the broker's simulation with every run of the tests; `python -m tests.sim broker --seeds N` for
many."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.sim import broker
from tests.sim.broker import simulate

_GAVE_TWO_SLOTS = (248, 910)
"""To one request, when the booking of a lease could be forgotten that had not ended."""


@pytest.mark.parametrize("seed", [*range(25), *_GAVE_TWO_SLOTS])
def test_whatever_fails_nothing_is_owned_twice_or_lost(seed: int) -> None:
    outcome = simulate(seed)
    if outcome.violations:
        replay = f"replay: python -m tests.sim broker --seed {seed}"
        pytest.fail("\n".join([*outcome.violations[:10], replay]), pytrace=False)


def test_without_fencing_the_same_seeds_break_promises() -> None:
    broken = [seed for seed in range(25) if simulate(seed, fencing=False).violations]
    assert len(broken) >= 3, "a simulation that finds nothing proves nothing"


def test_all_kinds_of_trouble_happen() -> None:
    counted = sum((simulate(seed).counters for seed in range(25)), Counter[str]())
    wanted = ("answers lost", "questions lost", "store away", "wipes", "suspects", "expired", "lives", "handoffs done")
    assert all(counted[name] for name in (*wanted, "previews", "old-epoch")), counted


def test_one_seed_is_one_trace() -> None:
    assert simulate(3) == simulate(3)
    assert simulate(3) != simulate(4)


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert broker.main(["--seeds", "5", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["seeds"], said["violations"]) == (5, 0)
    assert said["violations_without_fencing"] > 0


def test_a_long_run_says_how_far_it_is_and_ctrl_c_what_is_known_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(seed: int, *, fencing: bool = True) -> broker.Outcome:
        if seed == 2:
            raise KeyboardInterrupt
        return simulate(seed, fencing=fencing)

    monkeypatch.setattr(broker, "PROGRESS_S", 0.0)
    monkeypatch.setattr(broker, "simulate", stopped)
    assert broker.main(["--seeds", "5", "--json"]) == 130
    said = capsys.readouterr()
    assert json.loads(said.out)["seeds"] == 2
    assert [line.partition(",")[0] for line in said.err.splitlines()] == ["1 of 5 seeds", "2 of 5 seeds"]

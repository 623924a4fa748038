"""A small day by the broker's own code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.host.cli import main
from core.session.lease import LeaseRecord
from core.session.pool import SlotState
from loadtests.ledger import Ledger
from loadtests.simulate import Assumptions, Day
from loadtests.simulate_plot import draw

SMALL = Assumptions(pops=6, sessions=3_000, seed=3)


def test_a_day_adds_up() -> None:
    shares: list[float] = []
    day = Day(SMALL, shares.append)
    report = day.run()
    assert 2_700 < report.arrivals < 3_300
    assert report.served + report.turned_away == report.arrivals
    assert report.cold_starts / report.served < 0.01
    assert report.handoffs > 0
    assert 0 < report.leased_hours < report.slot_hours
    assert len(report.warm) == len(report.leased) == 1_440
    assert shares == sorted(shares) and shares[-1] > 0.99
    leased = sum(pop.pool.count(SlotState.LEASED, SlotState.DRAINING) for pop in day._pops)
    assert leased == len(day._sessions), "who has left holds nothing"
    alive = [name for name in day._sessions if (day._ledger.record(name) or _nobody()).holder]
    assert len(alive) == len(day._sessions)


def _nobody() -> LeaseRecord:
    raise AssertionError("a session without a lease")


def test_one_seed_is_one_day() -> None:
    assert Day(SMALL).run() == Day(SMALL).run()
    assert Day(SMALL).run() != Day(Assumptions(pops=6, sessions=3_000, seed=4)).run()


def test_without_room_clients_are_turned_away() -> None:
    report = Day(Assumptions(pops=2, sessions=3_000, headroom=0.1, session_s=3_000.0)).run()
    assert report.turned_away > 1_000


def test_a_slower_warm_up_needs_more_waiting_slots() -> None:
    quick = Day(SMALL).run()
    slow = Day(Assumptions(pops=6, sessions=3_000, seed=3, warm_up_s=300.0)).run()
    assert sum(slow.warm) > 1.5 * sum(quick.warm)


@pytest.mark.parametrize("wrong", [{"pops": 0}, {"sessions": 0}, {"swing": 2.0}, {"roam_share": -1.0}])
def test_days_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Day(Assumptions(**wrong))  # type: ignore[arg-type]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "day.svg"
    assert main(["simulate", "--pops", "3", "--sessions", "300", "--json", "--plot", str(plot)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["assumed"]["pops"] == 3 and said["figures"]["sessions"] > 200
    assert plot.read_text(encoding="utf-8").startswith("<svg")
    assert main(["simulate", "--pops", "3", "--sessions", "300"]) == 0
    assert "cold_start_percent" in capsys.readouterr().out
    assert main(["simulate", "--sessions", "100", "--plot", str(tmp_path / "none" / "day.svg")]) == 2
    assert capsys.readouterr().err == f"visavis: --plot: there is no folder {tmp_path / 'none'}\n"
    assert main(["simulate", "--pops", "0"]) == 2


def test_the_drawing_stays_inside() -> None:
    picture = draw([0, 5, 3], [10, 20, 0])
    numbers = [float(number) for number in re.findall(r"[ \"](\d+\.\d),", picture)]
    assert numbers and min(numbers) >= 60.0 and max(numbers) <= 900.0
    assert "<svg" in draw([], [])


def test_an_empty_ledger_knows_nothing() -> None:
    ledger = Ledger()
    ledger.end("nobody")
    ledger.forget("nobody")
    assert ledger.record("nobody") is None and len(ledger) == 0

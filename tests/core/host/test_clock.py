from __future__ import annotations

import time

import pytest

from core.host.clock import ManualClock, SystemClock


def test_system_clock_reads_the_machine() -> None:
    clock = SystemClock()
    before, wall = time.monotonic(), time.time()
    assert before <= clock.monotonic() <= time.monotonic()
    assert int(wall) <= clock.wall() <= time.time()


def test_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(now=5.0, wall=100)
    assert (clock.monotonic(), clock.wall()) == (5.0, 100)
    clock.advance(0.75)
    clock.advance(0.75)
    assert (clock.monotonic(), clock.wall()) == (6.5, 101)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)

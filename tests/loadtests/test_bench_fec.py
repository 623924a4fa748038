"""The channel loses what it says; shortcuts change nothing; comparators repair what theory says they do."""

from __future__ import annotations

from itertools import groupby, islice

import pytest

from core.stream.fec import FecTier
from loadtests.bench.fec import (
    NEVER,
    channel,
    exclusive_or,
    limit_delays,
    no_protection_delays,
    parity_delays,
    previous_delays,
    reed_solomon,
    residual_pct,
    tier_delays,
)


@pytest.mark.parametrize(("loss", "burst"), [(0.1, 1), (0.1, 2), (0.2, 5)])
def test_the_channel_loses_as_much_and_as_long_as_it_says(loss: float, burst: float) -> None:
    lost = list(islice(channel(loss, burst, 7), 60_000))
    runs = [len(list(run)) for bad, run in groupby(lost) if bad]
    assert sum(lost) / len(lost) == pytest.approx(loss, rel=0.1)
    expected = burst if burst > 1 else 1 / (1 - loss)
    assert sum(runs) / len(runs) == pytest.approx(expected, rel=0.1)
    assert lost == list(islice(channel(loss, burst, 7), 60_000))


@pytest.mark.parametrize("tier", [FecTier.F1, FecTier.F2, FecTier.F3])
@pytest.mark.parametrize("burst", [1, 3])
def test_fields_that_are_left_out_would_change_nothing(tier: FecTier, burst: int) -> None:
    whole = tier_delays(channel(0.15, burst, 3), 3_000, tier, 6, every=True)
    assert tier_delays(channel(0.15, burst, 3), 3_000, tier, 6) == whole
    assert 0 < residual_pct(whole, 0) < 20
    assert residual_pct(whole, 6) < residual_pct(whole, 0) / 2


def test_nobody_beats_the_limit() -> None:
    for tier in (FecTier.F1, FecTier.F2, FecTier.F3):
        limit = residual_pct(limit_delays(channel(0.2, 3, 1), 5_000, 6), 6)
        assert residual_pct(tier_delays(channel(0.2, 3, 1), 5_000, tier, 6), 6) >= limit > 0


def test_comparators_repair_what_they_can() -> None:
    units = 20_000
    assert residual_pct(no_protection_delays(channel(0.1, 1, 1), units), 6) == pytest.approx(10, rel=0.1)
    assert residual_pct(previous_delays(channel(0.1, 1, 1), units), 6) == pytest.approx(1, rel=0.2)
    one = residual_pct(parity_delays(channel(0.1, 1, 1), units, exclusive_or), 6)
    assert one == pytest.approx(100 * 0.1 * (1 - 0.9**4), rel=0.1)
    two = residual_pct(parity_delays(channel(0.1, 1, 1), units, reed_solomon), 6)
    assert two == pytest.approx(100 * 0.1 * (1 - 0.9**5 - 5 * 0.1 * 0.9**4), rel=0.2)


def test_parity_comes_with_the_last_of_its_group() -> None:
    losses = map(bool, map(int, "1000001100"))
    assert parity_delays(losses, 8, exclusive_or) == [3, 0, 0, 0, 0, NEVER, NEVER, 0]
    losses = map(bool, map(int, "110000101010"))
    assert parity_delays(losses, 8, reed_solomon) == [3, 2, 0, 0, NEVER, 0, NEVER, 0]

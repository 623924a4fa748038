"""The broker's benchmark on a store in memory; the harness runs all of it."""

from __future__ import annotations

import pytest

from core.errors import FabricError
from core.fabric.memory import MemoryStore
from loadtests.bench import broker


async def test_what_is_measured_was_done() -> None:
    store = MemoryStore()
    measured = await broker._measure([store], 0.05, 3)
    assert measured.winners == [1, 1, 1]
    assert measured.leases_per_s > 0 and measured.bookings_per_s > 0
    assert set(measured.details()) >= {"leases_per_s", "bookings_per_s", "ms_p99_alone", "winners_max"}
    assert await store.keys("bookings.") == [], "what was booked was forgotten again"


async def test_racers_at_two_stores_that_do_not_know_each_other_all_win() -> None:
    assert await broker._races([MemoryStore(), MemoryStore()], 2) == [2, 2], "the count can fail"


async def test_a_store_that_grants_nothing_is_an_error() -> None:
    store = MemoryStore()
    await store.aclose()
    with pytest.raises(FabricError, match="no lease"):
        await broker._lease_for(store, "c", 1.0)

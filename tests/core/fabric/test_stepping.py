"""The broker's rules over real stores."""

from __future__ import annotations

import asyncio

import pytest

from core.errors import FabricError
from core.fabric.memory import MemoryStore
from core.fabric.stepping import perform
from core.limits import FABRIC_MESSAGE_SIZE_BYTES_MAX
from core.session.booking import Offer, book
from core.session.lease import Denied, Lease, acquire, commit, end, reserve
from core.session.steps import Create, Delete, Get, Operation, Outcome, Refusal, Steps, Update
from tests.core.fabric.conftest import Fabric


async def test_a_lease_lives_and_moves(fabric: Fabric) -> None:
    lease = await perform(fabric.store, acquire("s", holder="a", life="1", request="r"))
    assert isinstance(lease, Lease)
    epoch = await perform(fabric.other_store, reserve("s", lease))
    assert epoch == lease.epoch + 1
    moved = await perform(fabric.other_store, commit("s", epoch=epoch, holder="b", life="1", request="x"))
    assert isinstance(moved, Lease)
    assert await perform(fabric.store, end("s", lease.epoch, "released")) is False
    assert await perform(fabric.store, end("s", epoch, "released")) is True


async def test_of_fifty_that_race_one_wins(fabric: Fabric) -> None:
    races = [
        perform(store, acquire("s", holder="a", life="1", request=f"r{number}"))
        for number, store in enumerate([fabric.store, fabric.other_store] * 25)
    ]
    results = await asyncio.gather(*races)
    assert sum(isinstance(result, Lease) for result in results) == 1
    assert {result for result in results if isinstance(result, Denied)} == {Denied("taken")}


async def test_one_request_at_two_brokers_gets_one_lease(fabric: Fabric) -> None:
    offers = [Offer(slot=f"w.{number}", worker="w", life="1") for number in range(3)]
    orders = [(fabric.store, offers), (fabric.other_store, offers[::-1])] * 5
    leases = await asyncio.gather(*(perform(store, book("r", order)) for store, order in orders))
    assert len({(lease.resource, lease.epoch) for lease in leases if isinstance(lease, Lease)}) == 1
    assert all(isinstance(lease, Lease) for lease in leases)


def asking(*operations: Operation) -> Steps[list[Outcome]]:
    outcomes: list[Outcome] = []
    for operation in operations:
        outcomes.append((yield operation))  # noqa: PERF401 - a comprehension cannot yield
    return outcomes


async def test_each_refusal_has_its_word() -> None:
    store = MemoryStore()
    await store.put("k", b"1")
    outcomes = await perform(
        store, asking(Create("k", b""), Update("k", b"", 9), Delete("k", 9), Get("none"), Get("k"), Delete("k", 1))
    )
    refusals = [outcome.refusal for outcome in outcomes]
    assert refusals == [Refusal.EXISTS, Refusal.CONFLICT, Refusal.CONFLICT, Refusal.NOT_FOUND, None, None]
    assert outcomes[4] == Outcome(1, b"1")
    await store.aclose()
    assert await perform(store, asking(Get("k"))) == [Outcome(refusal=Refusal.LOST)]


async def test_what_cannot_be_written_at_all_is_said() -> None:
    with pytest.raises(FabricError) as caught:
        await perform(MemoryStore(), asking(Create("k", bytes(FABRIC_MESSAGE_SIZE_BYTES_MAX + 1))))
    assert caught.value.code == "too-large"

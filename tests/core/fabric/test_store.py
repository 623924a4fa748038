"""What every store promises (core/fabric/store.py), asked of all."""

from __future__ import annotations

import asyncio

import pytest

from core import limits
from core.errors import FabricError, LocalProtocolError
from core.fabric.store import Entry, Watch
from tests.core.fabric.conftest import Fabric


async def take(watch: Watch, count: int) -> list[Entry]:
    entries = []
    async with asyncio.timeout(5):
        async for entry in watch:
            entries.append(entry)
            if len(entries) == count:
                break
    return entries


async def test_create_get_update_delete(fabric: Fabric) -> None:
    store, other = fabric.store, fabric.other_store
    first = await store.create("pops.a", b"1")
    assert await other.get("pops.a") == Entry("pops.a", b"1", first)
    second = await other.update("pops.a", b"2", first)
    assert second > first
    third = await store.put("pops.a", b"")
    assert await other.get("pops.a") == Entry("pops.a", b"", third)
    await other.delete("pops.a", third)
    with pytest.raises(FabricError) as caught:
        await store.get("pops.a")
    assert caught.value.code == "not-found"
    assert await store.create("pops.a", b"again") > third


async def test_create_refuses_what_exists(fabric: Fabric) -> None:
    await fabric.store.create("k", b"")
    with pytest.raises(FabricError) as caught:
        await fabric.other_store.create("k", b"")
    assert caught.value.code == "exists"


async def test_update_and_delete_need_the_newest_revision(fabric: Fabric) -> None:
    old = await fabric.store.create("k", b"1")
    new = await fabric.store.put("k", b"2")
    for attempt in (fabric.store.update("k", b"3", old), fabric.store.delete("k", old)):
        with pytest.raises(FabricError) as caught:
            await attempt
        assert caught.value.code == "conflict"
    assert (await fabric.store.get("k")).revision == new
    for attempt in (fabric.store.update("none", b"", new), fabric.store.delete("none", new)):
        with pytest.raises(FabricError) as caught:
            await attempt
        assert caught.value.code == "not-found"


async def test_of_racing_writers_exactly_one_wins_each_round(fabric: Fabric) -> None:
    revision = await fabric.store.create("lease", b"")
    wins = 0
    for _ in range(20):
        racers = [
            store.update("lease", bytes([number]), revision)
            for number, store in enumerate([fabric.store, fabric.other_store] * 5)
        ]
        outcomes = await asyncio.gather(*racers, return_exceptions=True)
        won = [outcome for outcome in outcomes if isinstance(outcome, int)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, FabricError) and outcome.code == "conflict"]
        assert (len(won), len(lost)) == (1, 9)
        assert won[0] > revision
        revision = won[0]
        wins += 1
    assert wins == 20


async def test_a_counter_loses_no_increment(fabric: Fabric) -> None:
    await fabric.store.create("counter", b"0")

    async def add(store_number: int) -> None:
        store = (fabric.store, fabric.other_store)[store_number]
        for _ in range(10):
            while True:
                entry = await store.get("counter")
                assert entry.value is not None
                try:
                    await store.update("counter", str(int(entry.value) + 1).encode(), entry.revision)
                except FabricError as error:
                    assert error.code == "conflict"
                else:
                    break

    await asyncio.gather(add(0), add(1), add(0), add(1))
    assert (await fabric.store.get("counter")).value == b"40"


async def test_keys_by_prefix(fabric: Fabric) -> None:
    for key in ("pops.b", "pops.a", "sessions.x"):
        await fabric.store.put(key, b"")
    assert await fabric.other_store.keys("pops.") == ["pops.a", "pops.b"]
    assert await fabric.other_store.keys("") == ["pops.a", "pops.b", "sessions.x"]
    assert await fabric.other_store.keys("none") == []


async def test_a_watch_gives_what_is_and_what_becomes(fabric: Fabric) -> None:
    await fabric.store.put("pops.a", b"1")
    await fabric.store.put("other", b"")
    watch = await fabric.other_store.watch("pops.")
    assert [(entry.key, entry.value) for entry in await take(watch, 1)] == [("pops.a", b"1")]
    revision = await fabric.store.put("pops.b", b"2")
    assert await take(watch, 1) == [Entry("pops.b", b"2", revision)]
    await fabric.store.delete("pops.b", revision)
    (gone,) = await take(watch, 1)
    assert (gone.key, gone.value) == ("pops.b", None)
    assert gone.revision > revision
    await watch.aclose()
    await fabric.store.put("pops.c", b"")
    assert [entry async for entry in watch] == []


async def test_a_watch_from_a_revision_skips_what_is_known(fabric: Fabric) -> None:
    await fabric.store.put("k.a", b"1")
    known = await fabric.store.put("k.b", b"2")
    newer = await fabric.store.put("k.c", b"3")
    watch = await fabric.other_store.watch("k.", from_revision=known)
    assert await take(watch, 1) == [Entry("k.c", b"3", newer)]


async def test_current_entries_come_in_the_order_of_their_revisions(fabric: Fabric) -> None:
    for key in ("k.a", "k.b", "k.a"):
        await fabric.store.put(key, b"")
    watch = await fabric.other_store.watch("k.")
    assert [entry.key for entry in await take(watch, 2)] == ["k.b", "k.a"]


async def test_a_lagging_watch_sees_the_newest_of_each_key(fabric: Fabric) -> None:
    watch = await fabric.other_store.watch("k.")
    for number in range(limits.FABRIC_QUEUE_MESSAGES_MAX):
        await fabric.store.put(f"k.{number % 3}", str(number).encode())
    marker = await fabric.store.put("k.end", b"")
    seen: dict[str, Entry] = {}
    async with asyncio.timeout(10):
        async for entry in watch:
            assert entry.revision > seen.get(entry.key, Entry("", b"", 0)).revision
            seen[entry.key] = entry
            if entry.revision == marker:
                break
    last = limits.FABRIC_QUEUE_MESSAGES_MAX - 1
    assert {entry.value for entry in seen.values()} == {b"", *(str(last - n).encode() for n in range(3))}


async def test_values_and_keys_are_checked(fabric: Fabric) -> None:
    large = bytes(limits.FABRIC_MESSAGE_SIZE_BYTES_MAX + 1)
    for attempt in (
        fabric.store.create("k", large),
        fabric.store.put("k", large),
        fabric.store.update("k", large, 1),
    ):
        with pytest.raises(FabricError) as caught:
            await attempt
        assert caught.value.code == "too-large"
    for key in ("", "a..b", "a.*", "a b"):
        with pytest.raises(LocalProtocolError):
            await fabric.store.put(key, b"")
        with pytest.raises(LocalProtocolError):
            await fabric.store.get(key)

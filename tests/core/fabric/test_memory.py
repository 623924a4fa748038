"""What is particular to the implementation in memory; what all share is in test_bus.py and test_store.py."""

from __future__ import annotations

import pytest

from core import limits
from core.errors import FabricError
from core.fabric.bus import Message
from core.fabric.memory import MemoryBus, MemoryStore, check_size
from core.fabric.store import Entry


async def test_attached_sinks_are_called_at_once() -> None:
    bus, seen = MemoryBus(), list[Message]()
    detach = bus.attach("a.>", seen.append)
    bus.publish_nowait("a.b", b"1")
    assert seen == [Message("a.b", b"1")]
    detach()
    detach()
    bus.publish_nowait("a.b", b"2")
    assert len(seen) == 1


async def test_revisions_go_on_from_the_one_given() -> None:
    store = MemoryStore(revision=41)
    assert await store.put("k", b"") == 42
    assert store.revision == 42


async def test_attached_watches_are_called_at_once() -> None:
    store, seen = MemoryStore(), list[Entry]()
    await store.put("k.a", b"")
    detach = store.attach("k.", 0, seen.append)
    await store.put("k.b", b"")
    detach()
    detach()
    await store.put("k.c", b"")
    assert [entry.key for entry in seen] == ["k.a", "k.b"]
    assert store.holds("k.c")
    assert not store.holds("k.d")


async def test_a_closed_bus_is_unreachable() -> None:
    bus = MemoryBus()

    async def responder(_: Message) -> bytes:
        return b""

    await bus.aclose()
    for attempt in (bus.publish("a", b""), bus.subscribe("a"), bus.request("a", b""), bus.respond("a", responder)):
        with pytest.raises(FabricError) as caught:
            await attempt
        assert caught.value.code == "unreachable"


async def test_a_closed_store_is_unreachable_and_ends_its_watches() -> None:
    store = MemoryStore()
    watch = await store.watch("")
    await store.aclose()
    assert [entry async for entry in watch] == []
    for attempt in (store.put("a", b""), store.get("a"), store.keys(""), store.watch("")):
        with pytest.raises(FabricError) as caught:
            await attempt
        assert caught.value.code == "unreachable"


def test_check_size() -> None:
    check_size(bytes(limits.FABRIC_MESSAGE_SIZE_BYTES_MAX))
    with pytest.raises(FabricError, match="at most"):
        check_size(bytes(limits.FABRIC_MESSAGE_SIZE_BYTES_MAX + 1))

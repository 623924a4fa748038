"""How a watch over JetStream names what it follows and notices what it has missed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from core.errors import FabricError
from core.fabric.nats import NatsLink
from core.fabric.nats_watch import NatsWatch, _place, is_deletion, read_once, subject_filter
from core.fabric.store import Entry
from tests.core.fabric.conftest import Nats, nats_fabric


def test_the_filter_is_as_narrow_as_the_prefix_allows() -> None:
    assert subject_filter("b", "") == "$KV.b.>"
    assert subject_filter("b", "po") == "$KV.b.>"
    assert subject_filter("b", "pops.") == "$KV.b.pops.>"
    assert subject_filter("b", "pops.eu.fra") == "$KV.b.pops.eu.>"


def test_deletions_by_whoever_made_them() -> None:
    assert is_deletion({"KV-Operation": "DEL"})
    assert is_deletion({"KV-Operation": "PURGE"})
    assert is_deletion({"Nats-Marker-Reason": "MaxAge"})
    assert not is_deletion({})
    assert not is_deletion({"KV-Operation": "PUT"})


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("$JS.ACK.KV_b.c.1.17.3.1700000000.5", (17, 3, 5)),
        ("$JS.ACK.hub.account.KV_b.c.1.17.3.1700000000.5.random", (17, 3, 5)),
        ("$JS.ACK.KV_b.c.1.x.3.1700000000.5", None),
        ("$JS.ACK.short", None),
        ("_INBOX.something.else.that.has.nine.tokens.in.it", None),
        ("", None),
    ],
)
def test_places_are_read_from_either_form(reply: str, expected: tuple[int, int, int] | None) -> None:
    place = _place(reply)
    assert (None if place is None else (place.revision, place.delivered, place.pending)) == expected


async def test_a_consumer_that_is_gone_is_noticed_and_replaced(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        fabric = await nats_fabric(stack, nats_servers.hub.url, nats_servers.leaf.url)
        link = fabric.bus._link  # type: ignore[attr-defined]
        api, bucket = "$JS.hub.API", fabric.store._bucket  # type: ignore[attr-defined]
        watch = NatsWatch(link, api, bucket, "k.", 0)
        await watch.start()
        one = await fabric.store.put("k.a", b"1")
        assert await anext(aiter(watch.inbox)) == Entry("k.a", b"1", one)
        assert watch._consumer is not None
        watch._consumer.close()  # as if the way to it were lost: neither changes nor heartbeats come
        two = await fabric.store.put("k.b", b"2")
        async with asyncio.timeout(15):
            assert await anext(aiter(watch.inbox)) == Entry("k.b", b"2", two)
        watch.stop()


async def test_keys_of_a_bucket_that_is_not_there(nats_servers: Nats) -> None:
    link = NatsLink(nats_servers.hub.url)
    await link.start()
    with pytest.raises(FabricError, match="stream not found"):
        await read_once(link, "$JS.hub.API", "nowhere", "")
    await link.aclose()

"""What is particular to the store in JetStream: foreign and broken records, wiped buckets, refusals."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import AsyncExitStack

import pytest

from core.errors import ConfigError, FabricError
from core.fabric.nats import NatsLink
from core.fabric.nats_store import NatsStore
from tests.core.fabric.conftest import BUCKETS, Nats


class Bench:
    """A store and a bare connection beside it."""

    def __init__(self, link: NatsLink, store: NatsStore, bucket: str) -> None:
        self.link, self.store, self.bucket = link, store, bucket

    async def api(self, call: str, body: dict[str, object] | None = None) -> dict[str, object]:
        reply = await self.link.request(f"$JS.hub.API.{call}", json.dumps(body or {}).encode(), 5)
        answer: dict[str, object] = json.loads(reply.payload)
        return answer


async def bench(stack: AsyncExitStack, url: str) -> Bench:
    link = NatsLink(url)
    await link.start()
    stack.push_async_callback(link.aclose)
    bucket = f"bucket-{next(BUCKETS)}"
    store = await NatsStore.open(link, bucket=bucket, domain="hub")
    stack.push_async_callback(store.aclose)
    return Bench(link, store, bucket)


NO_NAMES = [{"bucket": "a.b"}, {"bucket": ""}, {"domain": "a b"}, {"domain": "*"}, {"bucket": "ü"}]


@pytest.mark.parametrize("names", NO_NAMES)
async def test_names_that_are_none(nats_servers: Nats, names: dict[str, str]) -> None:
    link = NatsLink(nats_servers.hub.url)
    await link.start()
    with pytest.raises(ConfigError, match=f"fabric.{next(iter(names))}"):
        await NatsStore.open(link, **names)
    await link.aclose()


async def test_a_domain_that_is_not_there(nats_servers: Nats) -> None:
    link = NatsLink(nats_servers.hub.url)
    await link.start()
    with pytest.raises(FabricError) as caught:
        await NatsStore.open(link, domain="elsewhere")
    assert caught.value.code == "unreachable"
    await link.aclose()


async def test_a_wiped_bucket_is_made_again_and_its_revisions_go_on(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        place = await bench(stack, nats_servers.leaf.url)
        before = await place.store.put("k.a", b"1")
        watch = await place.store.watch("k.")
        assert (await anext(aiter(watch))).revision == before
        assert (await place.api(f"STREAM.DELETE.KV_{place.bucket}"))["success"]
        after = await place.store.create("k.b", b"2")
        assert after > before
        async with asyncio.timeout(20):
            gone, new = await anext(aiter(watch)), await anext(aiter(watch))
        assert [(gone.key, gone.value), (new.key, new.value)] == [("k.a", None), ("k.b", b"2")]
        with pytest.raises(FabricError) as caught:
            await place.store.update("k.a", b"3", before)
        assert caught.value.code == "not-found"


async def test_what_the_server_marked_as_expired_is_not_there(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        place = await bench(stack, nats_servers.hub.url)
        kept = await place.store.put("k.kept", b"1")
        headers = {"Nats-Marker-Reason": "MaxAge"}
        await place.link.request(f"$JS.hub.API.$KV.{place.bucket}.k.expired", b"", 5, headers)
        assert await place.store.keys("k.") == ["k.kept"]
        with pytest.raises(FabricError) as caught:
            await place.store.get("k.expired")
        assert caught.value.code == "not-found"
        assert await place.store.create("k.expired", b"again") > kept


async def test_foreign_keys_are_dropped_and_counted(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        place = await bench(stack, nats_servers.hub.url)
        await place.link.request(f"$JS.hub.API.$KV.{place.bucket}.{'x' * 300}", b"", 5)
        await place.store.put("k", b"")
        watch = await place.store.watch("")
        assert (await anext(aiter(watch))).key == "k"
        assert await place.store.keys("") == ["k"]
        await watch.aclose()
        assert place.store.dropped == 1


async def test_revision_0_makes_nothing(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        place = await bench(stack, nats_servers.hub.url)
        for attempt in (place.store.update("k", b"", 0), place.store.delete("k", 0)):
            with pytest.raises(FabricError) as caught:
                await attempt
            assert caught.value.code == "not-found"
        assert await place.store.keys("") == []


async def test_deletions_leave_nothing_for_ever(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        place = await bench(stack, nats_servers.hub.url)
        await place.store.delete("k", await place.store.create("k", b""))
        answer = await place.api(f"STREAM.MSG.GET.KV_{place.bucket}", {"last_by_subj": f"$KV.{place.bucket}.k"})
        message = answer["message"]
        assert isinstance(message, dict)
        assert b"Nats-TTL: 24h" in base64.b64decode(message["hdrs"])


async def test_a_watch_from_a_revision_learns_of_deletions_since(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        place = await bench(stack, nats_servers.hub.url)
        revision = await place.store.create("k.a", b"")
        await place.store.delete("k.a", revision)
        watch = await place.store.watch("k.", from_revision=revision)
        entry = await anext(aiter(watch))
        assert (entry.key, entry.value) == ("k.a", None)
        fresh = await place.store.watch("k.")
        marker = await place.store.put("k.b", b"")
        assert (await anext(aiter(fresh))).revision == marker


async def test_a_closed_store_is_unreachable_and_ends_its_watches(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        place = await bench(stack, nats_servers.hub.url)
        watch = await place.store.watch("")
        await place.store.aclose()
        assert [entry async for entry in watch] == []
        for attempt in (place.store.put("a", b""), place.store.get("a"), place.store.keys(""), place.store.watch("")):
            with pytest.raises(FabricError) as caught:
                await attempt
            assert caught.value.code == "unreachable"


async def test_who_answers_for_jetstream_but_is_none(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        place = await bench(stack, nats_servers.hub.url)

        async def nonsense(message: object) -> None:
            await place.link.publish(message.reply, b"\xff{")  # type: ignore[attr-defined]

        await place.link.subscribe("$JS.liar.API.>", nonsense)
        with pytest.raises(FabricError, match="is no JetStream"):
            await NatsStore.open(place.link, domain="liar")

"""Records of the hub that a POP can read while the hub is away."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from core.errors import ConfigError, FabricError
from core.fabric.nats import NatsLink
from core.fabric.nats_mirror import MirroredStore
from tests.core.fabric.conftest import Nats, wait_linked


async def opened(stack: AsyncExitStack, url: str) -> MirroredStore:
    link = NatsLink(url)
    await link.start()
    stack.push_async_callback(link.aclose)
    store = await MirroredStore.open(link, bucket="records", domain="hub", mirror_domain="pop-a")
    stack.push_async_callback(store.aclose)
    return store


async def known_here(store: MirroredStore, key: str, value: bytes) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                if (await store._mirror.get(key)).value == value:
                    return
            except FabricError:
                pass
            await asyncio.sleep(0.02)


async def test_what_was_known_is_read_while_the_hub_is_away_and_nothing_else_is_promised(own_nats: Nats) -> None:
    async with AsyncExitStack() as stack:
        store = await opened(stack, own_nats.leaf.url)
        revision = await store.create("sessions.a", b"1")
        gone = await store.create("sessions.b", b"1")
        await store.delete("sessions.b", gone)
        await store.put("pops.x", b"2")
        await known_here(store, "pops.x", b"2")
        assert (await store.get("sessions.a")).revision == revision and store.stale_reads == 0
        own_nats.hub.stop(kill=True)
        async with asyncio.timeout(10):
            entry = await store.get("sessions.a")
            assert (entry.value, entry.revision) == (b"1", revision)
            assert await store.keys("sessions.") == ["sessions.a"]
            with pytest.raises(FabricError) as caught:
                await store.get("sessions.b")
            assert caught.value.code == "not-found"
            with pytest.raises(FabricError) as caught:
                await store.update("sessions.a", b"2", revision)
            assert caught.value.code in ("unreachable", "timeout")
        assert store.stale_reads == 2
        # A POP that starts now knows as much.
        late = await opened(stack, own_nats.leaf.url)
        assert (await late.get("sessions.a")).value == b"1"
        own_nats.hub.start()
        wait_linked(own_nats)
        async with asyncio.timeout(30):
            while True:
                try:
                    newer = await store.update("sessions.a", b"3", revision)
                    break
                except FabricError:
                    await asyncio.sleep(0.05)
        assert (await store.get("sessions.a")).revision == newer
        await known_here(store, "sessions.a", b"3")


async def test_it_is_a_store_like_any_other(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        store = await opened(stack, nats_servers.leaf.url)
        watch = await store.watch("k.")
        revision = await store.create("k.a", b"")
        with pytest.raises(FabricError) as caught:
            await store.create("k.a", b"")
        assert caught.value.code == "exists"
        assert (await anext(aiter(watch))).revision == revision
        with pytest.raises(FabricError) as caught:
            await store.get("k.b")
        assert caught.value.code == "not-found" and store.stale_reads == 0
        assert await store.keys("k.") == ["k.a"]


async def test_a_domain_that_is_no_name(nats_servers: Nats) -> None:
    link = NatsLink(nats_servers.hub.url)
    await link.start()
    with pytest.raises(ConfigError, match=r"fabric\.domain"):
        await MirroredStore.open(link, bucket="b", domain="hub", mirror_domain="a.b")
    with pytest.raises(FabricError):
        await MirroredStore.open(link, bucket="b", domain="hub", mirror_domain="elsewhere")
    await link.aclose()

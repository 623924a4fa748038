"""What is particular to the bus over NATS: servers that come and go; what all buses share is in test_bus.py."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from core.errors import FabricError
from core.fabric.bus import Message
from core.fabric.nats import NatsBus, NatsLink
from tests.core.fabric.conftest import Nats, free_ports, nats_fabric, until, wait_linked


async def test_nobody_there() -> None:
    (port,) = free_ports(1)
    with pytest.raises(FabricError, match=f"no NATS server at nats://127.0.0.1:{port}") as caught:
        await NatsLink(f"nats://127.0.0.1:{port}").start(timeout_s=0.3)
    assert caught.value.code == "unreachable"


async def test_an_address_that_is_none() -> None:
    with pytest.raises(FabricError) as caught:
        await NatsLink("nats://nowhere.invalid:port").start(timeout_s=1.0)
    assert caught.value.code == "unreachable"


async def test_subjects_of_one_namespace_do_not_reach_another(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        one = await nats_fabric(stack, nats_servers.hub.url, nats_servers.hub.url)
        two = await nats_fabric(stack, nats_servers.hub.url, nats_servers.hub.url)
        subscription = await two.bus.subscribe(">")
        await one.bus.publish("a", b"not for you")
        await two.bus.publish("a", b"for you")
        assert await anext(aiter(subscription)) == Message("a", b"for you")


async def test_a_server_that_restarts(own_nats: Nats) -> None:
    states: list[bool] = []
    async with AsyncExitStack() as stack:
        link = NatsLink(own_nats.leaf.url, on_connection=states.append)
        await link.start()
        bus = NatsBus(link)
        stack.push_async_callback(bus.aclose)
        subscription = await bus.subscribe("session.a.down")
        waiting = asyncio.create_task(bus.request("a", b""))
        await asyncio.gather(waiting, return_exceptions=True)  # nobody answers there
        own_nats.leaf.stop(kill=True)
        await until(lambda: not bus.connected)
        dropped = bus.dropped
        bus.publish_nowait("session.a.down", b"lost")
        assert bus.dropped == dropped + 1
        for attempt in (bus.request("a", b""), bus.subscribe("b")):
            with pytest.raises(FabricError) as caught:
                await attempt
            assert caught.value.code == "unreachable"
        own_nats.leaf.start()
        await until(lambda: bus.connected, 20)
        await until(lambda: states == [False, True])
        await bus.publish("session.a.down", b"again")
        assert (await anext(aiter(subscription))).payload == b"again"
        assert link.generation == 2


async def test_a_question_that_is_under_way_ends_with_the_connection(own_nats: Nats) -> None:
    async with AsyncExitStack() as stack:
        fabric = await nats_fabric(stack, own_nats.hub.url, own_nats.hub.url)
        asked = asyncio.Event()

        async def responder(_: Message) -> bytes:
            asked.set()
            await asyncio.Event().wait()
            return b""

        await fabric.other_bus.respond("ask", responder)
        asking = asyncio.create_task(fabric.bus.request("ask", b"", timeout_s=30))
        await asked.wait()
        own_nats.hub.stop(kill=True)
        async with asyncio.timeout(5):
            with pytest.raises(FabricError) as caught:
                await asking
        assert caught.value.code == "unreachable"


async def test_without_its_hub_a_leaf_goes_on_and_comes_back_with_nothing_lost(own_nats: Nats) -> None:
    async with AsyncExitStack() as stack:
        pop = await nats_fabric(stack, own_nats.leaf.url, own_nats.leaf.url)
        far_revision = await pop.store.create("sessions.a", b"1")
        watch = await pop.other_store.watch("sessions.")
        assert (await anext(aiter(watch))).key == "sessions.a"
        own_nats.hub.stop(kill=True)
        subscription = await pop.other_bus.subscribe("a")
        await pop.bus.publish("a", b"still heard")
        assert (await anext(aiter(subscription))).payload == b"still heard"
        with pytest.raises(FabricError) as caught:
            async with asyncio.timeout(8):
                await pop.store.get("sessions.a")
        assert caught.value.code in ("unreachable", "timeout")
        own_nats.hub.start()
        wait_linked(own_nats)
        async with asyncio.timeout(20):
            while True:
                try:
                    assert (await pop.store.get("sessions.a")).revision == far_revision
                    break
                except FabricError:
                    await asyncio.sleep(0.05)
            newer = await pop.store.update("sessions.a", b"2", far_revision)
            entry = await anext(aiter(watch))
        assert (entry.value, entry.revision) == (b"2", newer)


async def test_what_is_published_within_one_turn_leaves_together_and_in_order(nats_servers: Nats) -> None:
    async with AsyncExitStack() as stack:
        fabric = await nats_fabric(stack, nats_servers.hub.url, nats_servers.hub.url)
        subscription = await fabric.other_bus.subscribe("a")
        tasks = len(asyncio.all_tasks())
        for number in range(200):
            fabric.bus.publish_nowait("a", bytes([number]))
        assert len(asyncio.all_tasks()) == tasks + 1
        fabric.bus.publish_nowait("b", b"")
        assert [(await anext(aiter(subscription))).payload[0] for _ in range(200)] == list(range(200))

"""What a restarted origin does with the records of its earlier life."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.fabric.bus import Message
from core.fabric.memory import MemoryBus, MemoryStore
from core.host.clock import ManualClock
from core.limits import UTTERANCES_PER_EPOCH_MAX
from core.speech.messages import (
    Closed,
    Opened,
    Ready,
    ReplyText,
    UserText,
    decode_down,
    down_subject,
    encode,
    up_subject,
)
from origin.broker import Broker
from origin.dialogue.services import Shared
from origin.sessions import Sessions
from origin.tokens import TicketKey

pytestmark = pytest.mark.asyncio(loop_scope="module")


def broker_of(shared: Shared, bus: MemoryBus, store: MemoryStore) -> Broker:
    key = TicketKey(Ed25519PrivateKey.generate())
    return Broker(shared, Sessions(shared, bus), store, key, ManualClock(), issuer="http://origin")


def record(**changes: object) -> bytes:
    return json.dumps({"character": "mira", "epoch": 1, "pop": "local", "created_at": 1, **changes}).encode()


async def test_a_session_of_before_the_restart_goes_on(shared: Shared) -> None:
    bus, store = MemoryBus(), MemoryStore()
    await store.put("sessions.a", record())
    broker = broker_of(shared, bus, store)
    assert await broker.adopt() == broker.count == 1
    kept = json.loads((await store.get("sessions.a")).value or b"")
    assert (kept["epoch"], kept["reserved"], kept["pop"]) == (1, 2, "local")  # its POP keeps it
    down = await bus.subscribe(down_subject("a"))
    await bus.publish(up_subject("a"), encode(UserText(text="hello")))
    reply = await first_reply(down)
    assert reply.utterance_id > 2 * UTTERANCES_PER_EPOCH_MAX
    assert await broker.adopt() == 0  # its own sessions are no orphans
    await broker.aclose()
    assert await store.keys("sessions.") == []


async def test_a_mirror_stays_one(shared: Shared) -> None:
    """It answers with nothing but that it is there."""
    bus, store = MemoryBus(), MemoryStore()
    await store.put("sessions.m", record(mode="mirror"))
    broker = broker_of(shared, bus, store)
    assert await broker.adopt() == 1
    down = await bus.subscribe(down_subject("m"))
    await bus.publish(up_subject("m"), encode(UserText(text="hello")))
    await bus.publish(up_subject("m"), encode(Opened(epoch=2, transport="webrtc")))
    assert decode_down((await anext(aiter(down))).payload) == Ready(character="mira", display_name="Mira")
    await bus.publish(up_subject("m"), encode(Closed()))
    async with asyncio.timeout(5.0):
        while broker.count:
            await asyncio.sleep(0.01)
    await broker.aclose()


async def first_reply(down: object) -> ReplyText:
    async for message in down:  # type: ignore[attr-defined]
        assert isinstance(message, Message)
        decoded = decode_down(message.payload)
        if isinstance(decoded, ReplyText):
            return decoded
    raise AssertionError("no reply")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        record(epoch="x"),
        record(epoch=-1),
        record(epoch=1 << 31),
        record(character="gone"),
        record(mode="agent"),  # whoever spoke for it has lost its connection
    ],
)
async def test_what_cannot_go_on_is_deleted(shared: Shared, value: bytes) -> None:
    bus, store = MemoryBus(), MemoryStore()
    await store.put("sessions.bad", value)
    await store.put("sessions.good", record())
    broker = broker_of(shared, bus, store)
    assert await broker.adopt() == 1
    assert await store.keys("sessions.") == ["sessions.good"]
    await broker.aclose()


async def test_no_more_go_on_than_there_is_room_for(shared: Shared) -> None:
    bus, store = MemoryBus(), MemoryStore()
    for name in ("a", "b", "c"):
        await store.put(f"sessions.{name}", record())
    small = dataclasses.replace(shared, config=dataclasses.replace(shared.config, sessions_max=2))
    broker = broker_of(small, bus, store)
    assert await broker.adopt() == 2
    assert len(await store.keys("sessions.")) == 2
    await broker.aclose()

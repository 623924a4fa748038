"""What every bus promises (core/fabric/bus.py), asked of all."""

from __future__ import annotations

import asyncio

import pytest

from core import limits
from core.errors import FabricError, LocalProtocolError
from core.fabric.bus import Message, Subscription
from tests.core.fabric.conftest import Fabric


async def take(subscription: Subscription, count: int) -> list[Message]:
    messages = []
    async with asyncio.timeout(5):
        async for message in subscription:
            messages.append(message)
            if len(messages) == count:
                break
    return messages


async def test_a_message_reaches_every_subscription_in_order(fabric: Fabric) -> None:
    first = await fabric.other_bus.subscribe("session.a.down")
    second = await fabric.bus.subscribe("session.a.down")
    await fabric.settle()
    for number in range(100):
        await fabric.bus.publish("session.a.down", bytes([number]))
    expected = [Message("session.a.down", bytes([number])) for number in range(100)]
    assert await take(first, 100) == expected
    assert await take(second, 100) == expected


async def test_what_is_published_right_after_a_subscription_arrives(fabric: Fabric) -> None:
    for number in range(50):
        subscription = await fabric.other_bus.subscribe(f"soon.{number}")
        await fabric.settle()
        await fabric.bus.publish(f"soon.{number}", b"")
        assert await take(subscription, 1) == [Message(f"soon.{number}", b"")]


async def test_wildcards_take_tokens_and_rests(fabric: Fabric) -> None:
    star = await fabric.other_bus.subscribe("session.*.up")
    rest = await fabric.other_bus.subscribe("session.>")
    await fabric.settle()
    for subject in ("session.a.up", "session.a.down", "session.a.b.up", "pops.x", "session.b.up"):
        await fabric.bus.publish(subject, b"")
    assert [message.subject for message in await take(star, 2)] == ["session.a.up", "session.b.up"]
    assert [message.subject for message in await take(rest, 4)] == [
        "session.a.up",
        "session.a.down",
        "session.a.b.up",
        "session.b.up",
    ]


async def test_nowait_is_the_same(fabric: Fabric) -> None:
    subscription = await fabric.other_bus.subscribe("a")
    await fabric.settle()
    fabric.bus.publish_nowait("a", b"1")
    await fabric.bus.publish("a", b"2")
    assert [message.payload for message in await take(subscription, 2)] == [b"1", b"2"]


async def test_a_closed_subscription_ends_and_hears_no_more(fabric: Fabric) -> None:
    subscription = await fabric.other_bus.subscribe("a")
    await subscription.aclose()
    await subscription.aclose()
    await fabric.settle()
    await fabric.bus.publish("a", b"")
    assert [message async for message in subscription] == []


async def test_a_reader_that_waits_is_woken_by_the_end(fabric: Fabric) -> None:
    subscription = await fabric.other_bus.subscribe("a")

    async def read() -> list[Message]:
        return [message async for message in subscription]

    reader = asyncio.create_task(read())
    await asyncio.sleep(0)
    await fabric.settle()
    await fabric.other_bus.aclose()
    assert await asyncio.wait_for(reader, 5) == []
    with pytest.raises(FabricError) as caught:
        await fabric.other_bus.publish("a", b"")
    assert caught.value.code == "unreachable"


async def test_overflow_drops_the_oldest_and_counts(fabric: Fabric) -> None:
    subscription = await fabric.other_bus.subscribe("a")
    last = await fabric.other_bus.subscribe("end")
    extra = 10
    await fabric.settle()
    for number in range(limits.FABRIC_QUEUE_MESSAGES_MAX + extra):
        await fabric.bus.publish("a", number.to_bytes(4, "big"))
    await fabric.bus.publish("end", b"")
    await take(last, 1)
    assert subscription.dropped == extra
    messages = await take(subscription, limits.FABRIC_QUEUE_MESSAGES_MAX)
    assert int.from_bytes(messages[0].payload, "big") == extra
    assert int.from_bytes(messages[-1].payload, "big") == limits.FABRIC_QUEUE_MESSAGES_MAX + extra - 1


async def test_a_request_is_answered(fabric: Fabric) -> None:
    async def responder(message: Message) -> bytes:
        await asyncio.sleep(0)
        return message.subject.encode() + message.payload

    await fabric.other_bus.respond("ask.*", responder)
    await fabric.settle()
    answers = await asyncio.gather(*(fabric.bus.request(f"ask.{n}", bytes([n])) for n in range(20)))
    assert answers == [f"ask.{n}".encode() + bytes([n]) for n in range(20)]


async def test_several_responders_take_turns(fabric: Fabric) -> None:
    async def one(_: Message) -> bytes:
        return b"one"

    async def two(_: Message) -> bytes:
        return b"two"

    await fabric.other_bus.respond("ask", one)
    second = await fabric.other_bus.respond("ask", two)
    await fabric.settle()
    async with asyncio.timeout(10):
        answers: set[bytes] = set()
        while answers != {b"one", b"two"}:  # where one is drawn by lot this ends soon, not at a known time
            answers.add(await fabric.bus.request("ask", b""))
    await second.aclose()
    await fabric.other_bus.request("ask", b"")  # the server has heard of the end: it keeps each client's order
    await fabric.settle()
    assert {await fabric.bus.request("ask", b"") for _ in range(4)} == {b"one"}


async def test_nobody_answers(fabric: Fabric) -> None:
    with pytest.raises(FabricError) as caught:
        await fabric.bus.request("ask", b"")
    assert caught.value.code == "no-responder"


async def test_a_responder_that_takes_too_long(fabric: Fabric) -> None:
    async def responder(_: Message) -> bytes:
        await asyncio.Event().wait()
        return b""

    await fabric.other_bus.respond("ask", responder)
    await fabric.settle()
    with pytest.raises(FabricError) as caught:
        await fabric.bus.request("ask", b"", timeout_s=0.02)
    assert caught.value.code == "timeout"


async def test_a_responder_that_fails_is_told_apart(fabric: Fabric, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: Message) -> bytes:
        raise KeyError("secret detail")

    async def refusing(_: Message) -> bytes:
        raise FabricError("conflict", "no")

    await fabric.other_bus.respond("broken", broken)
    await fabric.other_bus.respond("refusing", refusing)
    await fabric.settle()
    with pytest.raises(FabricError) as caught:
        await fabric.bus.request("broken", b"")
    assert caught.value.code == "responder-failed"
    assert "secret detail" not in str(caught.value)
    assert "secret detail" in caplog.text
    with pytest.raises(FabricError) as caught:
        await fabric.bus.request("refusing", b"")
    assert (caught.value.code, str(caught.value)) == ("conflict", "no")


async def test_publications_do_not_reach_responders(fabric: Fabric) -> None:
    asked: list[Message] = []

    async def responder(message: Message) -> bytes:
        asked.append(message)
        return b""

    subscription = await fabric.other_bus.subscribe("a")
    await fabric.other_bus.respond("a", responder)
    await fabric.settle()
    await fabric.bus.publish("a", b"published")
    await fabric.bus.request("a", b"requested")
    assert [message.payload for message in asked] == [b"requested"]
    assert [message.payload for message in await take(subscription, 1)] == [b"published"]


async def test_sizes_are_bounded(fabric: Fabric) -> None:
    largest = bytes(limits.FABRIC_MESSAGE_SIZE_BYTES_MAX)
    subscription = await fabric.other_bus.subscribe("a")
    await fabric.settle()
    await fabric.bus.publish("a", largest)
    assert (await take(subscription, 1))[0].payload == largest
    with pytest.raises(FabricError) as caught:
        await fabric.bus.publish("a", largest + b"x")
    assert caught.value.code == "too-large"
    with pytest.raises(FabricError) as caught:
        await fabric.bus.request("a", largest + b"x")
    assert caught.value.code == "too-large"


async def test_an_answer_that_is_too_large(fabric: Fabric) -> None:
    async def responder(_: Message) -> bytes:
        return bytes(limits.FABRIC_MESSAGE_SIZE_BYTES_MAX + 1)

    await fabric.other_bus.respond("ask", responder)
    await fabric.settle()
    with pytest.raises(FabricError) as caught:
        await fabric.bus.request("ask", b"")
    assert caught.value.code == "too-large"


@pytest.mark.parametrize("subject", ["", ".", "a..b", "a.", "a b", "a.*", "a.>", ">", "x" * 300, "a\n.b"])
async def test_what_is_no_subject(fabric: Fabric, subject: str) -> None:
    with pytest.raises(LocalProtocolError):
        await fabric.bus.publish(subject, b"")
    with pytest.raises(LocalProtocolError):
        await fabric.bus.request(subject, b"")


@pytest.mark.parametrize("pattern", ["", "a..b", "a.>.b", "a*", "a.b>", "*a.b"])
async def test_what_is_no_pattern(fabric: Fabric, pattern: str) -> None:
    async def responder(_: Message) -> bytes:
        return b""

    with pytest.raises(LocalProtocolError):
        await fabric.bus.subscribe(pattern)
    with pytest.raises(LocalProtocolError):
        await fabric.bus.respond(pattern, responder)

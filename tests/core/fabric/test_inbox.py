from __future__ import annotations

import asyncio

import pytest

from core.fabric.bus import Message
from core.fabric.inbox import EntryInbox, MessageInbox
from core.fabric.store import Entry


def message(number: int) -> Message:
    return Message("a", bytes([number]))


async def test_a_full_inbox_keeps_the_newest() -> None:
    inbox = MessageInbox(capacity=3)
    for number in range(5):
        inbox.push(message(number))
    assert (len(inbox), inbox.dropped) == (3, 2)
    assert [await anext(inbox) for _ in range(3)] == [message(2), message(3), message(4)]


async def test_close_leaves_what_is_queued_aclose_does_not() -> None:
    inbox = MessageInbox()
    inbox.push(message(1))
    inbox.close()
    inbox.push(message(2))
    assert [item async for item in inbox] == [message(1)]
    inbox = MessageInbox()
    inbox.push(message(1))
    await inbox.aclose()
    assert [item async for item in inbox] == []


async def test_on_close_is_called_once() -> None:
    calls: list[int] = []
    inbox = MessageInbox(lambda: calls.append(1))
    inbox.close()
    await inbox.aclose()
    assert calls == [1]


async def test_a_cancelled_reader_loses_nothing() -> None:
    inbox = MessageInbox()
    reader = asyncio.ensure_future(anext(inbox))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    inbox.push(message(1))
    assert await anext(inbox) == message(1)


async def test_a_second_reader_is_refused() -> None:
    inbox = MessageInbox()
    reader = asyncio.ensure_future(anext(inbox))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one reader"):
        await anext(inbox)
    inbox.push(message(1))
    assert await reader == message(1)


async def test_unread_states_of_a_key_are_replaced_by_newer_ones() -> None:
    inbox = EntryInbox()
    for revision, key in enumerate("abab", start=1):
        inbox.push(Entry(key, b"", revision))
    inbox.close()
    inbox.push(Entry("late", b"", 9))
    assert len(inbox) == 2
    assert [entry async for entry in inbox] == [Entry("a", b"", 3), Entry("b", b"", 4)]


async def test_a_waiting_watcher_is_woken() -> None:
    inbox = EntryInbox()
    reader = asyncio.ensure_future(anext(inbox))
    await asyncio.sleep(0)
    inbox.push(Entry("a", None, 1))
    assert await reader == Entry("a", None, 1)
    inbox.push(Entry("a", None, 2))
    await inbox.aclose()
    assert [entry async for entry in inbox] == []

"""Bounded queues between whoever delivers (never waits) and whoever iterates (may be slow)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from core import limits
from core.fabric.bus import Message
from core.fabric.store import Entry

__all__ = ["EntryInbox", "MessageInbox"]


class _Inbox:
    """One waiting reader, woken when something is there or the queue is closed."""

    def __init__(self, on_close: Callable[[], None] | None = None) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self.on_close = on_close
        self.closed = False

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("a subscription or watch has one reader")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        """End the iteration once what is queued has been read. Twice is once."""
        if self.closed:
            return
        self.closed = True
        if self.on_close is not None:
            self.on_close()
        self._wake()

    async def aclose(self) -> None:
        """Stop receiving and forget what is queued."""
        self.close()


class MessageInbox(_Inbox):
    """The subscription both buses hand out. Overflow drops the oldest message: what is new is worth more."""

    def __init__(
        self,
        on_close: Callable[[], None] | None = None,
        capacity: int = limits.FABRIC_QUEUE_MESSAGES_MAX,
    ) -> None:
        super().__init__(on_close)
        self._queue: deque[Message] = deque()
        self._capacity = capacity
        self.dropped = 0

    def push(self, message: Message) -> None:
        """Queue a message; never waits."""
        if self.closed:
            return
        if len(self._queue) >= self._capacity:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(message)
        self._wake()

    def __len__(self) -> int:
        return len(self._queue)

    def __aiter__(self) -> MessageInbox:
        return self

    async def __anext__(self) -> Message:
        while not self._queue:
            if self.closed:
                raise StopAsyncIteration
            await self._wait()
        return self._queue.popleft()

    async def aclose(self) -> None:
        """Stop receiving and forget what is queued."""
        self._queue.clear()
        self.close()


class EntryInbox(_Inbox):
    """The watch both stores hand out. A reader that lags sees only the newest state of each key, so keys bound it."""

    def __init__(self, on_close: Callable[[], None] | None = None) -> None:
        super().__init__(on_close)
        self._queue: dict[str, Entry] = {}

    def push(self, entry: Entry) -> None:
        """Queue a change; never waits. Overtakes and replaces an unread older state of the same key."""
        if self.closed:
            return
        self._queue.pop(entry.key, None)
        self._queue[entry.key] = entry
        self._wake()

    def __len__(self) -> int:
        return len(self._queue)

    def __aiter__(self) -> EntryInbox:
        return self

    async def __anext__(self) -> Entry:
        while not self._queue:
            if self.closed:
                raise StopAsyncIteration
            await self._wait()
        return self._queue.pop(next(iter(self._queue)))

    async def aclose(self) -> None:
        """Stop receiving and forget what is queued."""
        self._queue.clear()
        self.close()

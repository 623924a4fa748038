"""Bus and store inside one process: what tests use, and what the local fabric's server keeps its state in."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from core import limits
from core.errors import FabricError
from core.fabric.bus import Message, Responder
from core.fabric.inbox import EntryInbox, MessageInbox
from core.fabric.store import Entry
from core.fabric.subjects import Routes, check_subject

__all__ = ["MemoryBus", "MemoryStore", "check_size"]

_log = logging.getLogger(__name__)

Sink = Callable[[Message], None]


def check_size(payload: bytes) -> None:
    """Raises: FabricError: `too-large`, beyond limits.FABRIC_MESSAGE_SIZE_BYTES_MAX."""
    if len(payload) > limits.FABRIC_MESSAGE_SIZE_BYTES_MAX:
        raise FabricError(
            "too-large", f"{len(payload)} bytes, at most {limits.FABRIC_MESSAGE_SIZE_BYTES_MAX} fit into a message"
        )


class MemoryBus:
    """`core.fabric.bus.Bus` for one event loop.

    Requests go to responders only, publications to subscriptions only. Of several responders one answers, in turn.
    """

    def __init__(self) -> None:
        self._sinks: Routes[Sink] = Routes()
        self._responders: Routes[Responder] = Routes()
        self._turn = itertools.count()
        self._open: set[MessageInbox] = set()
        self._closed = False

    @property
    def connected(self) -> bool:
        """See `Bus.connected`."""
        return not self._closed

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        """See `Bus.publish_nowait`."""
        check_size(payload)
        if self._closed:
            raise FabricError("unreachable", "the bus is closed")
        sinks = self._sinks.find(subject)
        if sinks:
            message = Message(subject, payload)
            for sink in sinks:
                sink(message)

    async def publish(self, subject: str, payload: bytes) -> None:
        """See `Bus.publish`."""
        self.publish_nowait(subject, payload)

    def attach(self, pattern: str, sink: Sink) -> Callable[[], None]:
        """Call `sink` with every message under `pattern`, at once and without a queue, until the returned function is
        called. For whoever has a bounded queue already; `sink` must not raise.
        """
        if self._closed:
            raise FabricError("unreachable", "the bus is closed")
        self._sinks.add(pattern, sink)
        return lambda: self._sinks.remove(pattern, sink)

    async def subscribe(self, subject: str) -> MessageInbox:
        """See `Bus.subscribe`."""
        inbox = MessageInbox()
        detach = self.attach(subject, inbox.push)
        return self._keep(inbox, detach)

    async def respond(self, subject: str, responder: Responder) -> MessageInbox:
        """See `Bus.respond`. The responder runs in the task of whoever asks."""
        if self._closed:
            raise FabricError("unreachable", "the bus is closed")
        self._responders.add(subject, responder)
        return self._keep(MessageInbox(), lambda: self._responders.remove(subject, responder))

    async def request(self, subject: str, payload: bytes, timeout_s: float = 2.0) -> bytes:
        """See `Bus.request`."""
        check_size(payload)
        if self._closed:
            raise FabricError("unreachable", "the bus is closed")
        responders = self._responders.find(subject)
        if not responders:
            raise FabricError("no-responder", f"nobody answers on {subject}")
        responder = responders[next(self._turn) % len(responders)]
        try:
            async with asyncio.timeout(timeout_s):
                answer = await responder(Message(subject, payload))
        except TimeoutError:
            raise FabricError("timeout", f"no answer on {subject} within {timeout_s:g} s") from None
        except FabricError:
            raise
        except Exception as error:
            # The responder's fault: it is told in its own log, the asker learns only that it failed.
            _log.exception("responder on %s failed", subject)
            raise FabricError("responder-failed", f"{type(error).__name__} while answering on {subject}") from error
        check_size(answer)
        return answer

    def _keep(self, inbox: MessageInbox, detach: Callable[[], None]) -> MessageInbox:
        def on_close() -> None:
            detach()
            self._open.discard(inbox)

        inbox.on_close = on_close
        self._open.add(inbox)
        return inbox

    async def aclose(self) -> None:
        """See `Bus.aclose`."""
        self._closed = True
        for inbox in list(self._open):
            inbox.close()


class MemoryStore:
    """`core.fabric.store.Store` for one event loop; every operation is one uninterrupted step.

    Args:
        revision: the revision before the first write. A server that starts afresh passes one beyond all that its
            predecessor can have handed out, so that revisions increase for ever.
    """

    def __init__(self, revision: int = 0) -> None:
        self._entries: dict[str, Entry] = {}
        self._revision = revision
        self._watches: list[tuple[str, Callable[[Entry], None]]] = []
        self._open: set[EntryInbox] = set()
        self._closed = False

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._revision

    def _check(self, key: str) -> None:
        if self._closed:
            raise FabricError("unreachable", "the store is closed")
        check_subject(key)

    def _write(self, key: str, value: bytes | None) -> int:
        self.apply(Entry(key, value, self._revision + 1))
        return self._revision

    def apply(self, entry: Entry) -> None:
        """Make a write visible that somebody else has checked; its revision is beyond the newest."""
        self._revision = entry.revision
        # Re-inserted at the end: the dictionary stays in the order of revisions.
        self._entries.pop(entry.key, None)
        if entry.value is not None:
            self._entries[entry.key] = entry
        for prefix, sink in list(self._watches):
            if entry.key.startswith(prefix):
                sink(entry)

    def restore(self, entry: Entry) -> None:
        """Take over an entry of an earlier life; the newest revision stays. In the order of revisions."""
        self._entries[entry.key] = entry

    def entry(self, key: str) -> Entry | None:
        """The live entry of a key, if there is one."""
        return self._entries.get(key)

    def _current(self, key: str, revision: int) -> None:
        entry = self._entries.get(key)
        if entry is None:
            raise FabricError("not-found", f"no key {key}")
        if entry.revision != revision:
            raise FabricError("conflict", f"{key} is at revision {entry.revision}, not {revision}")

    async def create(self, key: str, value: bytes) -> int:
        """See `Store.create`."""
        self._check(key)
        check_size(value)
        if key in self._entries:
            raise FabricError("exists", f"{key} exists already")
        return self._write(key, value)

    async def get(self, key: str) -> Entry:
        """See `Store.get`."""
        self._check(key)
        entry = self._entries.get(key)
        if entry is None:
            raise FabricError("not-found", f"no key {key}")
        return entry

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """See `Store.update`."""
        self._check(key)
        check_size(value)
        self._current(key, revision)
        return self._write(key, value)

    async def put(self, key: str, value: bytes) -> int:
        """See `Store.put`."""
        self._check(key)
        check_size(value)
        return self._write(key, value)

    async def delete(self, key: str, revision: int) -> None:
        """See `Store.delete`."""
        self._check(key)
        self._current(key, revision)
        self._write(key, None)

    def holds(self, key: str) -> bool:
        """Whether the key is alive."""
        return key in self._entries

    async def keys(self, prefix: str) -> list[str]:
        """See `Store.keys`."""
        if self._closed:
            raise FabricError("unreachable", "the store is closed")
        return sorted(key for key in self._entries if key.startswith(prefix))

    def attach(self, prefix: str, from_revision: int, sink: Callable[[Entry], None]) -> Callable[[], None]:
        """Call `sink` with the current entries newer than `from_revision`, in their order, then with every change,
        until the returned function is called; `sink` must not raise.
        """
        if self._closed:
            raise FabricError("unreachable", "the store is closed")
        for entry in list(self._entries.values()):
            if entry.revision > from_revision and entry.key.startswith(prefix):
                sink(entry)
        watch = (prefix, sink)
        self._watches.append(watch)
        return lambda: self._watches.remove(watch) if watch in self._watches else None

    async def watch(self, prefix: str, from_revision: int = 0) -> EntryInbox:
        """See `Store.watch`."""
        inbox = EntryInbox()
        detach = self.attach(prefix, from_revision, inbox.push)

        def on_close() -> None:
            detach()
            self._open.discard(inbox)

        inbox.on_close = on_close
        self._open.add(inbox)
        return inbox

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        self._closed = True
        for inbox in list(self._open):
            inbox.close()

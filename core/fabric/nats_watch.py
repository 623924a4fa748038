"""Following a JetStream bucket: a consumer that notices when it has missed something and begins again there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg

from core.errors import FabricError, LocalProtocolError
from core.fabric.inbox import EntryInbox
from core.fabric.nats import NatsLink
from core.fabric.store import Entry
from core.fabric.subjects import check_subject
from core.limits import FABRIC_CALL_S_MAX

__all__ = ["Change", "NatsWatch", "is_deletion", "read_once", "subject_filter"]

_log = logging.getLogger(__name__)

_BEAT_S: Final = 1.0
_SILENCE_S_MAX: Final = 3.5
"""Three heartbeats missed: the consumer is gone, or the way to it."""
_RETRY_S: Final = 0.25
_INACTIVE_S: Final = 30.0
"""The server forgets a consumer that nobody listens to after this."""
_ACK_TOKENS: Final = 9
"""`$JS.ACK.stream.consumer.deliveries.sequence.consumer-sequence.time.pending`; newer ones add domain and account."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key's state; value None: deleted."""

    key: str
    value: bytes | None
    revision: int


class _State(msgspec.Struct, frozen=True):
    last_seq: int = 0


class _StreamInfo(msgspec.Struct, frozen=True):
    state: _State = _State()
    error: dict[str, Any] | None = None


class _ConsumerInfo(msgspec.Struct, frozen=True):
    name: str = ""
    num_pending: int = 0
    error: dict[str, Any] | None = None


def is_deletion(headers: Mapping[str, str]) -> bool:
    """Whether a message marks a deletion: a client's (DEL, PURGE), or the server's when something has expired."""
    return headers.get("KV-Operation", "") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers


def subject_filter(bucket: str, prefix: str) -> str:
    """The narrowest subject that covers all keys with this prefix."""
    tokens, _, _ = prefix.rpartition(".")
    return f"$KV.{bucket}.{tokens}.>" if tokens else f"$KV.{bucket}.>"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message was in the stream and among those delivered to a consumer."""

    revision: int
    delivered: int
    pending: int


def _place(reply: str) -> _Place | None:
    tokens = reply.split(".")
    if tokens[:2] != ["$JS", "ACK"] or len(tokens) < _ACK_TOKENS:
        return None
    rest = tokens[5:9] if len(tokens) == _ACK_TOKENS else tokens[7:11]
    try:
        return _Place(int(rest[0]), int(rest[1]), int(rest[3]))
    except (ValueError, IndexError):
        return None


class _Consumer:
    """One ephemeral push consumer: hands over messages in order until a gap, a silence or the end."""

    def __init__(self, link: NatsLink, api: str, bucket: str, stream: str = "") -> None:
        self._link = link
        self._api = api
        self._bucket = bucket
        self._stream = stream or f"KV_{bucket}"
        self._delivered = 0
        self._end: Callable[[], None] | None = None
        self.broken = asyncio.Event()
        self.heard_at = asyncio.get_running_loop().time()
        self.dropped = 0

    async def open(
        self, prefix: str, start: int, on_change: Callable[[Change, int], None], *, headers_only: bool = False
    ) -> int:
        """Begin at a sequence number. Gives how many messages are there already. Raises: FabricError."""
        inbox = self._link.new_inbox()

        async def on_message(message: Msg) -> None:
            self._take(message, on_change)

        self._end = await self._link.subscribe(inbox, on_message)
        config = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(1, start),
            "ack_policy": "none",
            "deliver_subject": inbox,
            "filter_subject": subject_filter(self._bucket, prefix),
            "idle_heartbeat": int(_BEAT_S * 1e9),
            "inactive_threshold": int(_INACTIVE_S * 1e9),
            "headers_only": headers_only,
            "mem_storage": True,
            "num_replicas": 1,
        }
        stream = self._stream
        body = msgspec.json.encode({"stream_name": stream, "config": config})
        try:
            info: _ConsumerInfo = await ask(self._link, f"{self._api}.CONSUMER.CREATE.{stream}", body, _ConsumerInfo)
        except BaseException:
            self.close()
            raise
        return info.num_pending

    def _take(self, message: Msg, on_change: Callable[[Change, int], None]) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        headers = message.headers or {}
        if headers.get("Status"):  # a heartbeat, which says how much there should have been
            last = headers.get("Nats-Last-Consumer", "")
            if last.isdecimal() and int(last) != self._delivered:
                self.broken.set()
            return
        place = _place(message.reply)
        if place is None:
            self.dropped += 1
            return
        if place.delivered != self._delivered + 1:
            self.broken.set()
            return
        self._delivered = place.delivered
        key = message.subject.removeprefix(f"$KV.{self._bucket}.")
        try:
            check_subject(key)
        except LocalProtocolError:  # written by somebody else than a store of ours
            self.dropped += 1
            return
        value = None if is_deletion(headers) else message.data
        on_change(Change(key, value, place.revision), place.pending)

    def close(self) -> None:
        if self._end is not None:
            self._end()
            self._end = None


async def ask(link: NatsLink, subject: str, body: bytes, answer: type[Any]) -> Any:
    """One call of JetStream's API. Raises: FabricError: `unreachable`, also when it refuses; `timeout`."""
    try:
        reply = await link.request(subject, body, FABRIC_CALL_S_MAX)
        info = msgspec.json.decode(reply.payload, type=answer)
    except FabricError as error:
        if error.code == "no-responder":
            raise FabricError("unreachable", "the JetStream domain is out of reach") from None
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FabricError("unreachable", f"what answers on {subject} is no JetStream") from None
    if info.error is not None:
        raise FabricError("unreachable", f"JetStream refuses ({info.error.get('description', 'it does not say why')})")
    return info


async def read_once(link: NatsLink, api: str, bucket: str, prefix: str, stream: str = "") -> set[str]:
    """The live keys with this prefix.

    Args:
        stream: that has the bucket; empty: its own.
    Raises: FabricError: `unreachable`, `timeout`.
    """
    alive: set[str] = set()
    complete = asyncio.Event()
    expected: int | None = None
    seen = 0

    def on_change(change: Change, pending: int) -> None:
        nonlocal seen
        seen += 1
        if change.key.startswith(prefix):
            if change.value is None:
                alive.discard(change.key)
            else:
                alive.add(change.key)
        if pending == 0 or seen == expected:
            complete.set()

    consumer = _Consumer(link, api, bucket, stream)
    try:
        expected = await consumer.open(prefix, 1, on_change, headers_only=True)
        if expected > seen:
            waits = {asyncio.ensure_future(complete.wait()), asyncio.ensure_future(consumer.broken.wait())}
            try:
                await asyncio.wait(waits, timeout=FABRIC_CALL_S_MAX, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if not complete.is_set():
                raise FabricError("timeout", f"the keys of {bucket} do not come")
    finally:
        consumer.close()
    return alive


class NatsWatch:
    """One `Store.watch`: `inbox` is what the caller iterates.

    It begins anew after every reconnection, gap and silence, from the last revision it has seen, and reports what is
    gone by then: the mark of a deletion may have expired, or the whole bucket may have been wiped.

    Attributes:
        dropped: messages of the bucket that no store of ours can have written.
    """

    def __init__(self, link: NatsLink, api: str, bucket: str, prefix: str, from_revision: int) -> None:
        self.inbox = EntryInbox()
        self.dropped = 0
        self._link = link
        self._api = api
        self._bucket = bucket
        self._prefix = prefix
        self._revision = from_revision
        self._fresh = from_revision == 0
        self._known: set[str] = set()
        self._consumer: _Consumer | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin. Raises: FabricError: `unreachable`, `timeout`."""
        await self._attach(self._revision + 1)
        self._link.on_reconnected.append(self._reconnected)
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="nats-watch")

    def stop(self) -> None:
        """End."""
        if self._keeper is not None:
            self._keeper.cancel()
        if self._reconnected in self._link.on_reconnected:
            self._link.on_reconnected.remove(self._reconnected)
        self._drop_consumer()

    def _reconnected(self) -> None:
        if self._consumer is not None:
            self._consumer.broken.set()

    def _drop_consumer(self) -> None:
        if self._consumer is not None:
            self.dropped += self._consumer.dropped
            self._consumer.close()
            self._consumer = None

    async def _attach(self, start: int) -> None:
        self._drop_consumer()
        consumer = _Consumer(self._link, self._api, self._bucket)
        await consumer.open(self._prefix, start, self._changed)
        self._consumer = consumer

    def _changed(self, change: Change, pending: int) -> None:
        # A watch that knows nothing yet is not told of what was deleted before it came.
        is_news = change.value is not None or change.key in self._known or not self._fresh
        self._fresh = self._fresh and pending > 0
        self._revision = max(self._revision, change.revision)
        if not change.key.startswith(self._prefix):
            return
        if change.value is None:
            self._known.discard(change.key)
        else:
            self._known.add(change.key)
        if is_news:
            self.inbox.push(Entry(change.key, change.value, change.revision))

    async def _keep(self) -> None:
        while True:
            await self._until_broken()
            while True:
                try:
                    await self._resume()
                    break
                except FabricError as error:
                    _log.debug("NATS watch of %s: %s", self._prefix, error)
                await asyncio.sleep(_RETRY_S)

    async def _until_broken(self) -> None:
        loop = asyncio.get_running_loop()
        consumer = self._consumer
        while consumer is not None and not consumer.broken.is_set():
            left_s = consumer.heard_at + _SILENCE_S_MAX - loop.time()
            if left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(consumer.broken.wait(), left_s)

    async def _resume(self) -> None:
        info: _StreamInfo = await ask(self._link, f"{self._api}.STREAM.INFO.KV_{self._bucket}", b"", _StreamInfo)
        wiped = info.state.last_seq < self._revision
        alive = await read_once(self._link, self._api, self._bucket, self._prefix)
        for key in self._known - alive:
            self.inbox.push(Entry(key, None, max(self._revision, info.state.last_seq)))
        self._known &= alive
        await self._attach(1 if wiped else self._revision + 1)

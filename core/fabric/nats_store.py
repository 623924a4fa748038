"""The store over NATS JetStream: a key-value bucket in one domain, usable from the hub and from every leaf.

The bucket is a stream like those of NATS's own key-value clients, one message per key. Every write is a publication to
`$JS.<domain>.API.$KV.<bucket>.<key>`, which reaches the domain across leaf nodes; the clients' own `$KV.…` would end in
the nearest domain. A compare-and-set is the header Nats-Expected-Last-Subject-Sequence. Nothing expires: a lease that
the server drops by its own clock is lost without anybody deciding so. Only the marks of deletions do, after a day.

A write whose answer is lost (`timeout`, `unreachable`) may have happened: read again before trying again. Revisions are
sequence numbers of the stream; one that has to be made anew begins beyond all that the old one can have handed out.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from typing import Final, TypeVar

import msgspec

from core.errors import ConfigError, FabricError
from core.fabric.inbox import EntryInbox
from core.fabric.memory import check_size
from core.fabric.nats import NatsLink
from core.fabric.nats_watch import Change, NatsWatch, is_deletion, read_once
from core.fabric.store import Entry
from core.fabric.subjects import check_subject
from core.limits import FABRIC_CALL_S_MAX, FABRIC_MESSAGE_SIZE_BYTES_MAX

__all__ = ["NatsStore"]

_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_DELETION_LIFETIME: Final = "24h"
"""So long a watch that was away is told of a deletion by its mark; later it learns of it from the keys that are
left."""
_HEADERS_SIZE_BYTES: Final = 1_024
_WRONG_SEQUENCE: Final = frozenset({10_071, 10_164})
_NO_MESSAGE: Final = 10_037
_NO_STREAM: Final = 10_059

_Answer = TypeVar("_Answer", bound=msgspec.Struct)


class _ApiError(msgspec.Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct, frozen=True):
    """The answer to a publication."""

    seq: int = 0
    error: _ApiError | None = None


class _Message(msgspec.Struct, frozen=True):
    seq: int
    hdrs: str = ""
    data: str = ""


class _GetAnswer(msgspec.Struct, frozen=True):
    message: _Message | None = None
    error: _ApiError | None = None


class _StreamConfig(msgspec.Struct, frozen=True):
    allow_msg_ttl: bool = False


class _StreamAnswer(msgspec.Struct, frozen=True):
    config: _StreamConfig = _StreamConfig()
    error: _ApiError | None = None


class NatsStore:
    """`core.fabric.store.Store` in a JetStream bucket; open with `await NatsStore.open(link, …)`.

    Closing it ends its watches; the link stays.

    Attributes:
        dropped: answers and changes that were not what JetStream or this store writes, and were ignored.
    """

    def __init__(self, link: NatsLink, bucket: str, domain: str, *, stream: str = "") -> None:
        self._link = link
        self._bucket = bucket
        self._domain = domain
        self._stream = stream or f"KV_{bucket}"
        self._api = f"$JS.{domain}.API"
        self._marks: dict[str, str] = {}
        self._watches: set[NatsWatch] = set()
        self._closed = False
        self.dropped = 0

    @classmethod
    async def open(cls, link: NatsLink, *, bucket: str = "visavis", domain: str = "hub") -> NatsStore:
        """Use the bucket, or make it.

        Raises: ConfigError: bucket or domain are no names; FabricError: `unreachable`, the domain does not answer.
        """
        store = cls(link, bucket, domain)
        store.check_names()
        await store.prepare()
        return store

    def check_names(self) -> None:
        """Raises: ConfigError: bucket or domain are no names."""
        for what, name in (("bucket", self._bucket), ("domain", self._domain)):
            if not name or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
                raise ConfigError(f"fabric.{what} {name!r} is no name; use letters, digits, - and _")

    async def prepare(self) -> None:
        """Make the bucket if it is not there. Raises: FabricError: `unreachable`, the domain does not answer."""
        await self._ensure_stream()

    async def _ensure_stream(self) -> bool:
        """Whether it had to be made."""
        answer = await self._ask(f"STREAM.INFO.{self._stream}", b"", _StreamAnswer)
        missing = answer.error is not None and answer.error.err_code == _NO_STREAM
        if missing:
            answer = await self._ask(
                f"STREAM.CREATE.{self._stream}", msgspec.json.encode(self._stream_config()), _StreamAnswer
            )
        if answer.error is not None:
            raise FabricError("unreachable", f"JetStream has no bucket {self._bucket} ({answer.error.description})")
        self._marks = {"Nats-TTL": _DELETION_LIFETIME} if answer.config.allow_msg_ttl else {}
        return missing

    def _stream_config(self) -> dict[str, object]:
        return {
            "name": self._stream,
            "subjects": [f"$KV.{self._bucket}.>"],
            "max_msgs_per_subject": 1,
            "max_msg_size": FABRIC_MESSAGE_SIZE_BYTES_MAX + _HEADERS_SIZE_BYTES,
            "discard": "new",
            "storage": "file",
            "num_replicas": 1,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_msg_ttl": True,
            "first_seq": time.time_ns() // 1_000,
        }

    # --- calls -------------------------------------------------------------------------------------------------

    async def _call(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> bytes:
        if self._closed:
            raise FabricError("unreachable", "the store is closed")
        try:
            reply = await self._link.request(f"{self._api}.{subject}", payload, FABRIC_CALL_S_MAX, headers)
        except FabricError as error:
            if error.code == "no-responder":
                raise FabricError("unreachable", f"JetStream's domain of {self._api} is out of reach") from None
            raise
        return reply.payload

    async def _ask(self, subject: str, payload: bytes, answer: type[_Answer]) -> _Answer:
        return self._decode(await self._call(subject, payload), answer)

    def _decode(self, payload: bytes, answer: type[_Answer]) -> _Answer:
        try:
            return msgspec.json.decode(payload, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.dropped += 1
            raise FabricError("unreachable", f"what answers on {self._api} is no JetStream") from None

    async def _publish(self, key: str, value: bytes, headers: dict[str, str]) -> int | None:
        """The new revision; None: the expected one is not the newest."""
        subject = f"$KV.{self._bucket}.{key}"
        try:
            payload = await self._call(subject, value, headers)
        except FabricError as error:
            # Somebody may have wiped the bucket: a domain does not answer for a stream that it has not.
            if error.code != "timeout" or not await self._ensure_stream():
                raise
            payload = await self._call(subject, value, headers)
        ack = self._decode(payload, _Ack)
        if ack.error is not None:
            if ack.error.err_code in _WRONG_SEQUENCE:
                return None
            raise FabricError("unreachable", f"JetStream refuses to write {key} ({ack.error.description})")
        return ack.seq

    async def _last(self, key: str) -> Change | None:
        """The newest state of a key, deletions included."""
        query = msgspec.json.encode({"last_by_subj": f"$KV.{self._bucket}.{key}"})
        answer = await self._ask(f"STREAM.MSG.GET.{self._stream}", query, _GetAnswer)
        if answer.error is not None:
            if answer.error.err_code == _NO_MESSAGE:
                return None
            if answer.error.err_code == _NO_STREAM:  # somebody has wiped it
                await self._ensure_stream()
                return None
            raise FabricError("unreachable", f"JetStream cannot read {key} ({answer.error.description})")
        message = answer.message
        if message is None:
            raise FabricError("unreachable", f"JetStream's answer for {key} has no message")
        try:
            value, headers = (
                base64.b64decode(message.data, validate=True),
                base64.b64decode(message.hdrs, validate=True),
            )
        except binascii.Error:
            self.dropped += 1
            raise FabricError("unreachable", f"JetStream's answer for {key} cannot be read") from None
        return Change(key, None if is_deletion(_header_names(headers)) else value, message.seq)

    async def _refusal(self, key: str, revision: int) -> FabricError:
        """Why a compare-and-set was refused."""
        last = await self._last(key)
        if last is None or last.value is None:
            return FabricError("not-found", f"no key {key}")
        return FabricError("conflict", f"{key} is at revision {last.revision}, not {revision}")

    # --- Store -------------------------------------------------------------------------------------------------

    async def create(self, key: str, value: bytes) -> int:
        """See `Store.create`."""
        check_subject(key)
        check_size(value)
        revision = await self._publish(key, value, {_EXPECTED: "0"})
        if revision is None:
            last = await self._last(key)
            if last is None or last.value is None:  # deleted: what is there is the mark
                expected = 0 if last is None else last.revision
                revision = await self._publish(key, value, {_EXPECTED: str(expected)})
        if revision is None:
            raise FabricError("exists", f"{key} exists already")
        return revision

    async def get(self, key: str) -> Entry:
        """See `Store.get`. Read from the leader, so that a reader sees every acknowledged write."""
        check_subject(key)
        last = await self._last(key)
        if last is None or last.value is None:
            raise FabricError("not-found", f"no key {key}")
        return Entry(key, last.value, last.revision)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """See `Store.update`."""
        check_subject(key)
        check_size(value)
        # Sequence 0 would mean "no message yet" and create the key.
        written = await self._publish(key, value, {_EXPECTED: str(revision)}) if revision > 0 else None
        if written is None:
            raise await self._refusal(key, revision)
        return written

    async def put(self, key: str, value: bytes) -> int:
        """See `Store.put`."""
        check_subject(key)
        check_size(value)
        revision = await self._publish(key, value, {})
        assert revision is not None  # nothing was expected
        return revision

    async def delete(self, key: str, revision: int) -> None:
        """See `Store.delete`."""
        check_subject(key)
        headers = {"KV-Operation": "DEL", _EXPECTED: str(revision), **self._marks}
        if revision <= 0 or await self._publish(key, b"", headers) is None:
            raise await self._refusal(key, revision)

    async def keys(self, prefix: str) -> list[str]:
        """See `Store.keys`."""
        if self._closed:
            raise FabricError("unreachable", "the store is closed")
        return sorted(await read_once(self._link, self._api, self._bucket, prefix, self._stream))

    async def watch(self, prefix: str, from_revision: int = 0) -> EntryInbox:
        """See `Store.watch`. Goes on over reconnections and wiped buckets, deletions included."""
        if self._closed:
            raise FabricError("unreachable", "the store is closed")
        watch = NatsWatch(self._link, self._api, self._bucket, prefix, from_revision)
        await watch.start()
        self._watches.add(watch)
        watch.inbox.on_close = lambda: self._forget(watch)
        return watch.inbox

    def _forget(self, watch: NatsWatch) -> None:
        self._watches.discard(watch)
        watch.stop()
        self.dropped += watch.dropped

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        self._closed = True
        for watch in list(self._watches):
            watch.inbox.close()
        await asyncio.sleep(0)


def _header_names(block: bytes) -> dict[str, str]:
    """`NATS/1.0` and lines of `Name: value`; what is none is left out."""
    lines = block.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}

"""The records of the hub beside a POP: a JetStream mirror in the leaf node's own domain, read while the hub is away.

Writing, watching, and reading while the hub answers are the hub's: only there every acknowledged write is seen. The
mirror follows by itself, and catches up when the hub is back.
"""

from __future__ import annotations

import logging
from typing import Final

from core.errors import FabricError
from core.fabric.inbox import EntryInbox
from core.fabric.nats import NatsLink
from core.fabric.nats_store import NatsStore
from core.fabric.store import Entry
from core.limits import FABRIC_MESSAGE_SIZE_BYTES_MAX

__all__ = ["MirroredStore"]

_log = logging.getLogger(__name__)

_AWAY: Final = ("unreachable", "timeout")


class _Mirror(NatsStore):
    """A bucket's copy in another domain; only reading makes sense."""

    def __init__(self, link: NatsLink, bucket: str, domain: str, hub_domain: str) -> None:
        super().__init__(link, bucket, domain, stream=f"KV_{bucket}_mirror")
        self._hub_domain = hub_domain

    def _stream_config(self) -> dict[str, object]:
        return {
            "name": self._stream,
            "mirror": {"name": f"KV_{self._bucket}", "external": {"api": f"$JS.{self._hub_domain}.API"}},
            "max_msgs_per_subject": 1,
            "max_msg_size": FABRIC_MESSAGE_SIZE_BYTES_MAX + 1_024,
            "discard": "new",
            "storage": "file",
            "num_replicas": 1,
            "allow_direct": True,
            "allow_msg_ttl": True,
        }


class MirroredStore:
    """`core.fabric.store.Store` for a POP beside its leaf node; open with `await MirroredStore.open(link, …)`.

    Attributes:
        stale_reads: answers that came from the mirror because the hub was away.
    """

    def __init__(self, hub: NatsStore, mirror: NatsStore) -> None:
        self._hub = hub
        self._mirror = mirror
        self.stale_reads = 0

    @classmethod
    async def open(cls, link: NatsLink, *, bucket: str, domain: str, mirror_domain: str) -> MirroredStore:
        """Use the bucket and its mirror, or make them. Without the hub, a mirror that is there is enough.

        Raises: ConfigError: bucket or a domain are no names; FabricError: `unreachable`, no domain answers.
        """
        mirror = _Mirror(link, bucket, mirror_domain, domain)
        mirror.check_names()
        try:
            hub = await NatsStore.open(link, bucket=bucket, domain=domain)
        except FabricError:
            hub = NatsStore(link, bucket, domain)
            _log.warning("the records' hub is away; what is known here is read meanwhile")
        await mirror.prepare()
        return cls(hub, mirror)

    async def create(self, key: str, value: bytes) -> int:
        """See `Store.create`."""
        return await self._hub.create(key, value)

    async def get(self, key: str) -> Entry:
        """See `Store.get`; while the hub is away, what was known of it."""
        try:
            return await self._hub.get(key)
        except FabricError as error:
            if error.code not in _AWAY:
                raise
            entry = await self._mirror.get(key)
            self.stale_reads += 1
            return entry

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """See `Store.update`."""
        return await self._hub.update(key, value, revision)

    async def put(self, key: str, value: bytes) -> int:
        """See `Store.put`."""
        return await self._hub.put(key, value)

    async def delete(self, key: str, revision: int) -> None:
        """See `Store.delete`."""
        await self._hub.delete(key, revision)

    async def keys(self, prefix: str) -> list[str]:
        """See `Store.keys`; while the hub is away, those that were known of."""
        try:
            return await self._hub.keys(prefix)
        except FabricError as error:
            if error.code not in _AWAY:
                raise
            keys = await self._mirror.keys(prefix)
            self.stale_reads += 1
            return keys

    async def watch(self, prefix: str, from_revision: int = 0) -> EntryInbox:
        """See `Store.watch`."""
        return await self._hub.watch(prefix, from_revision)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await self._mirror.aclose()
        await self._hub.aclose()

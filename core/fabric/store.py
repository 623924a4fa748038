"""The key-value store POPs and origin share: small values, revisions, compare-and-set, watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Entry", "Store", "Watch", "stale_reads"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's state.

    Attributes:
        value: None once deleted (seen only in watches).
        revision: strictly increasing over the whole store. That of a deletion is good for `from_revision` only.
    """

    key: str
    value: bytes | None
    revision: int


class Watch(Protocol):
    """A live watch: iterate it, then close it."""

    def __aiter__(self) -> AsyncIterator[Entry]: ...
    async def aclose(self) -> None:
        """End the watch; iteration stops."""
        ...


class Store(Protocol):
    """Linearizable per key. Keys are dot-separated tokens like subjects.

    Any operation may raise FabricError `unreachable` or `timeout`; a write that did may have happened, or not.
    """

    async def create(self, key: str, value: bytes) -> int:
        """Revision of the new entry. Raises: FabricError: `exists`."""
        ...

    async def get(self, key: str) -> Entry:
        """Raises: FabricError: `not-found`."""
        ...

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Compare-and-set. Raises: FabricError: `conflict` when `revision` is not the newest, `not-found`."""
        ...

    async def put(self, key: str, value: bytes) -> int:
        """Unconditional write; for what only one process ever writes (a POP's own record)."""
        ...

    async def delete(self, key: str, revision: int) -> None:
        """Raises: FabricError: `conflict`, `not-found`."""
        ...

    async def keys(self, prefix: str) -> list[str]:
        """Live keys that start with `prefix`, sorted."""
        ...

    async def watch(self, prefix: str, from_revision: int = 0) -> Watch:
        """Current entries newer than `from_revision`, then changes as they happen. Where the store remembers deletions,
        those newer than a `from_revision` beyond 0 are among the first."""
        ...

    async def aclose(self) -> None:
        """Leave the store."""
        ...


def stale_reads(store: Store) -> int:
    """How many answers so far were what was known once, as the records themselves were out of reach
    (`core.fabric.nats_mirror`); 0 for stores that never answer so."""
    return int(getattr(store, "stale_reads", 0))

"""Records of the store that are kept in memory, up to date by a watch: what every request needs and nobody here writes
often."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.errors import FabricError
from core.fabric.store import Entry, Store, Watch

__all__ = ["Mirrored", "Seen"]

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """A record as it was last seen.

    Attributes:
        revision: of its newest write.
        heard_at: when that write was noticed here, monotonic seconds of this process.
    """

    value: T
    revision: int
    heard_at: float


class Mirrored(Generic[T]):
    """The records under one prefix.

    Args:
        decode: a record from its value; None: it is none, and is passed over.
        clock: monotonic seconds.
    """

    def __init__(
        self, store: Store, prefix: str, decode: Callable[[bytes], T | None], clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._decode = decode
        self._clock = clock
        self._seen: dict[str, Seen[T]] = {}
        self._newest: dict[str, int] = {}
        self._watch: Watch | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow, once; what is there already is known when this returns. Raises: FabricError."""
        if self._task is not None:
            return
        self._watch = await self._store.watch(self._prefix)
        self._task = asyncio.get_running_loop().create_task(self._follow(self._watch), name=f"watch {self._prefix}")
        await self.refresh()

    async def refresh(self) -> None:
        """Read everything now. Raises: FabricError."""
        for key in await self._store.keys(self._prefix):
            with contextlib.suppress(FabricError):  # it left in between
                self._take(await self._store.get(key))

    def get(self, name: str) -> Seen[T] | None:
        """The record with this name, the key without its prefix."""
        return self._seen.get(name)

    def items(self) -> list[tuple[str, Seen[T]]]:
        """All records, by name."""
        return sorted(self._seen.items())

    async def aclose(self) -> None:
        """Stop following."""
        if self._watch is not None:
            await self._watch.aclose()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, watch: Watch) -> None:
        async for entry in watch:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        name = entry.key.removeprefix(self._prefix)
        if entry.revision <= self._newest.get(name, 0):
            return
        self._newest[name] = entry.revision
        record = self._decode(entry.value) if entry.value else None
        if record is not None:
            self._seen[name] = Seen(record, entry.revision, self._clock())
            return
        self._seen.pop(name, None)
        if entry.value is None:
            self._newest.pop(name, None)  # revisions only grow: whatever comes is newer
        else:
            _log.warning("store key %s holds no such record", entry.key)

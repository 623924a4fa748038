"""Keeps a conversation's memory in the store while it goes on, so that another process can go on with it.

Written when something was said, at most every CHECKPOINT_S; by compare-and-set, and never over a newer generation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from core.errors import FabricError, RemoteProtocolError
from core.fabric.store import Store
from core.limits import CHECKPOINT_S, HANDOFF_STATE_SIZE_BYTES_MAX
from origin.dialogue.memory import Memory, decode_memory, encode_memory

__all__ = ["Checkpoint", "forget_memory", "memory_key", "read_memory"]

_log = logging.getLogger(__name__)
_RETRY_S: Final = 0.5


class _Record(msgspec.Struct, frozen=True, array_like=True):
    generation: int
    memory: bytes


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Record)


def memory_key(session_id: str) -> str:
    """Where a conversation's memory is."""
    return f"memories.{session_id}"


def _decode(value: bytes | None) -> _Record | None:
    if value is None or len(value) > 2 * HANDOFF_STATE_SIZE_BYTES_MAX:
        return None
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


async def read_memory(store: Store, session_id: str) -> Memory | None:
    """The newest memory; None: there is none that can be read. Raises: FabricError: the store is out of reach."""
    try:
        record = _decode((await store.get(memory_key(session_id))).value)
    except FabricError as error:
        if error.code == "not-found":
            return None
        raise
    try:
        return None if record is None else decode_memory(record.memory)
    except RemoteProtocolError as error:
        _log.warning("the memory of session %s cannot be read: %s", session_id, error)
        return None


async def forget_memory(store: Store, session_id: str) -> None:
    """Delete it, if it is there. Raises: FabricError: the store is out of reach."""
    try:
        await store.delete(memory_key(session_id), (await store.get(memory_key(session_id))).revision)
    except FabricError as error:
        if error.code not in ("not-found", "conflict"):
            raise


class Checkpoint:
    """One conversation's memory in the store.

    Args:
        snapshot: what is to be written.

    Attributes:
        generation: of who writes.
        fenced: a newer generation has written; this one writes no more.
    """

    def __init__(self, store: Store, session_id: str, generation: int, snapshot: Callable[[], Memory]) -> None:
        self.generation = generation
        self.fenced = False
        self._store = store
        self._key = memory_key(session_id)
        self._snapshot = snapshot
        self._revision = 0
        self._written = b""
        self._changed = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"checkpoint {session_id}")

    def changed(self) -> None:
        """There is something new."""
        self._changed.set()

    async def aclose(self) -> None:
        """Write no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self.fenced:
            await self._changed.wait()
            self._changed.clear()
            data = encode_memory(self._snapshot())
            if data == self._written:
                continue
            try:
                await self._write(data)
                self._written = data
                await asyncio.sleep(CHECKPOINT_S)
            except FabricError:
                self._changed.set()
                await asyncio.sleep(_RETRY_S)

    async def _write(self, data: bytes) -> None:
        value = _encoder.encode(_Record(self.generation, data))
        if self._revision:
            try:
                self._revision = await self._store.update(self._key, value, self._revision)
                return
            except FabricError as error:
                if error.code not in ("conflict", "not-found"):
                    raise
        try:
            entry = await self._store.get(self._key)
        except FabricError as error:
            if error.code != "not-found":
                raise
            self._revision = await self._store.create(self._key, value)
            return
        record = _decode(entry.value)
        if record is not None and record.generation > self.generation:
            self.fenced = True
            return
        self._revision = await self._store.update(self._key, value, entry.revision)

"""The store of a single machine: one SQLite file that survives a restart, read from memory, written by one thread.

One process owns the file (`locking_mode=EXCLUSIVE`); a second one is refused. Everybody else reaches the store through
the owner's Unix socket (`core.fabric.local`), which is how watches work across processes. `watch(from_revision)` goes
on over a restart: the newest revision is kept in the file, and none is handed out twice.

`synchronous=FULL`: an acknowledged compare-and-set is on the disk. With NORMAL a power cut could take back the last
ones, and an epoch that was handed out would be handed out again. FULL costs an fsync per transaction, so writes that
come while one is under way share the next (group commit): each is checked against those before it, becomes visible
and is answered only once it is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core import limits
from core.errors import ConfigError, FabricError, LocalProtocolError
from core.fabric.inbox import EntryInbox
from core.fabric.memory import MemoryStore, check_size
from core.fabric.store import Entry
from core.fabric.subjects import check_subject

__all__ = ["SqliteStore"]

_log = logging.getLogger(__name__)

_APPLICATION_ID: Final = 0x56535653
"""`VSVS` in the file's header, so that nobody's other database is taken for ours."""
_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE newest (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
"""


@dataclass(slots=True)
class _Write:
    """A write that has been checked and waits for the disk."""

    entry: Entry
    done: asyncio.Future[int]


class SqliteStore:
    """`core.fabric.store.Store` in a file; open with `await SqliteStore.open(path)`.

    Attributes:
        dropped: rows of the file that were no records and are ignored.
    """

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, path: Path, revision: int) -> None:
        self._path = path
        self._connection = connection
        self._thread = thread
        self._memory = MemoryStore(revision)
        self._newest = revision
        self._staged: dict[str, _Write] = {}
        self._queue: list[_Write] = []
        self._writer: asyncio.Task[None] | None = None
        self._closed = False
        self.dropped = 0

    @classmethod
    async def open(cls, path: Path) -> SqliteStore:
        """Open the file, or make it.

        Raises: ConfigError: another process owns it, it is no database of ours, it is damaged, or cannot be written.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        loop = asyncio.get_running_loop()
        try:
            connection, revision, rows = await loop.run_in_executor(thread, _open, path)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        store = cls(connection, thread, path, revision)
        for key, value, row_revision in rows:
            store._load(key, value, row_revision)
        if store.dropped:
            _log.warning("%s: %d rows are no records and are ignored", path, store.dropped)
        return store

    def _load(self, key: object, value: object, revision: object) -> None:
        try:
            if not isinstance(key, str) or not isinstance(value, bytes) or not isinstance(revision, int):
                raise LocalProtocolError("not a record")
            check_subject(key)
            check_size(value)
            if not 0 < revision <= self._newest:
                raise LocalProtocolError("a revision that was never handed out")
        except (LocalProtocolError, FabricError):
            self.dropped += 1
        else:
            self._memory.restore(Entry(key, value, revision))

    # --- writing -----------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """The newest revision that can be read."""
        return self._memory.revision

    def _current(self, key: str) -> Entry | None:
        """The entry as the last accepted write leaves it, on the disk or not yet."""
        staged = self._staged.get(key)
        if staged is None:
            return self._memory.entry(key)
        return staged.entry if staged.entry.value is not None else None

    async def _settled(self, key: str) -> None:
        """A refusal is told only when its reason can be read: else who reads again would see none, and spin."""
        staged = self._staged.get(key)
        if staged is not None:
            await asyncio.shield(staged.done)

    async def _write(self, key: str, value: bytes | None) -> int:
        if len(self._queue) >= limits.FABRIC_QUEUE_MESSAGES_MAX:
            raise FabricError("overloaded", f"{len(self._queue)} writes wait for the disk")
        self._newest += 1
        write = _Write(Entry(key, value, self._newest), asyncio.get_running_loop().create_future())
        self._staged[key] = write
        self._queue.append(write)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._drain(), name="sqlite-writer")
        # Shielded: who asked may give up, the write is in the queue all the same.
        return await asyncio.shield(write.done)

    async def _drain(self) -> None:
        """Commit what is queued, all of it at a time, until nothing is."""
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                try:
                    await loop.run_in_executor(self._thread, _commit, self._connection, [w.entry for w in batch])
                except sqlite3.Error as error:
                    self._fail(batch, error)
                else:
                    self._apply(batch)
        finally:
            self._writer = None

    def _apply(self, batch: list[_Write]) -> None:
        for write in batch:
            self._memory.apply(write.entry)
            if self._staged.get(write.entry.key) is write:
                del self._staged[write.entry.key]
            if not write.done.done():
                write.done.set_result(write.entry.revision)

    def _fail(self, batch: list[_Write], error: sqlite3.Error) -> None:
        """The transaction was rolled back: what was checked against it never happened either."""
        _log.error("%s cannot be written: %s", self._path, error)
        failed, self._queue = batch + self._queue, []
        self._staged.clear()
        for write in failed:
            if not write.done.done():
                write.done.set_exception(FabricError("unreachable", f"the store cannot be written ({error})"))
                write.done.exception()  # marks it as seen: who asked may have given up

    # --- Store -------------------------------------------------------------------------------------------------

    def _check(self, key: str, value: bytes = b"") -> None:
        if self._closed:
            raise FabricError("unreachable", "the store is closed")
        check_subject(key)
        check_size(value)

    async def _expect(self, key: str, revision: int) -> None:
        entry = self._current(key)
        if entry is None:
            await self._settled(key)
            raise FabricError("not-found", f"no key {key}")
        if entry.revision != revision:
            await self._settled(key)
            raise FabricError("conflict", f"{key} is at revision {entry.revision}, not {revision}")

    async def create(self, key: str, value: bytes) -> int:
        """See `Store.create`."""
        self._check(key, value)
        if self._current(key) is not None:
            await self._settled(key)
            raise FabricError("exists", f"{key} exists already")
        return await self._write(key, value)

    async def get(self, key: str) -> Entry:
        """See `Store.get`."""
        self._check(key)
        return await self._memory.get(key)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """See `Store.update`."""
        self._check(key, value)
        await self._expect(key, revision)
        return await self._write(key, value)

    async def put(self, key: str, value: bytes) -> int:
        """See `Store.put`."""
        self._check(key, value)
        return await self._write(key, value)

    async def delete(self, key: str, revision: int) -> None:
        """See `Store.delete`."""
        self._check(key)
        await self._expect(key, revision)
        await self._write(key, None)

    async def keys(self, prefix: str) -> list[str]:
        """See `Store.keys`."""
        return await self._memory.keys(prefix)

    def holds(self, key: str) -> bool:
        """Whether the key is alive."""
        return self._memory.holds(key)

    def attach(self, prefix: str, from_revision: int, sink: Callable[[Entry], None]) -> Callable[[], None]:
        """See `MemoryStore.attach`."""
        return self._memory.attach(prefix, from_revision, sink)

    async def watch(self, prefix: str, from_revision: int = 0) -> EntryInbox:
        """See `Store.watch`."""
        return await self._memory.watch(prefix, from_revision)

    async def aclose(self) -> None:
        """See `Store.aclose`. What was accepted is written first. Twice is once."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            await asyncio.wait({self._writer})
        await self._memory.aclose()
        with contextlib.suppress(sqlite3.Error):
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=False)


# --- in the thread that owns the connection --------------------------------------------------------------------------


def _open(path: Path) -> tuple[sqlite3.Connection, int, list[tuple[object, object, object]]]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"the store {path} cannot be opened ({error}); choose another run directory") from None
    try:
        return connection, *_prepare(connection, path)
    except sqlite3.OperationalError as error:
        connection.close()
        if "locked" in str(error):
            raise ConfigError(
                f"another process owns the store {path}; stop it or choose another run directory"
            ) from None
        raise ConfigError(f"the store {path} cannot be used ({error}); choose another run directory") from None
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ConfigError(f"{path} is no store of visavis or is damaged ({error}); move it away") from None
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, path: Path) -> tuple[int, list[tuple[object, object, object]]]:
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("BEGIN EXCLUSIVE")  # takes the lock now, not with the first write
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not tables and not application:
        for statement in _SCHEMA.strip().splitlines():
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
        # Beyond all that a store in memory, or a file that was thrown away, can have handed out before.
        connection.execute("INSERT INTO newest VALUES (1, ?)", (time.time_ns() // 1_000,))
    elif application != _APPLICATION_ID:
        connection.execute("ROLLBACK")
        raise ConfigError(f"{path} is a database of something else; choose another run directory")
    elif version != _SCHEMA_VERSION:
        connection.execute("ROLLBACK")
        raise ConfigError(f"{path} was written by another version of visavis (schema {version}); move it away")
    connection.execute("COMMIT")
    newest = connection.execute("SELECT revision FROM newest").fetchone()
    if newest is None or not isinstance(newest[0], int):
        raise sqlite3.DatabaseError("it has no revision")
    rows = connection.execute("SELECT key, value, revision FROM entries ORDER BY revision").fetchall()
    return newest[0], rows


def _commit(connection: sqlite3.Connection, entries: list[Entry]) -> None:
    """One transaction. Raises: sqlite3.Error: nothing of it was written."""
    last = {entry.key: entry for entry in entries}
    connection.execute("BEGIN IMMEDIATE")
    try:
        for entry in last.values():
            if entry.value is None:
                connection.execute("DELETE FROM entries WHERE key = ?", (entry.key,))
            else:
                row = (entry.key, entry.value, entry.revision)
                connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", row)
        connection.execute("UPDATE newest SET revision = ?", (entries[-1].revision,))
        connection.execute("COMMIT")
    except sqlite3.Error:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise

"""What is particular to the store in a file; what all share is in test_store.py."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigError, FabricError
from core.fabric.local import LocalFabricServer, connect_local
from core.fabric.sqlite import SqliteStore
from core.fabric.store import Entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fabric.sqlite"


async def test_entries_and_revisions_survive_a_restart(path: Path) -> None:
    store = await SqliteStore.open(path)
    kept = await store.put("sessions.a", b"1")
    gone = await store.put("sessions.b", b"2")
    await store.delete("sessions.b", gone)
    newest = store.revision
    await store.aclose()
    store = await SqliteStore.open(path)
    assert await store.get("sessions.a") == Entry("sessions.a", b"1", kept)
    assert await store.keys("") == ["sessions.a"]
    assert store.revision == newest > gone
    assert await store.create("sessions.b", b"3") == newest + 1
    watch = await store.watch("", from_revision=newest)
    assert await anext(aiter(watch)) == Entry("sessions.b", b"3", newest + 1)
    await store.aclose()


async def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    program = (
        "import asyncio, os, sys\nfrom pathlib import Path\nfrom core.fabric.sqlite import SqliteStore\n"
        "async def main():\n"
        "    store = await SqliteStore.open(Path(sys.argv[1]))\n"
        "    for number in range(50):\n"
        "        await store.put('k', str(number).encode())\n"
        "        os.write(1, b'%d\\n' % number)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", program, str(path)]
    done = await asyncio.to_thread(subprocess.run, command, cwd=root, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    store = await SqliteStore.open(path)
    assert (await store.get("k")).value == done.stdout.split()[-1] == b"49"
    await store.aclose()


async def test_only_its_owner_may_read_it_and_only_one_process_owns_it(path: Path) -> None:
    store = await SqliteStore.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="another process owns"):
        await SqliteStore.open(path)
    await store.put("k", b"still mine")
    await store.aclose()
    await store.aclose()


async def test_a_disk_flush_is_asked_for(path: Path) -> None:
    store = await SqliteStore.open(path)
    answers = [store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert answers == ["wal", 2]
    await store.aclose()


async def test_writes_that_come_together_share_a_flush_and_keep_their_order(path: Path) -> None:
    store = await SqliteStore.open(path)
    watch = await store.watch("")
    revisions = await asyncio.gather(*(store.put(f"k.{number}", b"") for number in range(500)))
    assert revisions == sorted(revisions)
    seen = [(await anext(aiter(watch))).revision for _ in range(500)]
    assert seen == revisions
    await store.aclose()


async def test_nothing_is_visible_before_it_is_on_the_disk(path: Path) -> None:
    store = await SqliteStore.open(path)
    writing = asyncio.create_task(store.create("k", b"1"))
    await asyncio.sleep(0)
    assert not store.holds("k")
    with pytest.raises(FabricError) as caught:
        await store.create("k", b"2")
    assert caught.value.code == "exists"
    assert writing.done() or store.holds("k"), "a refusal is told when its reason can be read"
    await writing
    await store.aclose()


async def test_a_write_that_fails_never_happened(path: Path) -> None:
    store = await SqliteStore.open(path)
    before = await store.put("k", b"1")
    store._connection.execute("PRAGMA query_only=1")
    outcomes = await asyncio.gather(
        store.update("k", b"2", before), store.create("other", b""), store.create("other", b""), return_exceptions=True
    )
    assert [getattr(outcome, "code", None) for outcome in outcomes] == ["unreachable"] * 3
    assert (await store.get("k")).value == b"1"
    store._connection.execute("PRAGMA query_only=0")
    assert await store.update("k", b"2", before) > before
    await store.create("other", b"")
    await store.aclose()


async def test_who_gives_up_leaves_the_write_alone(path: Path) -> None:
    store = await SqliteStore.open(path)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.put("k", b"1"), 0)
    await store.put("other", b"")
    later = asyncio.create_task(store.put("k", b"2"))
    await asyncio.sleep(0)
    later.cancel()
    await store.aclose()
    store = await SqliteStore.open(path)
    assert (await store.get("k")).value == b"2"
    await store.aclose()


async def test_rows_that_are_no_records_are_dropped_and_counted(path: Path) -> None:
    store = await SqliteStore.open(path)
    good = await store.put("good", b"1")
    await store.aclose()
    with sqlite3.connect(path) as file:
        for row in (
            ("a b", b"", 1),
            ("", b"", 2),
            ("text", "text", 3),
            ("future", b"", good + 1_000),
            ("zero", b"", 0),
        ):
            file.execute("INSERT INTO entries VALUES (?, ?, ?)", row)
    file.close()
    store = await SqliteStore.open(path)
    assert (await store.keys(""), store.dropped) == (["good"], 5)
    await store.aclose()


@pytest.mark.parametrize("content", [b"not a database, just some text " * 100, b"SQLite format 3\0" + bytes(4_096)])
async def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"fabric\.sqlite"):
        await SqliteStore.open(path)
    assert path.read_bytes() == content


async def test_somebody_elses_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE precious (x)")
    file.close()
    with pytest.raises(ConfigError, match="something else"):
        await SqliteStore.open(path)


async def test_another_version_is_refused(path: Path) -> None:
    await (await SqliteStore.open(path)).aclose()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version=99")
    file.close()
    with pytest.raises(ConfigError, match="schema 99"):
        await SqliteStore.open(path)


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened"):
        await SqliteStore.open(tmp_path / "file" / "fabric.sqlite")


async def test_a_restarted_server_keeps_entries_and_its_clients_watches(path: Path, socket_path: Path) -> None:
    server = LocalFabricServer(socket_path, await SqliteStore.open(path))
    await server.start()
    bus, store = await connect_local(socket_path)
    await store.put("k.stays", b"1")
    watch = await store.watch("k.")
    assert (await anext(aiter(watch))).key == "k.stays"
    await server.aclose()
    async with LocalFabricServer(socket_path, await SqliteStore.open(path)) as again:
        await again.store.put("k.new", b"2")
        async with asyncio.timeout(10):
            entry = await anext(aiter(watch))
        assert (entry.key, entry.value) == ("k.new", b"2"), "what stayed is not told again, nor told to be gone"
    await bus.aclose()

"""A viewer whose origin has forgotten it is told to come again; an origin out of reach is waited for."""

from __future__ import annotations

from core.fabric.memory import MemoryStore
from edge.origin_watch import OriginWatch


class _Sessions:
    def __init__(self, *ids: str) -> None:
        self.here = dict.fromkeys(ids)
        self.ended: list[tuple[str, str]] = []

    def ids(self) -> tuple[str, ...]:
        return tuple(self.here)

    def end(self, session_id: str, reason: str) -> None:
        self.here.pop(session_id, None)
        self.ended.append((session_id, reason))


async def test_sessions_without_a_record_end_and_the_others_stay() -> None:
    store, sessions = MemoryStore(), _Sessions("a", "b")
    watch = OriginWatch(store, sessions)
    await store.create("sessions.a", b"{}")
    revision = await store.create("sessions.b", b"{}")
    await watch.check()
    assert sessions.ended == []
    await store.delete("sessions.b", revision)
    await watch.check()
    assert sessions.ended == [("b", "origin-lost")]
    assert sessions.ids() == ("a",)


async def test_what_a_copy_does_not_know_may_be_newer_than_the_copy() -> None:
    class Copy(MemoryStore):
        stale_reads = 0

        async def keys(self, prefix: str) -> list[str]:
            self.stale_reads += 1
            return await super().keys(prefix)

    sessions = _Sessions("a")
    await OriginWatch(Copy(), sessions).check()
    assert sessions.ended == []


async def test_while_the_store_is_out_of_reach_nobody_is_sent_away() -> None:
    store, sessions = MemoryStore(), _Sessions("a")
    await store.aclose()
    await OriginWatch(store, sessions).check()
    assert sessions.ended == []

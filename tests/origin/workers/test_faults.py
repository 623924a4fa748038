"""Workers that are no good, have the same name, lose their store, or are of another version; and what is left of whom
they served."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from core.errors import FabricError
from core.fabric.bus import Bus
from core.fabric.config import FabricConfig
from core.fabric.memory import MemoryBus, MemoryStore
from core.fabric.opening import host_fabric
from core.fabric.store import Entry, Store
from core.session import heart
from core.session.claims import MODE_CONVERSATION
from core.session.pool import PoolPolicy
from core.speech.messages import Closed, ReplyText, SpeechPacket, UserText
from origin.dialogue.services import Shared
from origin.dialogue.session import DialogueSession
from origin.problems import ProblemError
from origin.sessions import Sessions
from origin.workers import controller
from origin.workers import keeper as keeper_module
from origin.workers.controller import WorkerSessions
from origin.workers.keeper import Keeper
from origin.workers.messages import PROTOCOL, Status, encode, news_subject
from origin.workers.metrics import WorkerMetrics
from origin.workers.providers import LocalProcesses, Provider
from origin.workers.worker import SupersededError, Worker
from tests.origin.workers.pool import Caller

pytestmark = pytest.mark.asyncio(loop_scope="module")


class AwayStore(MemoryStore):
    """A store that can be out of reach."""

    away = False

    async def get(self, key: str) -> Entry:
        self._here()
        return await super().get(key)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        self._here()
        return await super().update(key, value, revision)

    async def create(self, key: str, value: bytes) -> int:
        self._here()
        return await super().create(key, value)

    def _here(self) -> None:
        if self.away:
            raise FabricError("unreachable", "the store is away")


@contextlib.asynccontextmanager
async def working(shared: Shared, bus: Bus, store: Store, name: str = "w") -> AsyncIterator[Worker]:
    """A whole worker in this process."""
    worker = Worker(name, shared, bus, store, slots=2, started_at=time.monotonic())
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.aclose()


@contextlib.asynccontextmanager
async def keeping(
    shared: Shared, bus: Bus, store: Store, provider: Provider | None = None, *, workers: int = 1, ready_s: float = 30.0
) -> AsyncIterator[WorkerSessions]:
    keeper = Keeper(
        bus,
        store,
        WorkerMetrics(CollectorRegistry()),
        PoolPolicy(),
        workers=workers,
        workers_max=0,
        slots_per_worker=2,
        ready_s=ready_s,
        idle_s=60.0,
    )
    keeper.provider = provider
    sessions = WorkerSessions(Sessions(shared, bus), keeper, bus, store, open_s_max=30.0)
    await sessions.open()
    try:
        yield sessions
    finally:
        await sessions.aclose()


async def begin(sessions: WorkerSessions, shared: Shared, name: str, bus: Bus, ended: list[str]) -> Caller:
    async def told(session_id: str) -> None:
        ended.append(session_id)

    await sessions.start(name, shared.characters["mira"], MODE_CONVERSATION, on_ended=told)
    return await Caller.listen(name, bus)


async def until(condition: object, timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_nothing_of_a_session_stays_in_its_worker(shared: Shared) -> None:
    bus, store, ended = MemoryBus(), MemoryStore(), list[str]()
    async with working(shared, bus, store) as worker, keeping(shared, bus, store) as sessions:
        assert await sessions.wait_warm(1, 20.0)
        caller = await begin(sessions, shared, "s1", bus, ended)
        secret = "".join(["marzi", "pan"])
        await caller.send(UserText(text=f"my word is {secret} and hello"))
        await caller.wait(SpeechPacket)
        assert any(secret in str(held.session.history()) for held in worker._held.values())
        await caller.send(Closed())
        await until(lambda: ended == ["s1"])
        await caller.leave()
        await until(lambda: not worker.sessions)
        del caller
        await asyncio.sleep(0.1)
        gc.collect()
        assert not [one for one in gc.get_objects() if isinstance(one, DialogueSession) and one.id == "s1"]
        assert not [task for task in asyncio.all_tasks() if "s1" in task.get_name()]
        holders = [
            one
            for one in gc.get_objects()
            if isinstance(one, dict)
            and any(isinstance(value, str) and f"is {secret}" in value for value in one.values())
        ]
        assert holders == []


async def test_a_worker_whose_store_is_away_stops_in_time_and_its_sessions_go_on(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heart, "LEASE_TTL_S", 1.5)
    monkeypatch.setattr(heart, "HEARTBEAT_S", 0.3)
    bus, store, ended = MemoryBus(), AwayStore(), list[str]()
    async with working(shared, bus, store) as worker, keeping(shared, bus, store) as sessions:
        assert await sessions.wait_warm(1, 20.0)
        caller = await begin(sessions, shared, "s2", bus, ended)
        await caller.send(UserText(text="tell me about the moon"))
        await caller.wait(SpeechPacket)
        await asyncio.sleep(0.3)  # the checkpoint of what was thought of
        store.away = True
        went = time.monotonic()
        with pytest.raises(FabricError):
            await begin(sessions, shared, "s3", bus, ended)
        assert ended == ["s3"], "a ticket is refused, and nothing is left of it"
        await until(lambda: not worker.sessions)
        assert 0.5 < time.monotonic() - went < 1.5, "it serves while its lease lasts, and not longer"
        store.away = False
        await caller.wait(SpeechPacket, since=time.monotonic(), timeout_s=8.0)
        assert caller.all(ReplyText)[-1].generation > caller.all(ReplyText)[0].generation
        await caller.send(Closed())
        await until(lambda: "s2" in ended)
        await caller.leave()


async def test_of_two_workers_with_one_name_the_newer_is_the_one(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heart, "HEARTBEAT_S", 0.2)
    bus, store = MemoryBus(), MemoryStore()
    older = Worker("twin", shared, bus, store, slots=2, started_at=time.monotonic())
    running = asyncio.create_task(older.run())
    await until(lambda: older.status().beats > 0)
    async with working(shared, bus, store, "twin") as newer:
        with pytest.raises(SupersededError, match="another worker uses the name 'twin'"):
            async with asyncio.timeout(5.0):
                await running
        await until(lambda: newer.status().beats > 2)


async def test_a_worker_of_another_version_is_shown_but_gets_nobody(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "WORKER_WAIT_S_MAX", 0.2)
    bus, store, ended = MemoryBus(), MemoryStore(), list[str]()
    async with keeping(shared, bus, store, workers=0) as sessions:
        status = Status(
            name="future", life="1", version="99", protocol=PROTOCOL + 1, state="warm", slots=2, pid=1, machine="x"
        )
        await bus.publish(news_subject("future"), encode(status))
        await bus.publish(news_subject("future"), msgspec.msgpack.encode({"t": "prophecy"}))
        await until(lambda: sessions.report())
        assert sessions.report()[0]["state"] == "other-version"
        with pytest.raises(ProblemError, match="try again"):
            await begin(sessions, shared, "s4", bus, ended)
        assert ended == ["s4"]


@pytest.mark.parametrize("kind", ["crash", "stuck"])
async def test_workers_that_are_no_good_are_not_started_again_and_again_and_others_serve(
    shared: Shared, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """One that ends at once, and one that never gets ready; a good worker beside them goes on."""
    ended: list[str] = []
    exits: list[float] = []
    fabric = await host_fabric(FabricConfig(store="memory"), tmp_path / "fabric.sock")
    arguments = ["--socket", str(tmp_path / "fabric.sock")] if kind == "stuck" else []
    async with keeping(shared, fabric.bus, fabric.store, workers=2, ready_s=1.5) as sessions:
        keeper = sessions.keeper

        def exited(name: str, pid: int) -> None:
            exits.append(time.monotonic())
            keeper.exited(name, pid)

        async with working(shared, fabric.bus, fabric.store, "good"):
            assert await sessions.wait_warm(1, 20.0)
            keeper.provider = LocalProcesses(
                "bad", arguments, tmp_path / "logs", exited, module="tests.origin.workers.unruly"
            )
            await until(lambda: len(exits) >= (2 if kind == "stuck" else 3), 15.0)
            assert keeper.starts_failed >= 2
            caller = await begin(sessions, shared, "s5", fabric.bus, ended)
            await caller.send(UserText(text="hello"))
            await caller.wait(SpeechPacket)
            await caller.send(Closed())
            await until(lambda: ended == ["s5"])
            await caller.leave()
    assert "a worker failed" in caplog.text
    if kind == "crash":
        gaps = [late - early for early, late in itertools.pairwise(exits)]
        assert gaps[0] > 0.5 and gaps[1] > 1.0, "it waits longer every time"
    await fabric.aclose()


class Recorder:
    """A provider that only notes what is asked of it."""

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked

    async def start(self, count: int) -> None:
        self._asked.append(f"start {count}")

    async def stop(self, name: str, instance: str, *, at_once: bool = False) -> None:
        self._asked.append(f"stop {name} {instance}")

    def adopt(self, name: str, pid: int) -> None:
        pass

    async def aclose(self) -> None:
        pass


async def test_after_an_outage_nobody_is_replaced_who_may_only_be_on_the_way_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class BrokenBus(MemoryBus):
        connected = False

    monkeypatch.setattr(keeper_module, "_FIND_S", 0.3)
    asked, bus = list[str](), BrokenBus()
    keeper = Keeper(
        bus,
        MemoryStore(),
        WorkerMetrics(CollectorRegistry()),
        PoolPolicy(),
        workers=1,
        workers_max=0,
        slots_per_worker=2,
        ready_s=30.0,
        idle_s=60.0,
    )
    keeper.provider = Recorder(asked)
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.4)
    bus.connected = True
    await asyncio.sleep(0.1)
    assert asked == []
    await until(lambda: asked == ["start 1"], 3.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_demand_that_grows_starts_workers_and_one_that_is_gone_ends_them(shared: Shared) -> None:
    """What the policy wants is asked of the provider, within its bounds, and taken back after a while."""
    asked: list[str] = []
    keeper = Keeper(
        MemoryBus(),
        MemoryStore(),
        WorkerMetrics(CollectorRegistry()),
        PoolPolicy(mode="absolute", buffer=2),
        workers=1,
        workers_max=3,
        slots_per_worker=2,
        ready_s=30.0,
        idle_s=0.1,
    )
    keeper.provider = Recorder(asked)
    now = time.monotonic()

    def warm(name: str) -> None:
        keeper.receive(
            Status(
                name=name, life="1", version="1", protocol=PROTOCOL, state="warm", slots=2, pid=1, machine="x",
                instance=f"i-{name}", warm_up_s=3.0,
            )
        )  # fmt: skip

    await keeper._scale(now)
    assert asked == ["start 1"]
    await keeper._scale(now)
    assert asked == ["start 1"], "it is on its way"
    warm("a")
    offers = [keeper.fleet.take(), keeper.fleet.take()]
    await keeper._scale(now)
    assert asked[1:] == ["start 1"] and keeper.missing == 2
    warm("b")
    offers += [keeper.fleet.take(), keeper.fleet.take()]
    await keeper._scale(now)
    warm("c")
    assert asked[2:] == ["start 1"]
    offers += [keeper.fleet.take(), keeper.fleet.take()]
    await keeper._scale(now)
    assert len(asked) == 3, "three is the most"
    for offer in offers:
        assert offer is not None
        keeper.fleet.give_back(offer.slot)
    await keeper._scale(now)
    assert all(view.state == "warm" for view in keeper.fleet.views.values()), "not at once"
    await keeper._scale(now + 0.2)
    draining = [name for name, view in keeper.fleet.views.items() if view.draining]
    assert len(draining) == 2
    await keeper._end_drained(now + 5.0)
    assert sorted(asked[3:]) == sorted(f"stop {name} i-{name}" for name in draining)

"""Keeps as many workers as there should be: notices who is gone, replaces them, and follows the demand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from typing import Final

from core.errors import FabricError, RemoteProtocolError
from core.fabric.bus import Bus
from core.fabric.stepping import perform
from core.fabric.store import Store
from core.limits import WORKER_BACKOFF_S_MAX, WORKER_BACKOFF_S_MIN, WORKER_STEADY_S
from core.session.arrivals import ArrivalRate
from core.session.heart import Reaper, declare_dead, decode_heart
from core.session.pool import PoolPolicy, SlotState
from origin.workers.fleet import Fleet, View
from origin.workers.messages import Ask, Status, command_subject, decode_reply, encode
from origin.workers.metrics import WorkerMetrics
from origin.workers.providers import Provider
from origin.workers.worker import machine_name

__all__ = ["Keeper"]

_log = logging.getLogger(__name__)

_ROUND_S: Final = 0.1
_FIND_S: Final = 2.5
"""Workers of before a restart, or an outage of the fabric, reconnect with a backoff of at most 2 s."""
_ASK_S: Final = 0.5
_HEARTS: Final = "hearts."
_ALARM_S: Final = 10.0
"""Between two complaints about the same."""


class Keeper:
    """See the module.

    Args:
        workers: as many at least.
        workers_max: as many at most, whatever the policy wants.
        ready_s: how long a worker may warm up.
        idle_s: so long workers are kept that are too many.

    Attributes:
        fleet: what is known.
        on_lost: told what was known of a life of a worker that is over.
        missing: warm slots that there should be and are not.
        starts_failed: workers in a row that ended soon after their start.
    """

    def __init__(
        self,
        bus: Bus,
        store: Store,
        metrics: WorkerMetrics,
        policy: PoolPolicy,
        *,
        workers: int,
        workers_max: int,
        slots_per_worker: int,
        ready_s: float,
        idle_s: float,
    ) -> None:
        self.fleet = Fleet(policy)
        self.metrics = metrics
        self.on_lost: Callable[[View], None] = lambda view: None
        self.missing = 0
        self.starts_failed = 0
        self.provider: Provider | None = None
        self._bus = bus
        self._store = store
        self._policy = policy
        self._workers = workers
        self._workers_max = max(workers, workers_max)
        self._slots = slots_per_worker
        self._ready_s = ready_s
        self._idle_s = idle_s
        self._arrivals = ArrivalRate()
        self._reaper = Reaper()
        self._ordered: list[float] = []
        self._not_before = 0.0
        self._complained_at = -math.inf
        self._warm_up_s = policy.warm_up_s
        self._surplus_since: float | None = None
        metrics.follow(self.fleet.pool, lambda: self.missing, lambda: self._arrivals.per_s(_now()))

    @property
    def warm_workers(self) -> int:
        """Workers that can serve."""
        return sum(view.state == "warm" for view in self.fleet.views.values())

    def arrived(self) -> None:
        """Somebody wants a conversation."""
        self._arrivals.arrive(_now())

    # --- what is heard -------------------------------------------------------------------------------------------

    async def find(self) -> list[Status]:
        """Ask whose heart the store knows. Raises: FabricError: the store is out of reach."""
        lives: dict[str, str] = {}
        for key in await self._store.keys(_HEARTS):
            with contextlib.suppress(FabricError, RemoteProtocolError):
                record = decode_heart((await self._store.get(key)).value or b"")
                if not record.dead:
                    lives[key.removeprefix(_HEARTS)] = record.life
        found = await asyncio.gather(*(self._find(name, life) for name, life in lives.items()))
        return [status for status in found if status is not None]

    async def _find(self, name: str, life: str) -> Status | None:
        deadline = _now() + _FIND_S
        while _now() < deadline:
            with contextlib.suppress(FabricError, RemoteProtocolError):
                reply = decode_reply(await self._bus.request(command_subject(name, life), encode(Ask()), _ASK_S))
                return reply if isinstance(reply, Status) else None
            await asyncio.sleep(_ROUND_S)
        return None

    def receive(self, status: Status) -> None:
        """A worker has said how it is."""
        known = status.name in self.fleet.views
        before = self.fleet.views[status.name].state if known else ""
        self.metrics.counted(self.fleet.counted(status))
        former = self.fleet.update(status, _now())
        if not known and self._ordered:
            del self._ordered[0]
        if status.machine == machine_name() and self.provider is not None:
            self.provider.adopt(status.name, status.pid)
        if before in ("", "warming") and status.state == "warm":
            self.starts_failed = 0
            if status.warm_up_s:
                self._warm_up_s += 0.3 * (status.warm_up_s - self._warm_up_s)
            _log.info("worker is warm", extra={"worker": status.name, "warm_up_s": status.warm_up_s})
        if former is not None:
            self._lost(former, "it has begun another life")

    def exited(self, name: str, pid: int) -> None:
        """A process of this machine has ended; nothing else needs to be waited for."""
        view = self.fleet.views.get(name)
        if view is None or view.status.pid != pid:
            self._ordered = self._ordered[1:]
            self._failed(_now(), f"{name} has ended before it was heard of")
            return
        self.fleet.lose(name)
        asked = view.draining and not view.status.sessions
        if not asked:
            soon = _now() - view.first_seen < WORKER_STEADY_S
            if soon or view.state == "warming":
                self._failed(_now(), f"{name} has ended after {_now() - view.first_seen:.0f} s")
            else:
                self._not_before = 0.0
        self._lost(view, "its process has ended", asked=asked)

    def _lost(self, view: View, why: str, *, asked: bool = False) -> None:
        if not asked:
            self.metrics.lost()
            _log.warning("worker %s is lost: %s", view.status.name, why)
        self.on_lost(view)
        # Nobody waits for this: takeovers go by compare-and-set, and the record only keeps others from waiting.
        task = asyncio.get_running_loop().create_task(self._declare_dead(view))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _declare_dead(self, view: View) -> None:
        with contextlib.suppress(FabricError, RemoteProtocolError):
            await perform(self._store, declare_dead(view.status.name, view.status.life))

    def _failed(self, now: float, what: str) -> None:
        self.starts_failed += 1
        backoff_s = min(WORKER_BACKOFF_S_MAX, WORKER_BACKOFF_S_MIN * 2.0 ** min(self.starts_failed - 1, 10))
        self._not_before = now + backoff_s
        _log.error("a worker failed: %s; the next one is started in %.1f s", what, backoff_s)

    def drain(self, name: str) -> None:
        """It takes nothing new, and is ended when it serves nobody."""
        self.fleet.drain(name)

    # --- what is done --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        watching = asyncio.get_running_loop().create_task(self._watch_hearts(), name="hearts")
        try:
            while True:
                now = _now()
                if not self._bus.connected:  # whoever could not be heard is about to be
                    self._not_before = max(self._not_before, now + _FIND_S)
                await self._bury(now)
                await self._replace_stuck(now)
                await self._end_drained(now)
                await self._scale(now)
                await asyncio.sleep(_ROUND_S)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def aclose(self) -> None:
        """End the workers that this origin has started."""
        if self.provider is not None:
            await self.provider.aclose()

    async def _watch_hearts(self) -> None:
        while True:
            with contextlib.suppress(FabricError):
                self._reaper.forget()
                watch = await self._store.watch(_HEARTS)
                try:
                    async for entry in watch:
                        self._reaper.observe(entry.key.removeprefix(_HEARTS), entry.value, entry.revision, _now())
                finally:
                    await watch.aclose()
            await asyncio.sleep(1.0)

    async def _bury(self, now: float) -> None:
        for name in self._reaper.suspects(now):
            with contextlib.suppress(FabricError, RemoteProtocolError):
                dead = await perform(self._store, self._reaper.bury(name, now))
                view = self.fleet.views.get(name) if dead else None
                if view is not None and now - view.seen > _ASK_S:
                    self.fleet.lose(name)
                    self._lost(view, "its heart has stopped")

    async def _replace_stuck(self, now: float) -> None:
        late = [at for at in self._ordered if now - at > self._ready_s]
        if late:
            self._ordered = self._ordered[len(late) :]
            self._failed(now, f"{len(late)} were started and not heard of within {self._ready_s:g} s")
        for name, view in list(self.fleet.views.items()):
            if view.state == "warming" and now - view.first_seen > self._ready_s:
                self._failed(now, f"{name} was not ready within {self._ready_s:g} s")
                await self._stop(name, at_once=True)
                self.fleet.lose(name)
                self._lost(view, "it does not get ready")

    async def _end_drained(self, now: float) -> None:
        for name, view in list(self.fleet.views.items()):
            leaving = view.draining or not view.usable
            if leaving and not view.status.sessions and now - max(view.idle_since, view.first_seen) > 2.0:
                await self._stop(name)
                view.idle_since = now + WORKER_STEADY_S  # once is enough

    async def _stop(self, name: str, *, at_once: bool = False) -> None:
        view = self.fleet.views[name]
        if self.provider is not None:
            await self.provider.stop(name, view.status.instance, at_once=at_once)

    async def _scale(self, now: float) -> None:
        wanted = self._wanted(now)
        running = len(self.fleet.running()) + len(self._ordered)
        if running < wanted:
            self._surplus_since = None
            if now >= self._not_before and self.provider is not None:
                count = wanted - running if not self.starts_failed else 1
                self._ordered += [now] * count
                try:
                    await self.provider.start(count)
                except (OSError, FabricError) as error:
                    self._ordered = self._ordered[: len(self._ordered) - count]
                    self._failed(now, f"none can be started: {error}")
        elif running > wanted:
            await self._shrink(now, running - wanted)
        else:
            self._surplus_since = None

    def _wanted(self, now: float) -> int:
        pool = self.fleet.pool
        in_use = pool.count(SlotState.RESERVED, SlotState.LEASED)
        spare = PoolPolicy(
            mode=self._policy.mode,
            buffer=self._policy.buffer,
            warm_up_s=self._warm_up_s,
            slots_max=self._policy.slots_max,
        ).spare(in_use, self._arrivals.per_s(now))
        room = self._workers_max * self._slots - in_use
        self.missing = max(0, min(spare, room) - pool.count(SlotState.WARM))
        if self.missing and now - self._complained_at > _ALARM_S and self.starts_failed:
            self._complained_at = now
            _log.error("%d warm slots are missing; conversations go on where there are any", self.missing)
        return min(self._workers_max, max(self._workers, math.ceil((in_use + spare) / self._slots)))

    async def _shrink(self, now: float, surplus: int) -> None:
        """Idle workers that nobody will need are ended, but not at once: demand comes back."""
        if self._surplus_since is None:
            self._surplus_since = now
        if now - self._surplus_since < self._idle_s:
            return
        idle = sorted(
            (name for name in self.fleet.running() if self.fleet.views[name].state == "warm"),
            key=lambda name: self.fleet.views[name].idle_since,
        )
        for name in idle[:surplus]:
            view = self.fleet.views[name]
            if all(self.fleet.pool.state(slot) is SlotState.WARM for slot in view.slots):
                self.drain(name)


def _now() -> float:
    return asyncio.get_running_loop().time()

"""Runs conversations in workers: `origin.sessions.SessionRunner` over a warm pool of processes.

What a worker has begun it goes on with while this origin is away; the next one finds it by what the store and the
workers say. A worker that is lost is replaced, and its conversations go on elsewhere from their memories.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from core.errors import RemoteProtocolError
from core.fabric.bus import Bus, Message, Subscription
from core.fabric.stepping import perform
from core.fabric.store import Store
from core.limits import RELEASE_S_MAX, WORKER_RECOVERY_S_MAX, WORKER_WAIT_S_MAX
from core.session.claims import MODE_CONVERSATION
from origin.agent.session import AgentSession
from origin.dialogue.character import Character
from origin.problems import ProblemError
from origin.sessions import Ended, Sessions
from origin.workers import leases
from origin.workers.fleet import View
from origin.workers.keeper import Keeper
from origin.workers.messages import (
    CONTROL_SUBJECT,
    NEWS_SUBJECTS,
    Answered,
    CameIn,
    Controlled,
    Drain,
    Hosted,
    News,
    Status,
    decode_control,
    decode_news,
    encode,
)
from origin.workers.messages import Ended as EndedNews
from origin.workers.moving import Mover
from origin.workers.placements import Placement, Placements

__all__ = ["WorkerSessions"]

_log = logging.getLogger(__name__)

_MISSING_S_MAX: Final = 2.5
"""A session that its worker has not named for so long has ended, and the news of it was lost."""
_UNCLAIMED_S_MAX: Final = 15.0
"""A session of before the restart that no record speaks of any more is ended."""
_TEND_S: Final = 0.25


class WorkerSessions:
    """See the module.

    Args:
        local: runs what no worker can: mirrors, and sessions of somebody else's agent.
        keeper: watches the workers and decides how many there are.
        on_count: told again and again how many sessions there are.
    """

    def __init__(
        self,
        local: Sessions,
        keeper: Keeper,
        bus: Bus,
        store: Store,
        *,
        open_s_max: float,
        on_count: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._local = local
        self._on_count = on_count
        self.keeper = keeper
        self._bus = bus
        self._store = store
        self._placements = Placements(keeper, bus, store, open_s_max=open_s_max)
        self._mover = Mover(self._placements)
        self._subscriptions: list[Subscription] = []
        self._started_at = 0.0
        keeper.on_lost = self._lost

    # --- SessionRunner -------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Sessions that run or are being started."""
        return len(self._placements.placed) + self._local.count

    def has(self, session_id: str) -> bool:
        """Whether it runs, and somebody here knows of it."""
        placement = self._placements.placed.get(session_id)
        return self._local.has(session_id) or (placement is not None and placement.on_ended is not None)

    def agent(self, session_id: str) -> AgentSession | None:
        """See `SessionRunner.agent`."""
        return self._local.agent(session_id)

    def announce(self, pop: str, key_id: str) -> None:
        """See `SessionRunner.announce`."""
        self._local.announce(pop, key_id)

    async def start(self, session_id: str, character: Character, mode: str, *, on_ended: Ended) -> None:
        """See `SessionRunner.start`. Raises: ProblemError: `no-worker`, none is warm or will be soon."""
        if mode != MODE_CONVERSATION:
            await self._local.start(session_id, character, mode, on_ended=on_ended)
            return
        self.keeper.arrived()
        try:
            placed = await self._placements.place(
                session_id, character.id, 1, WORKER_WAIT_S_MAX, on_ended, resume=False
            )
        except BaseException:
            await on_ended(session_id)
            raise
        if placed is None:
            await on_ended(session_id)
            raise ProblemError(503, "no-worker", "All places are taken; try again in a moment.", {"Retry-After": "2"})

    async def go_on(self, session_id: str, character: Character, mode: str, *, epoch: int, on_ended: Ended) -> None:
        """See `SessionRunner.go_on`. A conversation that a worker still has just goes on."""
        if mode != MODE_CONVERSATION:
            await self._local.go_on(session_id, character, mode, epoch=epoch, on_ended=on_ended)
            return
        placement = self._placements.placed.get(session_id)
        if placement is not None:
            placement.on_ended = on_ended
            return
        record = await perform(self._store, leases.look_at(session_id))
        ordinal = 1 + (leases.ordinal_of(record.request) if record is not None else epoch)
        self._placements.spawn(
            self._placements.recover(session_id, character.id, ordinal, on_ended, None), f"go on {session_id}"
        )

    def end(self, session_id: str, reason: str) -> None:
        """End it, if it runs."""
        placement = self._placements.placed.get(session_id)
        if placement is None:
            self._local.end(session_id, reason)
        elif placement.over:
            self._placements.unwanted.add(session_id)  # it is on its way to another worker
        else:
            self._placements.spawn(self._placements.end(placement, reason), f"end {session_id}")

    async def aclose(self) -> None:
        """End all, and the workers that this origin has started."""
        self._placements.closing = True
        for placement in list(self._placements.placed.values()):
            self._placements.spawn(self._placements.end(placement, "shutdown"), "end")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while self._placements.placed:  # noqa: ASYNC110 - each end is a task of its own
                    await asyncio.sleep(0.01)
        await self._local.aclose()
        await self._placements.aclose()
        for subscription in self._subscriptions:
            await subscription.aclose()
        await self.keeper.aclose()

    # --- life ----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Find the workers that run already, and what they do; then keep as many as there should be.

        Raises: FabricError: the fabric is out of reach.
        """
        self._started_at = asyncio.get_running_loop().time()
        news = await self._bus.subscribe(NEWS_SUBJECTS)
        self._subscriptions = [news, await self._bus.respond(CONTROL_SUBJECT, self._control)]
        self._placements.spawn(self._listen(news), "worker news")
        for status in await self.keeper.find():
            self._receive(status)
        self._placements.spawn(self.keeper.run(), "workers")
        self._placements.spawn(self._tend(), "placements")

    async def wait_warm(self, count: int, timeout_s: float) -> bool:
        """Until so many workers can serve. Returns: False when the time was up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.keeper.warm_workers < count:
                    self._placements.changed.clear()
                    await self._placements.changed.wait()
                return True
        return False

    def report(self) -> list[dict[str, Any]]:
        """All workers with state, slots, sessions, pid, beats and memory, as JSON can say it."""
        return self.keeper.fleet.report(asyncio.get_running_loop().time())

    async def _tend(self) -> None:
        """What no news told."""
        while True:
            await asyncio.sleep(_TEND_S)
            self._on_count(self.count)
            now = asyncio.get_running_loop().time()
            for placement in list(self._placements.placed.values()):
                view = self.keeper.fleet.views.get(placement.worker)
                if view is None or view.status.life != placement.life or placement.moving:
                    continue
                if placement.named_at + _MISSING_S_MAX < view.seen:
                    await self._placements.over(placement, "lost")
                elif placement.on_ended is None and now - self._started_at > _UNCLAIMED_S_MAX:
                    self._placements.spawn(self._placements.end(placement, "unclaimed"), "end")
                    placement.named_at = now

    # --- news ----------------------------------------------------------------------------------------------------

    async def _listen(self, subscription: Subscription) -> None:
        async for message in subscription:
            try:
                self._receive(decode_news(message.payload))
            except RemoteProtocolError as error:
                _log.warning("a worker's news cannot be understood: %s", error)

    def _receive(self, news: News) -> None:
        now = asyncio.get_running_loop().time()
        match news:
            case Status():
                self.keeper.receive(news)
                for hosted in news.sessions:
                    self._named(news, hosted, now)
            case CameIn():
                placement = self._mine(news.name, news.life, news.session)
                if placement is not None:
                    self.keeper.fleet.came_in(placement.slot)
            case EndedNews():
                placement = self._mine(news.name, news.life, news.session)
                if placement is not None and not placement.moving:
                    self._placements.spawn(self._placements.over(placement, news.reason), "over")
            case Answered():
                self.keeper.metrics.answered(news.stages)
        self._placements.changed.set()

    def _mine(self, name: str, life: str, session_id: str) -> Placement | None:
        placement = self._placements.placed.get(session_id)
        return placement if placement is not None and (placement.worker, placement.life) == (name, life) else None

    def _named(self, status: Status, hosted: Hosted, now: float) -> None:
        placement = self._placements.placed.get(hosted.session)
        if placement is None:
            known = hosted.request in self._placements.gone  # a status that was sent before its end
            if hosted.generation and not known and not self._placements.closing:  # of before this origin's start
                self.keeper.fleet.adopt(hosted)
                self._placements.placed[hosted.session] = Placement(
                    session=hosted.session,
                    character=hosted.character,
                    worker=status.name,
                    life=status.life,
                    slot=hosted.slot,
                    slot_epoch=0,
                    request=hosted.request,
                    generation=hosted.generation,
                    named_at=now,
                )
        elif (placement.worker, placement.life) == (status.name, status.life):
            placement.named_at = now

    # --- workers that go ---

    def _lost(self, view: View) -> None:
        """A life of a worker is over: its conversations go on elsewhere."""
        status = view.status
        for placement in list(self._placements.placed.values()):
            if (placement.worker, placement.life) == (status.name, status.life) and not placement.moving:
                placement.over = True
                self._placements.spawn(
                    self._placements.recover(
                        placement.session, placement.character, placement.ordinal + 1, placement.on_ended, placement
                    ),
                    f"recover {placement.session}",
                )
        self._placements.changed.set()

    async def move(self, session_id: str, wait_s: float = RELEASE_S_MAX) -> bool:
        """See `Mover.move`."""
        return await self._mover.move(session_id, wait_s)

    async def drain(self, name: str) -> int:
        """Let a worker take nothing new and move its conversations to others, each between two turns.

        Returns: how many were moved.
        Raises: KeyError: no such worker.
        """
        view = self.keeper.fleet.views[name]
        await self._placements.command(name, view.status.life, Drain())
        self.keeper.drain(name)
        here = [placement for placement in self._placements.placed.values() if placement.worker == name]
        return sum(await asyncio.gather(*(self._move_soon(placement) for placement in here)))

    async def _move_soon(self, placement: Placement) -> bool:
        """The replacement of the one that is drained may have to warm up first."""
        deadline = asyncio.get_running_loop().time() + WORKER_RECOVERY_S_MAX
        while not placement.over and asyncio.get_running_loop().time() < deadline:
            if await self.move(placement.session):
                return True
            await asyncio.sleep(_TEND_S)
        return False

    async def _control(self, message: Message) -> bytes:
        """`visavis workers`; whoever may use the fabric may ask."""
        try:
            asked = decode_control(message.payload)
            if asked.drain not in ("", *self.keeper.fleet.views):
                return encode(Controlled(error=f"There is no worker {asked.drain!r}."))
            moved = await self.drain(asked.drain) if asked.drain else 0
            return encode(Controlled(workers=self.report(), moved=moved))
        except RemoteProtocolError as error:
            return encode(Controlled(error=f"That cannot be understood: {error}."))

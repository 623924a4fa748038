"""Runs conversations in workers: `origin.sessions.SessionRunner` over a warm pool of processes.

What a worker has begun it goes on with while this origin is away; the next one finds it by what the store and the
workers say. A worker that is lost is replaced, and its conversations go on elsewhere from their memories.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from core.errors import FabricError, RemoteProtocolError
from core.fabric.bus import Bus, Subscription
from core.fabric.stepping import perform
from core.fabric.store import Store
from core.limits import RELEASE_S_MAX, WORKER_COMMAND_S_MAX, WORKER_RECOVERY_S_MAX, WORKER_WAIT_S_MAX
from core.session.claims import MODE_CONVERSATION
from core.session.lease import Denied
from origin.agent.session import AgentSession
from origin.dialogue.character import Character
from origin.problems import ProblemError
from origin.sessions import Ended, Sessions
from origin.workers import leases
from origin.workers.checkpoint import forget_memory
from origin.workers.fleet import View
from origin.workers.keeper import Keeper
from origin.workers.messages import (
    NEWS_SUBJECTS,
    Answered,
    Begin,
    CameIn,
    Command,
    Done,
    Drain,
    End,
    Go,
    Hosted,
    News,
    Refused,
    Release,
    Released,
    Reply,
    Status,
    command_subject,
    decode_news,
    decode_reply,
    encode,
)
from origin.workers.messages import Ended as EndedNews

__all__ = ["WorkerSessions"]

_log = logging.getLogger(__name__)

_TRIES: Final = 4
_MISSING_S_MAX: Final = 2.5
"""A session that its worker has not named for so long has ended, and the news of it was lost."""
_UNCLAIMED_S_MAX: Final = 15.0
"""A session of before the restart that no record speaks of any more is ended."""
_TEND_S: Final = 0.25


@dataclass(slots=True)
class _Placement:
    """Where a conversation is."""

    session: str
    character: str
    worker: str
    life: str
    slot: str
    slot_epoch: int
    request: str
    generation: int
    named_at: float
    on_ended: Ended | None = None
    moving: bool = False
    over: bool = False

    @property
    def ordinal(self) -> int:
        return leases.ordinal_of(self.request)


class WorkerSessions:
    """See the module.

    Args:
        local: runs what no worker can: mirrors, and sessions of somebody else's agent.
        keeper: watches the workers and decides how many there are.
    """

    def __init__(self, local: Sessions, keeper: Keeper, bus: Bus, store: Store, *, open_s_max: float) -> None:
        self._local = local
        self.keeper = keeper
        self._bus = bus
        self._store = store
        self._open_s_max = open_s_max
        self._placed: dict[str, _Placement] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None
        self._changed = asyncio.Event()
        self._started_at = 0.0
        self._closing = False
        keeper.on_lost = self._lost

    # --- SessionRunner -------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Sessions that run or are being started."""
        return len(self._placed) + self._local.count

    def has(self, session_id: str) -> bool:
        """Whether it runs, and somebody here knows of it."""
        placement = self._placed.get(session_id)
        return self._local.has(session_id) or (placement is not None and placement.on_ended is not None)

    def agent(self, session_id: str) -> AgentSession | None:
        """See `SessionRunner.agent`."""
        return self._local.agent(session_id)

    async def start(self, session_id: str, character: Character, mode: str, *, on_ended: Ended) -> None:
        """See `SessionRunner.start`. Raises: ProblemError: `no-worker`, none is warm or will be soon."""
        if mode != MODE_CONVERSATION:
            await self._local.start(session_id, character, mode, on_ended=on_ended)
            return
        self.keeper.arrived()
        try:
            placed = await self._place(session_id, character.id, 1, WORKER_WAIT_S_MAX, resume=False)
        except BaseException:
            await on_ended(session_id)
            raise
        if placed is None:
            await on_ended(session_id)
            raise ProblemError(503, "no-worker", "All places are taken; try again in a moment.", {"Retry-After": "2"})
        placed.on_ended = on_ended

    async def go_on(self, session_id: str, character: Character, mode: str, *, epoch: int, on_ended: Ended) -> None:
        """See `SessionRunner.go_on`. A conversation that a worker still has just goes on."""
        if mode != MODE_CONVERSATION:
            await self._local.go_on(session_id, character, mode, epoch=epoch, on_ended=on_ended)
            return
        placement = self._placed.get(session_id)
        if placement is not None:
            placement.on_ended = on_ended
            return
        record = await perform(self._store, leases.look_at(session_id))
        ordinal = 1 + (leases.ordinal_of(record.request) if record is not None else epoch)
        self._spawn(self._recover(session_id, character.id, ordinal, on_ended, None), f"go on {session_id}")

    def end(self, session_id: str, reason: str) -> None:
        """End it, if it runs."""
        placement = self._placed.get(session_id)
        if placement is None:
            self._local.end(session_id, reason)
        else:
            self._spawn(self._end(placement, reason), f"end {session_id}")

    async def aclose(self) -> None:
        """End all, and the workers that this origin has started."""
        self._closing = True
        for placement in list(self._placed.values()):
            self._spawn(self._end(placement, "shutdown"), "end")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while self._placed:  # noqa: ASYNC110 - each end is a task of its own
                    await asyncio.sleep(0.01)
        await self._local.aclose()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.aclose()
        await self.keeper.aclose()

    # --- life ----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Find the workers that run already, and what they do; then keep as many as there should be.

        Raises: FabricError: the fabric is out of reach.
        """
        self._started_at = asyncio.get_running_loop().time()
        self._subscription = await self._bus.subscribe(NEWS_SUBJECTS)
        self._spawn(self._listen(self._subscription), "worker news")
        for status in await self.keeper.find():
            self._receive(status)
        self._spawn(self.keeper.run(), "workers")
        self._spawn(self._tend(), "placements")

    async def wait_warm(self, count: int, timeout_s: float) -> bool:
        """Until so many workers can serve. Returns: False when the time was up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.keeper.warm_workers < count:
                    self._changed.clear()
                    await self._changed.wait()
                return True
        return False

    def report(self) -> list[dict[str, Any]]:
        """All workers with state, slots, sessions, pid, beats and memory, as JSON can say it."""
        return self.keeper.fleet.report(asyncio.get_running_loop().time())

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(_complain, self._tasks))

    async def _tend(self) -> None:
        """What no news told."""
        while True:
            await asyncio.sleep(_TEND_S)
            now = asyncio.get_running_loop().time()
            for placement in list(self._placed.values()):
                view = self.keeper.fleet.views.get(placement.worker)
                if view is None or view.status.life != placement.life or placement.moving:
                    continue
                if placement.named_at + _MISSING_S_MAX < view.seen:
                    await self._over(placement, "lost")
                elif placement.on_ended is None and now - self._started_at > _UNCLAIMED_S_MAX:
                    self._spawn(self._end(placement, "unclaimed"), "end")
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
                    self._spawn(self._over(placement, news.reason), "over")
            case Answered():
                self.keeper.metrics.answered(news.seconds)
        self._changed.set()

    def _mine(self, name: str, life: str, session_id: str) -> _Placement | None:
        placement = self._placed.get(session_id)
        return placement if placement is not None and (placement.worker, placement.life) == (name, life) else None

    def _named(self, status: Status, hosted: Hosted, now: float) -> None:
        placement = self._placed.get(hosted.session)
        if placement is None:
            if hosted.generation and not self._closing:  # of before this origin's start
                self._placed[hosted.session] = _Placement(
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

    # --- placing -------------------------------------------------------------------------------------------------

    async def _place(
        self, session_id: str, character: str, ordinal: int, wait_s: float, *, resume: bool
    ) -> _Placement | None:
        """Give a session to a warm worker. None: there was none in time.

        Raises: FabricError: the store is out of reach.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        tries = 0
        while True:
            self._changed.clear()
            offer = self.keeper.fleet.take()
            if offer is None:
                if not await self._wait_for_change(deadline):
                    return None
                continue
            granted = await perform(self._store, leases.grant(session_id, ordinal, [offer]))
            if isinstance(granted, Denied):
                self.keeper.fleet.give_back(offer.slot)
                tries += 1
                if granted.reason == "unknown" or tries > _TRIES:
                    raise FabricError("unreachable", f"no lease of {offer.slot}: {granted.reason}")
                continue
            placement = self._placed[session_id] = _Placement(
                session=session_id,
                character=character,
                worker=offer.worker,
                life=offer.life,
                slot=offer.slot,
                slot_epoch=granted.slot.epoch,
                request=granted.slot.request,
                generation=granted.generation,
                named_at=loop.time(),
            )
            if await self._begin(placement, resume=resume):
                return placement
            self._placed.pop(session_id, None)
            await self._free(placement)
            ordinal += 1
            tries += 1
            if tries > _TRIES:
                return None

    async def _wait_for_change(self, deadline: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
                return True
        return False

    async def _begin(self, placement: _Placement, *, resume: bool, standby: bool = False) -> bool:
        begin = Begin(
            session=placement.session,
            character=placement.character,
            slot=placement.slot,
            request=placement.request,
            ordinal=placement.ordinal,
            generation=placement.generation,
            open_s_max=self._open_s_max,
            resume=resume,
            standby=standby,
        )
        reply = await self._command(placement.worker, placement.life, begin)
        if isinstance(reply, Done):
            placement.named_at = asyncio.get_running_loop().time()
            return True
        _log.warning("worker %s does not begin a session: %s", placement.worker, reply)
        return False

    async def _command(
        self, worker: str, life: str, command: Command, timeout_s: float = WORKER_COMMAND_S_MAX
    ) -> Reply:
        try:
            return decode_reply(await self._bus.request(command_subject(worker, life), encode(command), timeout_s))
        except FabricError as error:
            return Refused(code=error.code)
        except RemoteProtocolError:
            return Refused(code="bad-message")

    async def _free(self, placement: _Placement) -> None:
        self.keeper.fleet.give_back(placement.slot)
        with contextlib.suppress(FabricError, RemoteProtocolError):
            await perform(self._store, leases.free(placement.slot, placement.slot_epoch, placement.request))

    # --- the end -------------------------------------------------------------------------------------------------

    async def _end(self, placement: _Placement, reason: str) -> None:
        reply = await self._command(placement.worker, placement.life, End(session=placement.session, reason=reason))
        if isinstance(reply, Refused):
            await self._over(placement, reason)

    async def _over(self, placement: _Placement, reason: str) -> None:
        """The session has ended: nothing of it is left."""
        if placement.over:
            return
        placement.over = True
        if self._placed.get(placement.session) is placement:
            del self._placed[placement.session]
        await self._free(placement)
        with contextlib.suppress(FabricError, RemoteProtocolError):
            await perform(self._store, leases.forget(placement.session))
            await forget_memory(self._store, placement.session)
        if placement.on_ended is not None:
            await placement.on_ended(placement.session)
        _log.info("session over", extra={"session": placement.session, "reason": reason})
        self._changed.set()

    # --- a lost worker -------------------------------------------------------------------------------------------

    def _lost(self, view: View) -> None:
        """A life of a worker is over: its conversations go on elsewhere."""
        status = view.status
        for placement in list(self._placed.values()):
            if (placement.worker, placement.life) == (status.name, status.life) and not placement.moving:
                placement.over = True
                self._spawn(
                    self._recover(
                        placement.session, placement.character, placement.ordinal + 1, placement.on_ended, placement
                    ),
                    f"recover {placement.session}",
                )
        self._changed.set()

    async def _recover(
        self, session_id: str, character: str, ordinal: int, on_ended: Ended | None, former: _Placement | None
    ) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        placed: _Placement | None = None
        while placed is None and loop.time() < began + WORKER_RECOVERY_S_MAX and not self._closing:
            try:
                placed = await self._place(
                    session_id, character, ordinal, began + WORKER_RECOVERY_S_MAX - loop.time(), resume=True
                )
            except FabricError:
                await asyncio.sleep(_TEND_S)
            ordinal += _TRIES + 2
        if placed is not None:
            placed.on_ended = on_ended
            if self._placed.get(session_id) is not placed and on_ended is not None:
                await on_ended(session_id)  # it has ended meanwhile
            self.keeper.metrics.taken_over(loop.time() - began)
            _log.info("session goes on", extra={"session": session_id, "worker": placed.worker})
        elif on_ended is not None:
            self._placed.pop(session_id, None)
            await on_ended(session_id)
        if former is not None:
            await self._free(former)

    # --- moving --------------------------------------------------------------------------------------------------

    async def drain(self, name: str) -> int:
        """Let a worker take nothing new and move its conversations to others, each between two turns.

        Returns: how many were moved.
        Raises: KeyError: no such worker.
        """
        view = self.keeper.fleet.views[name]
        await self._command(name, view.status.life, Drain())
        self.keeper.drain(name)
        here = [placement for placement in self._placed.values() if placement.worker == name]
        moved = await asyncio.gather(*(self.move(placement.session) for placement in here))
        return sum(moved)

    async def move(self, session_id: str, wait_s: float = RELEASE_S_MAX) -> bool:
        """Move a conversation to another worker at the end of a turn. Returns: whether it is there."""
        source = self._placed.get(session_id)
        if source is None or source.moving:
            return False
        offer = self.keeper.fleet.take(but=source.worker)
        if offer is None:
            return False
        granted = await perform(self._store, leases.grant_next(session_id, source.ordinal + 1, [offer]))
        if isinstance(granted, Denied):
            self.keeper.fleet.give_back(offer.slot)
            return False
        target = _Placement(
            session=session_id,
            character=source.character,
            worker=offer.worker,
            life=offer.life,
            slot=offer.slot,
            slot_epoch=granted.slot.epoch,
            request=granted.slot.request,
            generation=0,
            named_at=asyncio.get_running_loop().time(),
            on_ended=source.on_ended,
        )
        if not await self._begin(target, resume=False, standby=True):
            await self._free(target)
            return False
        source.moving = True
        cut = target.request
        reply = await self._command(
            source.worker, source.life, Release(session=session_id, cut=cut, wait_s=wait_s), wait_s + 5.0
        )
        went = isinstance(reply, Released) and await self._go(source, target, reply.memory, cut)
        if not went:
            await self._command(target.worker, target.life, End(session=session_id, reason="moved"))
            await self._free(target)
            await self._stay(source, isinstance(reply, Released))
            return False
        self._placed[session_id] = target
        source.over = True
        self.keeper.fleet.came_in(target.slot)
        await self._command(source.worker, source.life, End(session=session_id, reason="moved"))
        await self._free(source)
        self.keeper.metrics.moved()
        return True

    async def _go(self, source: _Placement, target: _Placement, memory: bytes, cut: str) -> bool:
        with contextlib.suppress(FabricError, RemoteProtocolError):
            slot = leases.SlotLease(
                resource=target.slot,
                epoch=target.slot_epoch,
                holder=target.worker,
                life=target.life,
                request=target.request,
            )
            generation = await perform(self._store, leases.hand_over(source.session, source.generation, slot))
            if isinstance(generation, Denied):
                return False
            target.generation = generation
            go = Go(session=source.session, generation=generation, memory=memory, after=cut)
            return isinstance(await self._command(target.worker, target.life, go), Done)
        return False

    async def _stay(self, source: _Placement, released: bool) -> None:
        """It did not move. A source that has stopped already begins again, there or elsewhere, with its memory."""
        source.moving = False
        view = self.keeper.fleet.views.get(source.worker)
        gone = view is None or view.status.life != source.life
        if not released and not gone:
            return
        source.over = True
        if not gone:
            await self._command(source.worker, source.life, End(session=source.session, reason="moved"))
        self._spawn(
            self._recover(source.session, source.character, source.ordinal + 2, source.on_ended, source),
            f"recover {source.session}",
        )


def _complain(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s failed", task.get_name(), exc_info=error)

"""Where conversations are: giving one to a warm worker, and to another one when that is lost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from core.errors import FabricError, RemoteProtocolError
from core.fabric.bus import Bus
from core.fabric.stepping import perform
from core.fabric.store import Store
from core.limits import WORKER_COMMAND_S_MAX, WORKER_RECOVERY_S_MAX
from core.session.lease import Denied
from origin.sessions import Ended
from origin.workers import leases
from origin.workers.checkpoint import forget_memory
from origin.workers.keeper import Keeper
from origin.workers.messages import (
    Begin,
    Command,
    Done,
    End,
    Refused,
    Reply,
    command_subject,
    decode_reply,
    encode,
)

__all__ = ["Placement", "Placements"]

_log = logging.getLogger(__name__)

_TRIES: Final = 4
_RETRY_S: Final = 0.25
_GONE_MAX: Final = 4_096


@dataclass(slots=True)
class Placement:
    """Where a conversation is.

    Attributes:
        named_at: when its worker last said that it is there.
        moving: it is on its way to another worker.
        over: nobody waits for news of it any more.
    """

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
        """How many workers have had it, this one included."""
        return leases.ordinal_of(self.request)


class Placements:
    """See the module.

    Args:
        keeper: knows the workers and their slots.
        open_s_max: a session nobody opens ends after this.

    Attributes:
        placed: session → where it is.
        changed: set whenever a slot may have become warm, or a session has ended.
        closing: nothing new is begun.
        gone: requests of sessions that have ended or moved, the newest ones.
        unwanted: sessions that are to end as soon as they are somewhere again.
    """

    def __init__(self, keeper: Keeper, bus: Bus, store: Store, *, open_s_max: float) -> None:
        self.keeper = keeper
        self.placed: dict[str, Placement] = {}
        self.changed = asyncio.Event()
        self.closing = False
        self.gone: dict[str, None] = {}
        self.unwanted: set[str] = set()
        self._bus = bus
        self.store = store
        self._open_s_max = open_s_max
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do it beside everything else; a failure is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(_complain, self._tasks))

    async def aclose(self) -> None:
        """Stop whatever is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- placing -------------------------------------------------------------------------------------------------

    async def place(
        self, session_id: str, character: str, ordinal: int, wait_s: float, on_ended: Ended | None, *, resume: bool
    ) -> Placement | None:
        """Give a session to a warm worker. None: there was none in time.

        Raises: FabricError: the store is out of reach.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        tries = 0
        while True:
            self.changed.clear()
            offer = self.keeper.fleet.take()
            if offer is None:
                if not await self._wait_for_change(deadline):
                    return None
                continue
            granted = await perform(self.store, leases.grant(session_id, ordinal, [offer]))
            if isinstance(granted, Denied):
                self.keeper.fleet.give_back(offer.slot)
                tries += 1
                if granted.reason == "unknown" or tries > _TRIES:
                    raise FabricError("unreachable", f"no lease of {offer.slot}: {granted.reason}")
                continue
            placement = self.placed[session_id] = Placement(
                session=session_id,
                character=character,
                worker=offer.worker,
                life=offer.life,
                slot=offer.slot,
                slot_epoch=granted.slot.epoch,
                request=granted.slot.request,
                generation=granted.generation,
                named_at=loop.time(),
                on_ended=on_ended,
            )
            if await self.begin(placement, resume=resume):
                return placement
            self.placed.pop(session_id, None)
            await self.free(placement)
            ordinal += 1
            tries += 1
            if tries > _TRIES:
                return None

    async def _wait_for_change(self, deadline: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self.changed.wait()
                return True
        return False

    async def begin(self, placement: Placement, *, resume: bool, standby: bool = False) -> bool:
        """Tell the worker. Returns: whether it has begun."""
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
        reply = await self.command(placement.worker, placement.life, begin)
        if isinstance(reply, Done):
            placement.named_at = asyncio.get_running_loop().time()
            return True
        _log.warning("worker %s does not begin a session: %s", placement.worker, reply)
        return False

    async def command(self, worker: str, life: str, command: Command, timeout_s: float = WORKER_COMMAND_S_MAX) -> Reply:
        """Ask a life of a worker; `Refused` with the fabric's code when it does not answer."""
        try:
            return decode_reply(await self._bus.request(command_subject(worker, life), encode(command), timeout_s))
        except FabricError as error:
            return Refused(code=error.code)
        except RemoteProtocolError:
            return Refused(code="bad-message")

    async def free(self, placement: Placement) -> None:
        """Nobody is served on its slot any more."""
        self.keeper.fleet.give_back(placement.slot)
        self.gone[placement.request] = None
        while len(self.gone) > _GONE_MAX:
            del self.gone[next(iter(self.gone))]
        with contextlib.suppress(FabricError, RemoteProtocolError):
            await perform(self.store, leases.free(placement.slot, placement.slot_epoch, placement.request))

    # --- the end -------------------------------------------------------------------------------------------------

    async def end(self, placement: Placement, reason: str) -> None:
        """End the session, wherever it is."""
        reply = await self.command(placement.worker, placement.life, End(session=placement.session, reason=reason))
        if isinstance(reply, Refused):
            await self.over(placement, reason)

    async def over(self, placement: Placement, reason: str) -> None:
        """The session has ended: nothing of it is left."""
        if placement.over:
            return
        placement.over = True
        if self.placed.get(placement.session) is placement:
            del self.placed[placement.session]
        await self.free(placement)
        with contextlib.suppress(FabricError, RemoteProtocolError):
            await perform(self.store, leases.forget(placement.session))
            await forget_memory(self.store, placement.session)
        if placement.on_ended is not None:
            await placement.on_ended(placement.session)
        _log.info("session over", extra={"session": placement.session, "reason": reason})
        self.changed.set()

    # --- a lost worker -------------------------------------------------------------------------------------------

    async def recover(
        self, session_id: str, character: str, ordinal: int, on_ended: Ended | None, former: Placement | None
    ) -> None:
        """Go on elsewhere with a session whose worker is lost, or that nobody knows the worker of.

        Args:
            ordinal: beyond all that were used.
            former: where it was; its slot is freed.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        placed: Placement | None = None
        while placed is None and loop.time() < began + WORKER_RECOVERY_S_MAX and not self.closing:
            try:
                placed = await self.place(
                    session_id, character, ordinal, began + WORKER_RECOVERY_S_MAX - loop.time(), on_ended, resume=True
                )
            except FabricError:
                await asyncio.sleep(_RETRY_S)
            ordinal += _TRIES + 2
        if placed is not None:
            self.keeper.metrics.taken_over(loop.time() - began)
            if session_id in self.unwanted:
                await self.end(placed, "ended")
            _log.info("session goes on", extra={"session": session_id, "worker": placed.worker})
        elif on_ended is not None:
            self.placed.pop(session_id, None)
            await on_ended(session_id)
        self.unwanted.discard(session_id)
        if former is not None:
            await self.free(former)


def _complain(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s failed", task.get_name(), exc_info=error)

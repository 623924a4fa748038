"""Moving a conversation from worker to worker between two turns: nothing said is lost, nothing is heard twice.

The target listens before the source stops. The source says `Cut` on the session's subject and hears it itself: what
comes before is the source's, what comes after the target's.
"""

from __future__ import annotations

import asyncio
import contextlib

from core.errors import FabricError, RemoteProtocolError
from core.fabric.stepping import perform
from core.limits import RELEASE_S_MAX
from core.session.lease import Denied
from origin.workers import leases
from origin.workers.messages import Done, End, Go, Release, Released
from origin.workers.placements import Placement, Placements

__all__ = ["Mover"]


class Mover:
    """See the module."""

    def __init__(self, placements: Placements) -> None:
        self._placements = placements

    async def move(self, session_id: str, wait_s: float = RELEASE_S_MAX) -> bool:
        """Move a conversation at the end of a turn. Returns: whether another worker has it."""
        source = self._placements.placed.get(session_id)
        if source is None or source.moving:
            return False
        offer = self._placements.keeper.fleet.take(but=source.worker)
        if offer is None:
            return False
        granted = await perform(self._placements.store, leases.grant_next(session_id, source.ordinal + 1, [offer]))
        if isinstance(granted, Denied):
            self._placements.keeper.fleet.give_back(offer.slot)
            return False
        target = Placement(
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
        if not await self._placements.begin(target, resume=False, standby=True):
            await self._placements.free(target)
            return False
        source.moving = True
        cut = target.request
        reply = await self._placements.command(
            source.worker, source.life, Release(session=session_id, cut=cut, wait_s=wait_s), wait_s + 5.0
        )
        went = isinstance(reply, Released) and await self._go(source, target, reply.memory, cut)
        if not went:
            await self._placements.command(target.worker, target.life, End(session=session_id, reason="moved"))
            await self._placements.free(target)
            await self._stay(source, isinstance(reply, Released))
            return False
        self._placements.placed[session_id] = target
        source.over = True
        self._placements.keeper.fleet.came_in(target.slot)
        await self._placements.command(source.worker, source.life, End(session=session_id, reason="moved"))
        await self._placements.free(source)
        self._placements.keeper.metrics.moved()
        return True

    async def _go(self, source: Placement, target: Placement, memory: bytes, cut: str) -> bool:
        with contextlib.suppress(FabricError, RemoteProtocolError):
            slot = leases.SlotLease(
                resource=target.slot,
                epoch=target.slot_epoch,
                holder=target.worker,
                life=target.life,
                request=target.request,
            )
            generation = await perform(
                self._placements.store, leases.hand_over(source.session, source.generation, slot)
            )
            if isinstance(generation, Denied):
                return False
            target.generation = generation
            go = Go(session=source.session, generation=generation, memory=memory, after=cut)
            return isinstance(await self._placements.command(target.worker, target.life, go), Done)
        return False

    async def _stay(self, source: Placement, released: bool) -> None:
        """It did not move. A source that has stopped already begins again, there or elsewhere, with its memory."""
        source.moving = False
        view = self._placements.keeper.fleet.views.get(source.worker)
        gone = view is None or view.status.life != source.life
        if not released and not gone:
            return
        source.over = True
        if not gone:
            await self._placements.command(source.worker, source.life, End(session=source.session, reason="moved"))
        self._placements.spawn(
            self._placements.recover(source.session, source.character, source.ordinal + 2, source.on_ended, source),
            f"recover {source.session}",
        )

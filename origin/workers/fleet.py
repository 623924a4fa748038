"""What an origin knows of its workers, and the slots they have (`core.session.pool`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.session.booking import Offer
from core.session.pool import Pool, PoolPolicy, SlotEvent, SlotState
from origin.workers.messages import PROTOCOL, Hosted, Status

__all__ = ["Fleet", "View"]


@dataclass(slots=True)
class View:
    """One worker.

    Attributes:
        first_seen, seen: monotonic seconds.
        idle_since: since when it has served nobody.
    """

    status: Status
    first_seen: float
    seen: float
    idle_since: float
    draining: bool = False
    slots: list[str] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether it speaks our protocol."""
        return self.status.protocol == PROTOCOL

    @property
    def state(self) -> str:
        """For people."""
        if not self.usable:
            return "other-version"
        return "draining" if self.draining else self.status.state


class Fleet:
    """See the module. Slots are named `{worker}.{number}`.

    Attributes:
        views: worker → what it says of itself.
        pool: of all slots of workers that can be used.
    """

    def __init__(self, policy: PoolPolicy) -> None:
        self.views: dict[str, View] = {}
        self.pool = Pool(policy)

    def update(self, status: Status, now: float) -> View | None:
        """A worker has said how it is. Returns: the view of an earlier life of it that is over by that."""
        view = self.views.get(status.name)
        former: View | None = None
        if view is not None and view.status.life != status.life:
            former = self.lose(status.name)
            view = None
        if view is None:
            view = self.views[status.name] = View(status, now, now, now)
            for number in range(status.slots if view.usable else 0):
                slot = f"{status.name}.{number}"
                view.slots.append(slot)
                self.pool.add(slot)
                self.pool.apply(slot, SlotEvent.START)
        view.status, view.seen = status, now
        if status.sessions:
            view.idle_since = now
        if status.state == "warm":
            for slot in view.slots:
                if self.pool.state(slot) is SlotState.WARMING:
                    self.pool.apply(slot, SlotEvent.READY)
        elif status.state == "draining":
            self.drain(status.name)
        return former

    def counted(self, status: Status) -> dict[str, int]:
        """What a worker has counted since it last said how it is; asked before `update`.

        What a process has counted that is heard of for the first time was told to an origin before this one.
        """
        view = self.views.get(status.name)
        if view is None:
            return {}
        told = view.status.counts if view.status.pid == status.pid else {}
        return {name: more for name, total in status.counts.items() if (more := total - told.get(name, 0)) > 0}

    def drain(self, name: str) -> bool:
        """It takes nothing new. Returns: False when there is no such worker."""
        view = self.views.get(name)
        if view is None:
            return False
        view.draining = True
        for slot in view.slots:
            self.pool.apply(slot, SlotEvent.DRAIN)
        return True

    def lose(self, name: str) -> View | None:
        """It is gone, and its slots with it."""
        view = self.views.pop(name, None)
        for slot in view.slots if view is not None else ():
            self.pool.apply(slot, SlotEvent.LOSE)
            self.pool.remove(slot)
        return view

    def take(self, but: str = "") -> Offer | None:
        """Reserve a warm slot, of any worker but one. None: there is none."""
        refused: list[str] = []
        try:
            while (slot := self.pool.take()) is not None:
                name = slot.rpartition(".")[0]
                if name != but:
                    return Offer(slot=slot, worker=name, life=self.views[name].status.life)
                refused.append(slot)
            return None
        finally:
            for slot in refused:
                self.pool.apply(slot, SlotEvent.LAPSE)

    def adopt(self, hosted: Hosted) -> None:
        """A worker serves a session that this origin has not given it."""
        if hosted.slot in self.pool:
            self.pool.apply(hosted.slot, SlotEvent.RESERVE)
            if hosted.opened:
                self.pool.apply(hosted.slot, SlotEvent.LEASE)

    def give_back(self, slot: str) -> None:
        """Nobody is served on it any more."""
        if slot in self.pool and not self.pool.apply(slot, SlotEvent.RETURN):
            self.pool.apply(slot, SlotEvent.LAPSE)

    def came_in(self, slot: str) -> None:
        """Its viewer is there."""
        if slot in self.pool:
            self.pool.apply(slot, SlotEvent.LEASE)

    def running(self) -> list[str]:
        """Workers that take somebody new, or soon will."""
        return [name for name, view in self.views.items() if view.usable and not view.draining]

    def report(self, now: float) -> list[dict[str, Any]]:
        """All workers, as JSON can say it."""
        return [
            {
                "name": name,
                "state": view.state,
                "slots": {slot.rpartition(".")[2]: str(self.pool.state(slot)) for slot in view.slots},
                "sessions": [hosted.session for hosted in view.status.sessions],
                "pid": view.status.pid,
                "machine": view.status.machine,
                "instance": view.status.instance,
                "version": view.status.version,
                "beats": view.status.beats,
                "memory_bytes": view.status.memory_bytes,
                "warm_up_s": view.status.warm_up_s,
                "seen_s_ago": round(now - view.seen, 2),
            }
            for name, view in sorted(self.views.items())
        ]

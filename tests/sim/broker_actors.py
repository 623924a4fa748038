"""Workers, brokers and viewers: thin shells around the broker's rules, as the processes have them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from core.errors import Dropped, RemoteProtocolError
from core.limits import HEARTBEAT_S, RESERVATION_S
from core.session.booking import Offer, book, booking_key, cancel, decode_booking, sweep
from core.session.handoff import Action, Handoff, HandoffState
from core.session.heart import Heart, Reaper, decode_heart, heart_key
from core.session.lease import Denied, Fence, Lease, LeaseRecord, commit, decode_lease, end, look, reserve, take_over
from core.session.pool import Pool, PoolPolicy, SlotEvent
from core.session.steps import Get, Operation, Outcome
from tests.sim.broker_net import Net, Process

if TYPE_CHECKING:
    from tests.sim.broker import World

SLOTS = 2
FRAME_S = 0.1
LONELY_S = 3.0
"""A viewer that has heard nothing for so long comes again."""


@dataclass
class Service:
    """What a worker does for a session."""

    viewer: Viewer
    epoch: int
    request: str
    preview: bool


class Worker(Process):
    """Holds slots by its heart and sends to viewers while it lives."""

    def __init__(self, name: str, net: Net, world: World) -> None:
        super().__init__(name, net)
        self.world = world
        self.fenced = 0
        self.boot()

    def boot(self) -> None:
        """Begin a life."""
        self.heart = Heart(self.name, f"{self.name}-{self.net.chance.getrandbits(40):x}")
        self.serving: dict[str, Service] = {}
        self.idle_since: dict[str, float] = {}
        self.pool = Pool(PoolPolicy(buffer=SLOTS))
        for number in range(SLOTS):
            slot = f"{self.name}.{number}"
            self.pool.add(slot)
            self.pool.apply(slot, SlotEvent.START)
            self.pool.apply(slot, SlotEvent.READY)
        self._begin()

    def _begin(self) -> None:
        def begun(done: bool) -> None:
            if done:
                self._beat()
                self._send()
                self._audit()
            elif self.heart.stopped:
                self.restart()
            else:
                self.later(0.5, self._begin)

        self.run(self.heart.begin(self.now()), begun)

    def restart(self) -> None:
        """As a new life, after a crash or because the old one is over."""
        self.die()
        self.net.counters["lives"] += 1
        self.boot()

    def _beat(self) -> None:
        timer = self.heart.get_timer()
        if timer is None:
            self.fenced += 1
            self.restart()
            return
        if timer > self.now():
            self.later(min(max(timer - self.now(), 0.01), HEARTBEAT_S), self._beat)
            return
        self.run(self.heart.beat(self.now()), lambda _acknowledged: self.later(0.05, self._beat))

    def _send(self) -> None:
        for service in self.serving.values() if self.heart.alive(self.now()) else ():
            viewer, epoch, preview = service.viewer, service.epoch, service.preview
            self.world.sent(self, viewer, epoch)
            self.net.at(self.net.now + self.net.delay_s(), partial(viewer.hear, self.name, epoch, preview))
        self.later(FRAME_S, self._send)

    def told(self, service: Service, life: str, slot: str) -> None:
        """A broker says that a session is served here. It may be late, and about an earlier life."""
        if life != self.heart.life or not self.heart.alive(self.now()):
            return
        if self.pool.apply(slot, SlotEvent.RESERVE):
            self.pool.apply(slot, SlotEvent.LEASE)
        mine = self.serving.get(service.viewer.session)
        if mine is None or mine.epoch <= service.epoch:
            self.serving[service.viewer.session] = service
            if not service.preview:
                service.viewer.tell(self.name, service.epoch)

    def stop(self, session: str, epoch: int) -> None:
        """A session has left."""
        if session in self.serving and self.serving[session].epoch <= epoch:
            del self.serving[session]

    def _audit(self) -> None:
        """End leases of own slots that nobody is served on: a broker may have died between two writes."""
        leases = self.net.listing(self, "leases.") if self.heart.alive(self.now()) else None
        if leases is not None:
            records = {key.removeprefix("leases."): decode_lease(value) for key, value, _ in leases}
            for number in range(SLOTS):
                slot = f"{self.name}.{number}"
                self._audit_slot(slot, records.get(slot), records)
            for session, service in list(self.serving.items()):
                record = records.get(session)
                if not service.preview and record is not None and record.epoch > service.epoch:
                    self.stop(session, service.epoch)  # somebody has taken it over
        self.later(2.0, self._audit)

    def _audit_slot(self, slot: str, record: LeaseRecord | None, records: dict[str, LeaseRecord]) -> None:
        if record is None or record.life != self.heart.life:
            self.idle_since.pop(slot, None)
            self.pool.apply(slot, SlotEvent.RETURN)
            return
        session = records.get(record.request.partition("/")[0])
        if session is not None and session.request == record.request and session.holder:
            self.idle_since.pop(slot, None)
        elif self.now() - self.idle_since.setdefault(slot, self.now()) > 2 * RESERVATION_S:
            self.stop(record.request.partition("/")[0], 1 << 60)
            self.run(self._clean(slot, record))

    @staticmethod
    def _clean(slot: str, record: LeaseRecord) -> Generator[Operation, Outcome, None]:
        yield from end(slot, record.epoch, "released")
        yield from cancel(record.request)


class Viewer:
    """Hears whoever sends to it, and believes what its fence lets through."""

    def __init__(self, session: str, world: World) -> None:
        self.session = session
        self.world = world
        self.fence = Fence()
        self.requests = 0
        self.left = False
        self.heard_at = world.net.now
        self.accepted: list[tuple[int, str]] = []
        self.handoff: Handoff | None = None

    def hear(self, sender: str, epoch: int, preview: bool) -> None:
        """A packet."""
        verdict = self.fence.receive(epoch, sender)
        # Without a fence whoever claims to be the owner is believed.
        taken = verdict == "accepted" if self.world.fencing else not preview
        if isinstance(verdict, Dropped):
            self.world.net.counters[verdict.reason] += 1
        if verdict == "preview" and self.handoff is not None:
            self.world.net.counters["previews"] += 1
            self.handoff.receive_preview(epoch, self.world.net.now)
        if taken:
            self.heard_at = self.world.net.now
            self.world.accepted(self, epoch, sender)

    def tell(self, sender: str, epoch: int) -> None:
        """The new owner says that it is committed."""
        net = self.world.net
        net.at(net.now + net.delay_s(), lambda: self.fence.commit(epoch, sender))

    def watch(self) -> None:
        """Come, and come again when nothing is heard."""
        net = self.world.net
        if self.left:
            return
        if self.requests == 0 or net.now - self.heard_at > LONELY_S:
            self.heard_at = net.now
            self.requests += 1
            request = f"{self.session}/{self.requests}"
            for broker in net.chance.sample(self.world.brokers, net.chance.choice([1, 1, 2])):  # twice: a retry
                broker.serve(self, request)
            if net.chance.random() < 0.3:  # a retry that comes late, maybe when the viewer has long been served
                net.at(net.now + net.chance.uniform(0.5, 20.0), lambda: self.repeat(request))
        net.at(net.now + 0.5, self.watch)

    def repeat(self, request: str) -> None:
        """Ask again what was asked before, however long ago, because no answer was heard."""
        if not self.left:
            self.world.net.chance.choice(self.world.brokers).serve(self, request)


class Broker(Process):
    """Places sessions, hands them off, and buries who is silent."""

    def __init__(self, name: str, net: Net, world: World) -> None:
        super().__init__(name, net)
        self.world = world
        self.boot()

    def boot(self) -> None:
        """Begin a life."""
        self.reaper = Reaper()
        self.bookings: dict[str, float] = {}
        self.later(self.net.chance.uniform(0.0, 1.0), self._sweep)

    def restart(self) -> None:
        """Be killed and started again."""
        self.die()
        self.boot()

    def offers(self, but: str = "") -> list[Offer]:
        """Slots of workers whose heart beats, as far as this broker has heard."""
        hearts = self.net.listing(self, "hearts.") or []
        offers = []
        for key, value, _ in hearts:
            record, worker = decode_heart(value), key.removeprefix("hearts.")
            if not record.dead and not record.draining and worker != but:
                offers += [Offer(slot=f"{worker}.{n}", worker=worker, life=record.life) for n in range(SLOTS)]
        self.net.chance.shuffle(offers)
        return offers

    def serve(self, viewer: Viewer, request: str) -> None:
        """Give a viewer a worker: its first, or another because it has come again."""
        self.run(
            self._serving(viewer, request, self.offers(), viewer.fence.epoch), lambda found: self._tell(viewer, found)
        )

    def _serving(
        self, viewer: Viewer, request: str, offers: list[Offer], floor: int
    ) -> Generator[Operation, Outcome, tuple[Lease, Lease] | None]:
        slot = yield from book(request, offers)
        if isinstance(slot, Denied):
            return None
        self.world.granted(request, slot)
        before = yield from look(viewer.session)
        lease = yield from take_over(viewer.session, holder=slot.holder, life=slot.life, request=request, floor=floor)
        if isinstance(before, LeaseRecord) and before.request != request:
            yield from self._free(before)
        return None if isinstance(lease, Denied) else (slot, lease)

    def _free(self, before: LeaseRecord) -> Generator[Operation, Outcome, None]:
        """The slot of who was the owner so far."""
        booked = yield Get(booking_key(before.request))
        if not before.request or booked.refusal is not None:
            return
        slot = decode_booking(booked.value).slot
        record = yield from look(slot)
        if isinstance(record, LeaseRecord) and record.request == before.request:
            yield from end(slot, record.epoch, "handed-off")
        yield from cancel(before.request)
        if self.net.chance.random() < 0.2:  # a repeat that comes just then, when its request is being forgotten
            viewer = self.world.viewer(before.request.partition("/")[0])
            self.net.at(self.net.now + self.net.chance.uniform(0.0, 2.0), lambda: viewer.repeat(before.request))

    def _tell(self, viewer: Viewer, found: tuple[Lease, Lease] | None, preview: bool = False) -> None:
        if found is None or self.cut:
            return
        slot, lease = found
        worker = self.world.worker(slot.holder)
        service = Service(viewer, lease.epoch, lease.request, preview)
        self.net.at(
            self.net.now + self.net.delay_s(),
            lambda: worker.later(0.0, lambda: worker.told(service, slot.life, slot.resource)),
        )

    def leave(self, viewer: Viewer) -> None:
        """The viewer has gone."""
        self.run(
            self._leaving(viewer.session), lambda gone: None if gone else self.later(1.0, lambda: self.leave(viewer))
        )

    def _leaving(self, session: str) -> Generator[Operation, Outcome, bool]:
        record = yield from look(session)
        if not isinstance(record, LeaseRecord) or not record.holder:
            return isinstance(record, LeaseRecord) or record.reason == "ended"
        ended = yield from end(session, record.epoch, "released")
        if isinstance(ended, Denied):
            return False
        self.world.worker(record.holder).stop(session, record.epoch)
        yield from self._free(record)
        return True

    # --- handoff ---------------------------------------------------------------------------------------------

    def move(self, viewer: Viewer) -> None:
        """Hand a session off to another worker: the real state machine, its actions over the network."""
        self.run(look(viewer.session), lambda record: self._moving(viewer, record))

    def _moving(self, viewer: Viewer, record: LeaseRecord | Denied) -> None:
        if isinstance(record, Denied) or not record.holder or viewer.left:
            return
        viewer.requests += 1
        request = f"{viewer.session}/{viewer.requests}"
        handoff = viewer.handoff = Handoff(record.epoch, self.now())
        self.net.counters["handoffs"] += 1
        state: dict[str, Any] = {}

        def act() -> None:
            while (action := handoff.next_event()) is not None:
                self._act(action, handoff, viewer, record, request, state)
            if handoff.state not in (HandoffState.CLOSED, HandoffState.ABORTED):
                handoff.handle_timer(self.now())
                self.later(0.05, act)

        act()

    def _act(
        self, action: Action, handoff: Handoff, viewer: Viewer, record: LeaseRecord, request: str, state: dict[str, Any]
    ) -> None:
        current = Lease(
            resource=viewer.session, epoch=record.epoch, holder=record.holder, life=record.life, request=record.request
        )
        match action:
            case Action.RESERVE:
                self.run(reserve(viewer.session, current), lambda epoch: self._reserved(handoff, epoch))
            case Action.COPY:
                booking = book(request, self.offers(but=record.holder))
                self.run(booking, lambda slot: self._copied(handoff, slot, state))
            case Action.INVITE:
                slot = state["slot"]
                handoff.redeem(handoff.epoch)
                preview = Lease(
                    resource=viewer.session, epoch=handoff.epoch, holder=slot.holder, life=slot.life, request=request
                )
                self._tell(viewer, (slot, preview), preview=True)
            case Action.MOVE:
                slot = state["slot"]
                moving = commit(
                    viewer.session, epoch=handoff.epoch, holder=slot.holder, life=slot.life, request=request
                )
                self.run(moving, lambda result: self._moved(handoff, viewer, result, state))
            case Action.COMMIT:
                self._tell(viewer, (state["slot"], state["lease"]))
                self.later(0.1, lambda: handoff.receive_told(self.now()))
            case Action.CLOSE_SOURCE:
                self.net.counters["handoffs done"] += 1
                self.world.worker(record.holder).stop(viewer.session, record.epoch)
                self.run(self._free(record))
            case Action.CLOSE_TARGET:
                self.net.counters[f"handoff {handoff.reason}"] += 1
                if "slot" in state:
                    self.world.worker(state["slot"].holder).stop(viewer.session, handoff.epoch)
                    self.run(self._free(LeaseRecord(epoch=1, reserved=1, holder="x", request=request)))

    def _reserved(self, handoff: Handoff, epoch: int | Denied) -> None:
        if isinstance(epoch, Denied):
            handoff.abort(epoch.reason, self.now())
        else:
            handoff.receive_reserved(epoch, self.now())

    def _copied(self, handoff: Handoff, slot: Lease | Denied, state: dict[str, Any]) -> None:
        if isinstance(slot, Denied):
            handoff.abort(f"no-target-{slot.reason}", self.now())
            return
        self.world.granted(slot.request, slot)
        state["slot"] = slot
        handoff.receive_state(b"state", self.now())

    def _moved(self, handoff: Handoff, viewer: Viewer, result: Lease | Denied, state: dict[str, Any]) -> None:
        if isinstance(result, Denied) and result.reason == "unknown":
            slot, epoch = state["slot"], handoff.epoch
            again = commit(viewer.session, epoch=epoch, holder=slot.holder, life=slot.life, request=slot.request)
            self.later(0.5, lambda: self.run(again, lambda once: self._moved(handoff, viewer, once, state)))
            return
        if isinstance(result, Lease):
            state["lease"] = result
        handoff.receive_moved(isinstance(result, Lease), self.now())

    # --- the dead --------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        hearts, leases = self.net.listing(self, "hearts."), self.net.listing(self, "leases.")
        if hearts is None or leases is None:
            self.later(1.0, self._sweep)
            return
        for key, value, revision in hearts:
            self.reaper.observe(key.removeprefix("hearts."), value, revision, self.now())
        for holder in self.reaper.suspects(self.now()):
            self.net.counters["suspects"] += 1
            self.run(self.reaper.bury(holder, self.now()))
        for key, value, _ in leases:
            try:
                record = decode_lease(value)
            except RemoteProtocolError:
                self.net.counters["bad records"] += 1
                continue
            if self.reaper.may_be_over(record):
                self.run(self.reaper.reap(key.removeprefix("leases."), record, self.now()), self._reaped)
        self._sweep_bookings()
        self.later(1.0, self._sweep)

    def _sweep_bookings(self) -> None:
        # Not a set: its order changes from process to process, and a seed could not be played again.
        bookings = [key.removeprefix("bookings.") for key, _, _ in self.net.listing(self, "bookings.") or ()]
        self.bookings = {request: self.bookings.get(request, self.now()) for request in bookings}
        for request, seen_at in self.bookings.items():
            if self.now() - seen_at > RESERVATION_S:  # until then whoever wrote it may still be at it
                self.bookings[request] = self.now()
                self.run(sweep(request))

    def _reaped(self, ended: bool) -> None:
        self.net.counters["expired"] += ended


__all__ = ["FRAME_S", "SLOTS", "Broker", "Viewer", "Worker", "heart_key"]

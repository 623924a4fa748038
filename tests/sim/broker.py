"""`python -m tests.sim broker [--seeds N] [--seed N]`: the broker's rules over a store and processes that fail in all
ways.

Each seed is one cluster for two minutes of virtual time: partitions, processes that stand still (with and without their
clocks), crashes between a compare-and-set and its answer, clocks that are set, a store that is away or has lost
everything, and viewers who come back all at once. Then everything heals, all leave, and what must always hold is
looked at once more. With `fencing` off viewers believe whoever claims to own their session: the same seeds must then
find violations.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from core.session.booking import booking_key, decode_booking
from core.session.heart import decode_heart
from core.session.lease import Lease, LeaseRecord, decode_lease, encode_lease
from tests.sim.broker_actors import Broker, Viewer, Worker
from tests.sim.broker_net import Net

__all__ = ["PROGRESS_S", "Outcome", "World", "main", "simulate"]

_NOTHING = encode_lease(LeaseRecord(epoch=1, reserved=1, ended="unused"))
_TROUBLE_S = 60.0
_HEAL_S = 30.0
_LEAVE_S = 30.0
PROGRESS_S = 10.0
"""How often a long run says how far it is."""
_INTERRUPTED = 130
"""As a shell says of what was stopped by Ctrl-C."""


@dataclass
class Outcome:
    """What became of one seed."""

    violations: list[str] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    served: int = 0


class World:
    """One cluster. See the module."""

    def __init__(self, seed: int, *, fencing: bool = True) -> None:
        self.net = Net(seed)
        self.fencing = fencing
        self.violations: list[str] = []
        self.net.on_write = self._written
        self._epochs: dict[str, LeaseRecord] = {}
        self._senders: dict[tuple[str, int], str] = {}
        self._newest: dict[str, int] = {}
        self._expired: set[tuple[str, int]] = set()
        self._granted: dict[str, set[tuple[str, int]]] = {}
        self.brokers = [Broker(f"b{number}", self.net, self) for number in range(2)]
        self.workers = [Worker(f"w{number}", self.net, self) for number in range(4)]
        self.viewers = [Viewer(f"v{number}", self) for number in range(4)]

    def worker(self, name: str) -> Worker:
        """By name."""
        return self.workers[int(name[1:])]

    def viewer(self, session: str) -> Viewer:
        """By its session."""
        return self.viewers[int(session[1:])]

    def _violated(self, what: str) -> None:
        self.violations.append(f"at {self.net.now:.2f} s: {what}")

    # --- what must always hold ---------------------------------------------------------------------------------

    def _written(self, key: str, value: bytes) -> None:
        if key.startswith("bookings."):
            self._found_by_its_booking(key.removeprefix("bookings."))
        if not key.startswith("leases.") or not value:
            return
        resource, record = key.removeprefix("leases."), decode_lease(value)
        if record.ended == "unused":
            return  # what a wiped store knows of a resource; no lease of it yet
        before = self._epochs.get(resource)
        if before is not None:
            moved = record.holder and (record.holder, record.life, record.request) != (
                before.holder, before.life, before.request,
            )  # fmt: skip
            if record.epoch < before.epoch or (moved and record.epoch <= before.epoch):
                self._violated(f"{resource}: epoch {record.epoch} after {before.epoch}, {before} then {record}")
            if record.ended == "expired":
                self._expired.add((resource, record.epoch))
        self._epochs[resource] = record

    def granted(self, request: str, lease: Lease) -> None:
        """A broker has an answer for a request. Whatever else was answered to the same request is over."""
        for other in sorted(self._granted.setdefault(request, set()) - {(lease.resource, lease.epoch)}):
            if self._is_alive(*other) and self._is_alive(lease.resource, lease.epoch):
                self._violated(f"request {request} was granted {other} and {lease}")
        self._granted[request].add((lease.resource, lease.epoch))
        self._found_by_its_booking(request)

    def _found_by_its_booking(self, request: str) -> None:
        """As long as a lease that was granted lives: else who repeats the request is given a second one beside it."""
        value, _ = self.net.records.entries.get(booking_key(request), (b"", 0))
        for resource, epoch in sorted(self._granted.get(request, ())):
            if self._is_alive(resource, epoch) and not (value and decode_booking(value).slot == resource):
                self._violated(f"request {request} was granted {resource}, epoch {epoch}, and its booking forgets it")

    def _is_alive(self, resource: str, epoch: int) -> bool:
        record = decode_lease(self.net.records.entries.get(f"leases.{resource}", (_NOTHING, 0))[0])
        return bool(record.holder) and record.epoch == epoch

    def sent(self, worker: Worker, viewer: Viewer, epoch: int) -> None:
        """A worker sends. One whose clock never stood still does not after its lease was given up for dead."""
        if (viewer.session, epoch) in self._expired and not worker.suspended:
            self._violated(f"{worker.name} sends epoch {epoch} of {viewer.session}, which has expired")

    def accepted(self, viewer: Viewer, epoch: int, sender: str) -> None:
        """A viewer takes a packet for its owner's."""
        newest = self._newest.get(viewer.session, 0)
        if epoch < newest:
            self._violated(f"{viewer.session} takes epoch {epoch} of {sender} after {newest}")
        self._newest[viewer.session] = max(newest, epoch)
        owner = self._senders.setdefault((viewer.session, epoch), sender)
        if owner != sender:
            self._violated(f"{viewer.session} takes epoch {epoch} from {owner} and from {sender}")

    # --- what goes wrong ---------------------------------------------------------------------------------------

    def _trouble(self) -> None:
        chance, now = self.net.chance, self.net.now
        everybody: list[Worker | Broker] = [*self.workers, *self.brokers]
        process = chance.choice(everybody)
        match chance.choice(
            ["cut", "stop", "suspend", "crash", "clock", "away", "wipe", "storm", "move", "move", "none"]
        ):
            case "cut":
                process.cut = True
                self.net.at(now + chance.uniform(0.5, 20.0), lambda: setattr(process, "cut", False))
            case "stop":
                process.pause(chance.uniform(0.1, 15.0), clock_too=False)
            case "suspend":
                process.pause(chance.uniform(0.1, 15.0), clock_too=True)
            case "crash":
                process.restart()
            case "clock":
                process.jump(chance.uniform(-0.3, 0.3))
            case "away":
                self._store_away(chance.uniform(0.5, 15.0))
            case "wipe" if chance.random() < 0.3:
                self._store_away(chance.uniform(0.1, 5.0))
                self.net.wipe()
            case "storm":
                for viewer in self.viewers:
                    viewer.heard_at = -1e9
            case "move":
                chance.choice(self.brokers).move(chance.choice(self.viewers))
        self.net.counters["troubles"] += 1
        if now < _TROUBLE_S:
            self.net.at(now + chance.expovariate(0.5), self._trouble)

    def _store_away(self, seconds: float) -> None:
        self.net.store_up = False
        self.net.at(self.net.now + seconds, lambda: setattr(self.net, "store_up", True))

    def _heal(self) -> None:
        self.net.loss = 0.0
        self.net.store_up = True
        for process in (*self.workers, *self.brokers):
            process.cut = False

    # --- a life of a cluster -----------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """All of it."""
        self.net.run_until(1.0)
        for viewer in self.viewers:
            self.net.at(self.net.now + self.net.chance.uniform(0.0, 5.0), viewer.watch)
        self.net.at(self.net.now + 3.0, self._trouble)
        self.net.run_until(_TROUBLE_S)
        self.net.at(_TROUBLE_S + 16.0, self._heal)
        self.net.run_until(_TROUBLE_S + 16.0 + _HEAL_S)
        served = sum(self.net.now - viewer.heard_at < 1.0 for viewer in self.viewers)
        if served < len(self.viewers):
            self._violated(f"after everything has healed only {served} of {len(self.viewers)} viewers are served")
        for viewer in self.viewers:
            viewer.left = True
            self.brokers[0].leave(viewer)
        self.net.run_until(self.net.now + _LEAVE_S)
        self._all_have_ended()
        return Outcome(self.violations, self.net.counters, served)

    def _all_have_ended(self) -> None:
        for key, (value, _) in self.net.records.entries.items():
            if key.startswith("leases.") and decode_lease(value).holder:
                self._violated(f"{key} is held for ever: {decode_lease(value)}")
            if key.startswith("bookings."):
                self._violated(f"{key} is kept for ever")
            if key.startswith("hearts.") and decode_heart(value).dead:
                self._violated(f"{key} never came back")


def simulate(seed: int, *, fencing: bool = True) -> Outcome:
    """One seed."""
    return World(seed, fencing=fencing).run()


def main(arguments: list[str]) -> int:
    """Entry point. Returns: 1 when a promise was broken, or when nothing is without fencing; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim broker", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many clusters (default 100)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="only this one, with all its counters")
    parser.add_argument(
        "--unfenced-every", type=int, default=1, help="without fencing only every so many seeds, as that costs as much"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    found, without, counters, done, began = 0, 0, Counter[str](), 0, time.monotonic()
    told_at, interrupted, unfenced = began, False, 0
    try:
        for seed in seeds:
            outcome = simulate(seed)
            if seed % max(1, options.unfenced_every) == 0:
                without += len(simulate(seed, fencing=False).violations)
                unfenced += 1
            done += 1
            found += len(outcome.violations)
            counters.update(outcome.counters)
            for violation in outcome.violations[:3]:
                print(f"seed {seed}: {violation}; replay: python -m tests.sim broker --seed {seed}", file=sys.stderr)
            if time.monotonic() - told_at >= PROGRESS_S:
                told_at = time.monotonic()
                rate = done / (told_at - began)
                print(f"{done} of {len(seeds)} seeds, {found} violations, {rate:.1f} seeds/s", file=sys.stderr)
    except KeyboardInterrupt:  # say what is known so far
        interrupted = True
    summary = {
        "seeds": done,
        "violations": found,
        "seeds_without_fencing": unfenced,
        "violations_without_fencing": without,
        "seconds": round(time.monotonic() - began, 1),
        "counters": dict(sorted(counters.items())),
    }
    print(json.dumps(summary) if options.json else "\n".join(f"{name}: {value}" for name, value in summary.items()))
    if interrupted:
        return _INTERRUPTED
    return 1 if found or (not without and options.seed is None) else 0

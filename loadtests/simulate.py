"""`visavis simulate`: a day of arrivals in virtual time, by the broker's own placement, pool, lease and handoff code.

Clients live around POPs on a ring of time zones and come more often in their evening. Each probes its nearest POPs, is
placed, gets a warm slot (or waits for a cold one), leases it and leaves. Every POP is drained once for an update, and
some viewers roam: both are handoffs. What is assumed stands in `Assumptions`; what is counted, in `DayReport`.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError
from core.session.handoff import Action, Handoff
from core.session.lease import Lease, acquire, commit, end, reserve
from core.session.placement import Client, Placement, PopView, place
from core.session.pool import Pool, PoolPolicy, SlotEvent, SlotState
from core.session.steps import Steps
from loadtests.ledger import Ledger
from loadtests.simulate_plot import draw

if TYPE_CHECKING:
    from core.host.cli import Subparsers

__all__ = ["Assumptions", "Day", "DayReport", "register"]

_DAY_S: Final = 86_400.0
_MINUTE_S: Final = 60.0
_PROBED: Final = 6
_NEWEST: Final = 0.2
"""How much the last minute counts in the mean of arrivals; the older ones count less and less."""
_FORECAST_S: Final = _MINUTE_S * (2 - _NEWEST) / _NEWEST
"""So long a window of equal weights would know the mean as well."""
_IN_USE: Final = (SlotState.RESERVED, SlotState.LEASED, SlotState.DRAINING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What a day is made of.

    Attributes:
        session_s: mean length of a session, exponentially distributed.
        swing: how much busier the evening is than the mean, 0 … 1.
        warm_up_s: of a slot.
        roam_share: of all sessions, those whose viewer comes to another POP.
        slot_hour_cost: price of a slot for an hour, warm or in use, in whatever currency.
        headroom: a POP's capacity, as a multiple of its mean load at the peak.
    """

    pops: int = 60
    sessions: int = 1_000_000
    session_s: float = 300.0
    swing: float = 0.7
    warm_up_s: float = 10.0
    roam_share: float = 0.01
    slot_hour_cost: float = 0.01
    headroom: float = 2.5
    seed: int = 1


@dataclass(slots=True)
class DayReport:
    """What was counted."""

    arrivals: int = 0
    served: int = 0
    turned_away: int = 0
    cold_starts: int = 0
    handoffs: int = 0
    handoffs_without_target: int = 0
    slot_hours: float = 0.0
    leased_hours: float = 0.0
    pool_slots_peak: int = 0
    warm: list[int] = field(default_factory=list)
    leased: list[int] = field(default_factory=list)

    def table(self, day: Assumptions) -> dict[str, float]:
        """Figures, units last."""
        return {
            "sessions": self.served,
            "turned_away_percent": 100 * self.turned_away / max(1, self.arrivals),
            "cold_start_percent": 100 * self.cold_starts / max(1, self.served),
            "handoff_percent": 100 * self.handoffs / max(1, self.served),
            "handoffs_without_target": self.handoffs_without_target,
            "pool_slots_peak": self.pool_slots_peak,
            "pool_slots_mean": self.slot_hours / 24,
            "utilization_percent": 100 * self.leased_hours / max(1e-9, self.slot_hours),
            "cost": self.slot_hours * day.slot_hour_cost,
            "cost_per_1000_sessions": 1_000 * self.slot_hours * day.slot_hour_cost / max(1, self.served),
        }


class _Pop:
    """A POP with its pool."""

    def __init__(self, number: int, day: Assumptions) -> None:
        self.name = f"pop-{number:02d}"
        self.place = number / day.pops
        mean = day.sessions * day.session_s / _DAY_S / day.pops
        self.capacity = math.ceil(day.headroom * mean * (1 + day.swing)) + 4
        policy = PoolPolicy(mode="forecast", buffer=1, warm_up_s=day.warm_up_s, slots_max=self.capacity)
        self.pool = Pool(policy)
        self.rate = 0.0
        self.recent = 0
        self.made = 0
        self.serving = True

    @property
    def in_use(self) -> int:
        return self.pool.count(*_IN_USE)

    @property
    def forecast(self) -> float:
        """Arrivals per second to be ready for: what was seen, and twice what that may be wrong by."""
        return _rounded(self.rate + 2 * math.sqrt(self.rate / _FORECAST_S))

    def view(self, now: float) -> PopView:
        return PopView(name=self.name, serving=self.serving, heard_at=now, load=min(1.0, self.in_use / self.capacity))


@dataclass(slots=True)
class _Session:
    name: str
    pop: _Pop
    slot: str
    lease: Lease


class Day:
    """Runs one day. `progress` is told the share that is done, now and then."""

    def __init__(self, day: Assumptions, progress: Callable[[float], None] = lambda share: None) -> None:
        if day.pops < 1 or day.sessions < 1 or not 0 <= day.swing <= 1 or not 0 <= day.roam_share <= 1:
            raise ConfigError("a day has at least one POP and one session, and shares between 0 and 1")
        self.day = day
        self.report = DayReport()
        self._progress = progress
        self._chance = Random(day.seed)
        self._pops = [_Pop(number, day) for number in range(day.pops)]
        self._by_name = {pop.name: pop for pop in self._pops}
        self._ledger = Ledger()
        self._now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._sessions: dict[str, _Session] = {}

    def run(self) -> DayReport:
        """The day, from midnight to midnight."""
        self._first_forecast()
        self._at(0.0, self._every_minute)
        for number, pop in enumerate(self._pops):
            self._at((number + 0.5) * _DAY_S / len(self._pops), partial(self._drain, pop))
        while self._queue and self._queue[0][0] < _DAY_S:
            self._now, _, call = heapq.heappop(self._queue)
            call()
        return self.report

    def _at(self, when: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (when, self._count, call))

    def _do(self, steps: Steps[Any]) -> Any:
        return self._ledger.run(steps)

    # --- arrivals ----------------------------------------------------------------------------------------------

    def _rate_at(self, position: float) -> float:
        """Arrivals per second around a POP: midnight on the ring is where the day begins."""
        local = (self._now / _DAY_S + position) % 1.0
        mean = self.day.sessions / _DAY_S / self.day.pops
        return mean * (1 + self.day.swing * math.sin(2 * math.pi * (local - 0.5)))

    def _first_forecast(self) -> None:
        for pop in self._pops:
            pop.rate = self._rate_at(pop.place)
            self._start(pop)
            for slot in list(self._slots(pop, SlotState.WARMING)):
                pop.pool.apply(slot, SlotEvent.READY)

    def _every_minute(self) -> None:
        self._progress(self._now / _DAY_S)
        totals = {state: sum(pop.pool.count(state) for pop in self._pops) for state in SlotState}
        running = sum(totals.values()) - totals[SlotState.COLD] - totals[SlotState.LOST]
        self.report.slot_hours += running / 60
        self.report.leased_hours += totals[SlotState.LEASED] / 60
        self.report.pool_slots_peak = max(self.report.pool_slots_peak, running)
        self.report.warm.append(totals[SlotState.WARM])
        self.report.leased.append(totals[SlotState.LEASED])
        for pop in self._pops:
            pop.rate = (1 - _NEWEST) * pop.rate + _NEWEST * pop.recent / _MINUTE_S
            pop.recent = 0
            for slot in pop.pool.plan(pop.forecast).stop if pop.serving else ():
                pop.pool.apply(slot, SlotEvent.STOP)
                pop.pool.remove(slot)
            self._start(pop)
            for _ in range(self._poisson(self._rate_at(pop.place) * _MINUTE_S)):
                self._at(self._now + self._chance.uniform(0.0, _MINUTE_S), partial(self._arrive, pop))
        self._at(self._now + _MINUTE_S, self._every_minute)

    def _poisson(self, mean: float) -> int:
        if mean > 200:
            return max(0, round(self._chance.gauss(mean, math.sqrt(mean))))
        count, product, limit = 0, self._chance.random(), math.exp(-mean)
        while product > limit:
            count += 1
            product *= self._chance.random()
        return count

    def _arrive(self, home: _Pop) -> None:
        self.report.arrivals += 1
        client, near = self._client(home, f"u{self._chance.getrandbits(40):x}")
        placed = place(client, [pop.view(self._now) for pop in near], self._now)
        if not isinstance(placed, Placement):
            self.report.turned_away += 1
            return
        pop = self._by_name[placed.candidates[0]]
        pop.recent += 1
        slot = self._take(pop)
        name = f"s{self.report.arrivals}"
        self._do(acquire(slot, holder=pop.name, life="1", request=name))
        lease = self._do(acquire(name, holder=pop.name, life="1", request=slot))
        pop.pool.apply(slot, SlotEvent.LEASE)
        self._start(pop)
        self._sessions[name] = _Session(name, pop, slot, lease)
        self.report.served += 1
        left_s = self._chance.expovariate(1 / self.day.session_s)
        self._at(self._now + left_s, lambda: self._leave(name))
        if self._chance.random() < self.day.roam_share:
            self._at(self._now + left_s * self._chance.random(), lambda: self._roam(name))

    def _client(self, home: _Pop, affinity: str) -> tuple[Client, list[_Pop]]:
        """Somebody near a POP, who has probed the nearest ones: 5 ms, and 2 ms for every step around the ring."""
        number = self._pops.index(home) if len(self._pops) < _PROBED else int(home.name[4:])
        near = [self._pops[(number + step) % len(self._pops)] for step in _steps(min(_PROBED, len(self._pops)))]
        spread = 120.0 / len(self._pops)
        rtt_ms = {
            pop.name: 5.0 + spread * abs(step) + self._chance.expovariate(0.5)
            for pop, step in zip(near, _steps(len(near)), strict=True)
        }
        return Client(affinity=affinity, rtt_ms=rtt_ms), near

    # --- slots -------------------------------------------------------------------------------------------------

    def _slots(self, pop: _Pop, state: SlotState) -> Sequence[str]:
        names = (f"{pop.name}.{number}" for number in range(pop.made))
        return [name for name in names if name in pop.pool and pop.pool.state(name) is state]

    def _start(self, pop: _Pop, at_least: int = 0) -> list[str]:
        started = []
        for _ in range(max(at_least, pop.pool.plan(pop.forecast).start if pop.serving else 0)):
            slot = f"{pop.name}.{pop.made}"
            pop.made += 1
            pop.pool.add(slot)
            pop.pool.apply(slot, SlotEvent.START)
            started.append(slot)
            self._at(self._now + self.day.warm_up_s, partial(self._ready, pop, slot))
        return started

    def _ready(self, pop: _Pop, slot: str) -> None:
        if slot in pop.pool:
            pop.pool.apply(slot, SlotEvent.READY)

    def _take(self, pop: _Pop) -> str:
        slot = pop.pool.take()
        if slot is None:
            # The viewer waits a warm-up, looking at a face that the POP animates by itself.
            self.report.cold_starts += 1
            slot = self._start(pop, at_least=1)[0]
            pop.pool.apply(slot, SlotEvent.READY)
            pop.pool.apply(slot, SlotEvent.RESERVE)
        return slot

    def _give_back(self, pop: _Pop, slot: str) -> None:
        if not pop.pool.apply(slot, SlotEvent.RETURN) and pop.pool.apply(slot, SlotEvent.STOP):
            pop.pool.remove(slot)

    def _leave(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is None:
            return
        self._do(end(name, session.lease.epoch, "released"))
        self._ledger.forget(name)  # a session that is over comes never again; a slot's record stays
        self._free(session.pop, session.slot)

    def _free(self, pop: _Pop, slot: str) -> None:
        self._ledger.end(slot)
        self._give_back(pop, slot)

    # --- handoffs ----------------------------------------------------------------------------------------------

    def _drain(self, pop: _Pop) -> None:
        """An update: everybody moves on, the POP comes back empty."""
        pop.serving = False
        for session in [session for session in self._sessions.values() if session.pop is pop]:
            self._move(session)
        for slot in list(self._slots(pop, SlotState.WARM)):
            pop.pool.apply(slot, SlotEvent.STOP)
            pop.pool.remove(slot)
        self._at(self._now + 2 * _MINUTE_S, lambda: self._back(pop))

    def _back(self, pop: _Pop) -> None:
        """Warm first, then open: who is placed there must not wait."""
        self._start(pop, at_least=pop.pool.plan(pop.forecast).start)
        self._at(self._now + self.day.warm_up_s, lambda: setattr(pop, "serving", True))

    def _roam(self, name: str) -> None:
        session = self._sessions.get(name)
        if session is not None:
            self._move(session)

    def _move(self, session: _Session) -> None:
        """The real state machine, every step of which succeeds: what it decides is where, and whether there is room."""
        client, near = self._client(session.pop, session.name)
        placed = place(client, [pop.view(self._now) for pop in near if pop is not session.pop], self._now)
        if not isinstance(placed, Placement):
            self.report.handoffs_without_target += 1
            return
        target, source, source_slot = self._by_name[placed.candidates[0]], session.pop, session.slot
        handoff, slot = Handoff(session.lease.epoch, self._now), self._take(target)
        while (action := handoff.next_event()) is not None:
            match action:
                case Action.RESERVE:
                    handoff.receive_reserved(self._do(reserve(session.name, session.lease)), self._now)
                case Action.COPY:
                    handoff.receive_state(b"", self._now)
                case Action.INVITE:
                    handoff.redeem(handoff.epoch)
                    handoff.receive_preview(handoff.epoch, self._now)
                case Action.MOVE:
                    moving = commit(session.name, epoch=handoff.epoch, holder=target.name, life="1", request=slot)
                    session.lease = self._do(moving)
                    handoff.receive_moved(isinstance(session.lease, Lease), self._now)
                case Action.COMMIT:
                    handoff.receive_told(self._now)
                case Action.CLOSE_SOURCE | Action.CLOSE_TARGET:
                    pass
        self._do(acquire(slot, holder=target.name, life="1", request=session.name))
        target.pool.apply(slot, SlotEvent.LEASE)
        session.pop, session.slot = target, slot
        self._free(source, source_slot)
        self._start(target)
        self.report.handoffs += 1


def _steps(count: int) -> list[int]:
    """0, 1, -1, 2, -2 …"""
    return [((number + 1) // 2) * (1 if number % 2 else -1) for number in range(count)]


def _rounded(rate: float) -> float:
    """Up to the next of twenty steps per doubling, so that forecasts repeat."""
    return 0.0 if rate <= 0 else 2.0 ** (math.ceil(20 * math.log2(rate)) / 20)


def register(subparsers: Subparsers) -> None:
    """Add `visavis simulate`."""
    day = Assumptions()
    parser = subparsers.add_parser(
        "simulate",
        help="a day of arrivals by the broker's own code",
        description="A day of arrivals in virtual time, placed, warmed up and moved by the broker's own code: who "
        "has to wait for a worker, who is turned away, how many workers there are and what they cost. "
        "--pops 6 --sessions 3000 is a first look.",
    )
    for name, kind, text in (
        ("pops", int, "how many POPs"),
        ("sessions", int, "how many arrivals in the day"),
        ("session-s", float, "mean length of a session"),
        ("warm-up-s", float, "how long a slot takes to warm up"),
        ("roam-share", float, "share of sessions that roam to another POP"),
        ("slot-hour-cost", float, "price of a slot for an hour"),
        ("seed", int, "one seed, one day"),
    ):
        default = getattr(day, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{text} (default {default})")
    parser.add_argument("--plot", type=Path, help="write the day's curve as an SVG file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    fields = ("pops", "sessions", "session_s", "warm_up_s", "roam_share", "slot_hour_cost", "seed")
    if options.plot is not None and not options.plot.absolute().parent.is_dir():
        raise ConfigError(f"--plot: there is no folder {options.plot.absolute().parent}")
    assumed = Assumptions(**{name: getattr(options, name) for name in fields})
    began = time.monotonic()
    Day(assumed)  # refuses what cannot be before a bar is shown
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("a day", total=1.0)
        report = Day(assumed, lambda share: bar.update(task, completed=share)).run()
    figures = {**report.table(assumed), "seconds": time.monotonic() - began}
    if options.plot is not None:
        try:
            options.plot.write_text(draw(report.warm, report.leased), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{options.plot} cannot be written: {error.strerror}") from None
    if options.json:
        sys.stdout.write(json.dumps({"figures": figures, "assumed": asdict(assumed)}) + "\n")
        return 0
    width = max(map(len, figures))
    sys.stdout.write("\n".join(f"{name:<{width}}  {value:>14,.3f}" for name, value in figures.items()) + "\n")
    return 0

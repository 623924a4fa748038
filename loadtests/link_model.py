"""One direction of a network path, sans-IO: packets go in with times and sizes, arrival times come out.

The same model drives the relay (`loadtests.relay`) in real time and simulations in virtual time. One seed is one
trace: what happens to packet n depends on the seed, the profile, and the times and sizes of packets 1 to n alone.
Losses, delays and outages draw from generators of their own, so that changing one leaves the others as they were.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

from core.errors import ConfigError

__all__ = ["DeliveryTrace", "LinkModel", "LinkProfile", "Outage", "read_trace"]

TRACE_PACKET_SIZE_BYTES: Final = 1_500
"""What one delivery opportunity of a trace carries (the format of Mahimahi's mm-link)."""
_TRACE_LINES_MAX: Final = 2_000_000
_OUTAGES_MAX: Final = 100_000
_SPREAD_MAX: Final = 2.5
"""Jitter is a normal distribution cut off at this many standard deviations."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch of time during which nothing gets through.

    Attributes:
        start_s: seconds since the link's first instant.
        end_s: the same; the first instant at which packets pass again.
    """

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class DeliveryTrace:
    """When a link could deliver 1,500 bytes each; it repeats for ever.

    Attributes:
        at_s: times in seconds, not decreasing, the last one above 0; the last is also the period.
    """

    at_s: tuple[float, ...]

    def __post_init__(self) -> None:
        times = self.at_s
        if not times or times[-1] <= 0 or times[0] < 0 or any(b < a for a, b in pairwise(times)):
            raise ConfigError("a trace needs times in milliseconds that never decrease and end above 0")

    def next_opportunity(self, after: int, now: float) -> int:
        """Number of the first opportunity at or after `now` seconds that is later than number `after`."""
        rounds, rest = divmod(now, self.at_s[-1])
        number = int(rounds) * len(self.at_s) + bisect_left(self.at_s, rest)
        return max(after + 1, number)

    def time_of(self, opportunity: int) -> float:
        """Seconds of an opportunity."""
        rounds, index = divmod(opportunity, len(self.at_s))
        return rounds * self.at_s[-1] + self.at_s[index]


def read_trace(path: Path) -> DeliveryTrace:
    """A Mahimahi trace: one integer per line, the millisecond of one delivery opportunity of 1,500 bytes.

    Raises: ConfigError: the file cannot be read or is no such trace.
    """
    times: list[float] = []
    try:
        with path.open(encoding="ascii") as lines:
            for number, line in enumerate(lines, 1):
                if number > _TRACE_LINES_MAX:
                    raise ConfigError(f"{path} has more than {_TRACE_LINES_MAX} lines")
                if text := line.strip():
                    if not text.isdecimal():
                        raise ConfigError(f"{path}:{number}: {text[:20]!r} is not a time in milliseconds")
                    times.append(int(text) / 1_000)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"the trace {path} cannot be read: {why}") from error
    return DeliveryTrace(tuple(times))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkProfile:
    """How a link treats packets. The defaults are a perfect link.

    Attributes:
        name: for people.
        loss_enter: Gilbert-Elliott p, chance per packet of going from the good state to the bad one.
        loss_leave: Gilbert-Elliott r, chance per packet of coming back; bursts are 1 / r packets long on average.
        loss_bad: chance that a packet is lost in the bad state; 1 = the Gilbert model.
        delay_s: mean one-way delay.
        jitter_s: its standard deviation; a radio link keeps the order, so a late packet holds up those behind it.
        reorder: chance that a packet is held back by `reorder_s` while others overtake it.
        reorder_s: for how long.
        duplicate: chance that a packet comes twice.
        rate_bps: bits per second of the bottleneck; None = unlimited.
        queue_s_max: a packet that would wait longer at the bottleneck is dropped.
        outage_every_s: mean seconds from the end of an outage to the next; 0 = none.
        outage_s: shortest and longest outage.
        trace: delivery opportunities that replace `rate_bps`.
    """

    name: str
    loss_enter: float = 0.0
    loss_leave: float = 1.0
    loss_bad: float = 1.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.03
    duplicate: float = 0.0
    rate_bps: float | None = None
    queue_s_max: float = 0.5
    outage_every_s: float = 0.0
    outage_s: tuple[float, float] = (0.0, 0.0)
    trace: DeliveryTrace | None = None

    def __post_init__(self) -> None:
        chances = ("loss_enter", "loss_leave", "loss_bad", "reorder", "duplicate")
        for name in chances:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; a chance is between 0 and 1")
        for name in ("delay_s", "jitter_s", "reorder_s", "queue_s_max", "outage_every_s"):
            if not 0.0 <= getattr(self, name) <= 3_600.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be between 0 and 3600 seconds")
        if self.rate_bps is not None and not 1.0 <= self.rate_bps < math.inf:
            raise ConfigError(f"rate_bps is {self.rate_bps}; a link needs at least 1 bit/s")
        shortest, longest = self.outage_s
        if not 0.0 <= shortest <= longest <= 3_600.0:
            raise ConfigError(f"outage_s is {self.outage_s}; give the shortest and the longest, at most 3600 seconds")
        if self.loss_enter > 0.0 and self.loss_leave == 0.0:
            raise ConfigError("loss_leave is 0: once bad, this link would stay bad for ever")

    @property
    def loss(self) -> float:
        """Share of packets that is lost in the long run, outages and full queues apart."""
        total = self.loss_enter + self.loss_leave
        return self.loss_bad * self.loss_enter / total if total > 0.0 else 0.0


class LinkModel:
    """One direction of one path.

    Args:
        profile: how it treats packets.
        seed: one seed, one trace.

    Attributes:
        fates: packets by what became of them: `delivered`, `lost`, `outage`, `queue-full`, `duplicated`, `reordered`.
    """

    def __init__(self, profile: LinkProfile, seed: int) -> None:
        self.profile = profile
        self.fates: Counter[str] = Counter()
        self._loss = Random(f"{seed}/loss")
        self._delay = Random(f"{seed}/delay")
        self._other = Random(f"{seed}/other")
        self._outage = Random(f"{seed}/outage")
        self._outages: list[Outage] = []
        self._bad = False
        self._free_at = 0.0
        self._opportunity = -1
        self._in_opportunity = 0
        self._latest = 0.0

    def send(self, now: float, size_bytes: int) -> tuple[float, ...]:
        """A packet enters the link.

        Args:
            now: seconds since the link's first instant; must not decrease.
            size_bytes: with headers.
        Returns: when it arrives, in seconds: () = never, two times = twice.
        """
        profile = self.profile
        lost = self._lose()
        spread = min(_SPREAD_MAX, max(-_SPREAD_MAX, self._delay.gauss(0.0, 1.0)))
        held = self._other.random() < profile.reorder
        twice = self._other.random() < profile.duplicate
        if self.outage_at(now) is not None:
            return self._drop("outage")
        leaves = self._bottleneck(now, size_bytes)
        if leaves is None:
            return self._drop("queue-full")
        if lost:
            return self._drop("lost")
        self.fates["delivered"] += 1
        arrival = leaves + max(0.0, profile.delay_s + profile.jitter_s * spread)
        arrival = max(arrival, self._latest)
        if held:
            self.fates["reordered"] += 1
            arrival += profile.reorder_s
        else:
            self._latest = arrival
        if not twice:
            return (arrival,)
        self.fates["duplicated"] += 1
        return (arrival, arrival + profile.jitter_s + 0.001)

    def outage_at(self, now: float) -> Outage | None:
        """The outage that `now` falls into."""
        self._plan(now)
        for outage in reversed(self._outages):
            if outage.start_s <= now:
                return outage if now < outage.end_s else None
        return None

    def outages(self, until: float) -> list[Outage]:
        """All outages that begin before `until` seconds."""
        self._plan(until)
        return [outage for outage in self._outages if outage.start_s < until]

    def _plan(self, until: float) -> None:
        profile = self.profile
        if not profile.outage_every_s or not profile.outage_s[1]:
            return
        while not self._outages or self._outages[-1].start_s <= until:
            if len(self._outages) >= _OUTAGES_MAX:
                raise ConfigError(f"{profile.name}: more than {_OUTAGES_MAX} outages; this link is never up")
            former = self._outages[-1].end_s if self._outages else 0.0
            start = former + profile.outage_every_s * self._outage.uniform(0.5, 1.5)
            self._outages.append(Outage(start, start + self._outage.uniform(*profile.outage_s)))

    def _lose(self) -> bool:
        profile = self.profile
        change = self._loss.random()
        self._bad = change >= profile.loss_leave if self._bad else change < profile.loss_enter
        return self._loss.random() < profile.loss_bad and self._bad

    def _bottleneck(self, now: float, size_bytes: int) -> float | None:
        profile = self.profile
        if profile.trace is not None:
            return self._by_trace(profile.trace, now, size_bytes)
        if profile.rate_bps is None:
            return now
        leaves = max(now, self._free_at) + size_bytes * 8 / profile.rate_bps
        if leaves - now > profile.queue_s_max:
            return None
        self._free_at = leaves
        return leaves

    def _by_trace(self, trace: DeliveryTrace, now: float, size_bytes: int) -> float | None:
        """Packets share an opportunity while they fit into it; one that is larger takes several."""
        opportunity, room = self._opportunity, self._in_opportunity
        if opportunity < 0 or trace.time_of(opportunity) < now:
            opportunity, room = trace.next_opportunity(opportunity, now), TRACE_PACKET_SIZE_BYTES
        missing = size_bytes - room
        while missing > 0:
            opportunity, missing = opportunity + 1, missing - TRACE_PACKET_SIZE_BYTES
        leaves = max(now, trace.time_of(opportunity))
        if leaves - now > self.profile.queue_s_max:
            return None
        self._opportunity, self._in_opportunity = opportunity, -missing
        return leaves

    def _drop(self, fate: str) -> tuple[float, ...]:
        self.fates[fate] += 1
        return ()

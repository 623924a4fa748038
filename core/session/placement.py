"""Which POPs a client may go to, in which order, or when it should ask again.

Filters say who may serve it at all. Those are sorted into classes of round-trip time: inside a class nobody hears a
difference. From the best class on, each with room is taken; within one, rendezvous hashing gives every client its own
order of POPs, the same one next time, and of the first two the one with less load wins (the power of two choices).
Where nobody has room the client is told to come later: a POP that is too busy for all helps none of them.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from core.limits import (
    PLACEMENT_CANDIDATES_MAX,
    PLACEMENT_RETRY_AFTER_S,
    POP_LOAD_MAX,
    POP_SILENCE_S_MAX,
    RTT_CLASSES_MS,
)

__all__ = ["Client", "Placement", "PopView", "TurnedAway", "place", "rtt_class", "why_not"]

_SCORE_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PopView:
    """What the broker knows of a POP.

    Attributes:
        serving: it takes sessions (not starting, not draining).
        heard_at: when its last heartbeat came, monotonic seconds of the broker.
        load: 0 … 1 of its capacity, what was placed there since the last heartbeat included.
        protocols: `webrtc`, `webtransport`, …
        region: where what it processes stays.
        carrier: the mobile network it is inside of (a Wavelength zone); empty: reachable from anywhere.
    """

    name: str
    serving: bool = True
    heard_at: float
    load: float
    protocols: frozenset[str] = frozenset({"webrtc"})
    region: str = ""
    carrier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who asks.

    Attributes:
        affinity: who comes back with the same gets the same POPs, as long as they have room; the user, for example.
        protocols: what it can speak; one of them must fit.
        regions: where its data may be; None: anywhere.
        carrier: the mobile network it is in, as its address shows, not as it says; empty: none.
        rtt_ms: what it has measured, by POP. POPs without a measurement come last; what is no time is none.
    """

    affinity: str
    protocols: frozenset[str] = frozenset({"webrtc"})
    regions: frozenset[str] | None = None
    carrier: str = ""
    rtt_ms: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Placement:
    """Where to go, best first; at least one, at most PLACEMENT_CANDIDATES_MAX."""

    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Nobody can serve this client now.

    Attributes:
        code: `no-pop` (none may serve it, whatever the load) or `overloaded` (those that may are full).
        retry_after_s: when to ask again.
        reasons: how many POPs were left out for what.
    """

    code: str
    retry_after_s: int
    reasons: Mapping[str, int]


def why_not(client: Client, pop: PopView, now: float) -> str:
    """Why this POP may not serve this client; empty: it may. Load is the last reason: all others are for good."""
    if not pop.serving:
        return "not-serving"
    if not 0.0 <= now - pop.heard_at <= POP_SILENCE_S_MAX:
        return "silent"
    if not client.protocols & pop.protocols:
        return "protocol"
    if client.regions is not None and pop.region not in client.regions:
        return "residency"
    if pop.carrier and pop.carrier != client.carrier:
        return "carrier"
    if not pop.load < POP_LOAD_MAX:  # also what is no number
        return "load"
    return ""


def rtt_class(rtt_ms: float | None) -> int:
    """0 is best; what was not measured, or is no time, is in the last one."""
    if rtt_ms is None or not math.isfinite(rtt_ms) or rtt_ms < 0:
        return len(RTT_CLASSES_MS) + 1
    return bisect_left(RTT_CLASSES_MS, rtt_ms)


def place(client: Client, pops: Sequence[PopView], now: float) -> Placement | TurnedAway:
    """Choose.

    Args:
        pops: all there are, in any order; the answer does not depend on it.
        now: monotonic seconds, of the clock that `heard_at` is of.
    """
    reasons = Counter[str]()
    classes: dict[int, list[PopView]] = {}
    for pop in pops:
        reason = why_not(client, pop, now)
        if reason:
            reasons[reason] += 1
        else:
            classes.setdefault(rtt_class(client.rtt_ms.get(pop.name)), []).append(pop)
    if not classes:
        code = "overloaded" if reasons["load"] else "no-pop"
        return TurnedAway(code, PLACEMENT_RETRY_AFTER_S, dict(reasons))
    chosen: list[str] = []
    for number in sorted(classes):
        ranked = sorted(classes[number], key=lambda pop: _score(client.affinity, pop.name), reverse=True)
        while ranked and len(chosen) < PLACEMENT_CANDIDATES_MAX:
            best = min(ranked[:2], key=lambda pop: pop.load)  # of equals the first in the client's own order
            ranked.remove(best)
            chosen.append(best.name)
    return Placement(tuple(chosen))


def _score(affinity: str, pop: str) -> bytes:
    """Rendezvous hashing (Thaler and Ravishankar 1998): who comes or goes moves only its own clients."""
    key = affinity.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(key + b"\0" + pop.encode("utf-8", "surrogatepass"), digest_size=_SCORE_BYTES).digest()

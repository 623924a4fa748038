"""The warm pool: workers with pipeline, models and voice loaded before anybody asks, and how many of them there
should be.

`TRANSITIONS` is the life of a slot as one table; `Pool` keeps the slots and is the only one who moves them;
`PoolPolicy` says how many should be warm. Starting and stopping is somebody else's work: `Pool.plan` says what is
missing.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal

from core.errors import LocalProtocolError
from core.limits import COLD_START_SHARE_MAX, POOL_SLOTS_MAX

__all__ = ["TRANSITIONS", "Plan", "Pool", "PoolPolicy", "SlotEvent", "SlotState", "slot_diagram", "warm_needed"]


class SlotState(StrEnum):
    """What a slot is good for now."""

    COLD = "cold"
    WARMING = "warming"
    WARM = "warm"
    RESERVED = "reserved"
    """A ticket was minted for it; its viewer has not come yet."""
    LEASED = "leased"
    DRAINING = "draining"
    """It serves who is there and takes nobody new."""
    LOST = "lost"


class SlotEvent(StrEnum):
    """What happens to a slot."""

    START = "start"
    READY = "ready"
    RESERVE = "reserve"
    LAPSE = "lapse"
    """Nobody came with the ticket."""
    LEASE = "lease"
    RETURN = "return"
    """The session has ended and the worker is scrubbed."""
    DRAIN = "drain"
    STOP = "stop"
    LOSE = "lose"
    """The worker has died, or nothing is heard of it."""
    REPLACE = "replace"
    """A new worker takes the place of one that was lost."""


_S: Final = SlotState
_E: Final = SlotEvent

TRANSITIONS: Final[dict[SlotState, dict[SlotEvent, SlotState]]] = {
    _S.COLD: {_E.START: _S.WARMING, _E.LOSE: _S.LOST},
    _S.WARMING: {_E.READY: _S.WARM, _E.STOP: _S.COLD, _E.DRAIN: _S.DRAINING, _E.LOSE: _S.LOST},
    _S.WARM: {_E.RESERVE: _S.RESERVED, _E.DRAIN: _S.DRAINING, _E.STOP: _S.COLD, _E.LOSE: _S.LOST},
    _S.RESERVED: {_E.LEASE: _S.LEASED, _E.LAPSE: _S.WARM, _E.DRAIN: _S.DRAINING, _E.LOSE: _S.LOST},
    _S.LEASED: {_E.RETURN: _S.WARM, _E.DRAIN: _S.DRAINING, _E.LOSE: _S.LOST},
    _S.DRAINING: {_E.STOP: _S.COLD, _E.LOSE: _S.LOST},
    _S.LOST: {_E.REPLACE: _S.COLD},
}
"""What is not listed is refused: a draining slot is never leased, a leased one is never stopped."""


def slot_diagram() -> str:
    """The table as a Mermaid state diagram; ARCHITECTURE.md shows exactly this text."""
    lines = ["stateDiagram-v2", "    [*] --> cold"]
    for state, row in TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {event}" for event, target in row.items() if target is not _S.LOST]
    return "\n".join([*lines, *(f"    {state} --> lost" for state in TRANSITIONS if state is not _S.LOST)])


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """How many warm slots there should be for who comes next.

    Attributes:
        mode: `absolute` (buffer slots), `percent` (buffer per cent of those in use), or `forecast`.
        buffer: slots or per cent; the least there are in forecast mode.
        warm_up_s: from start to ready, for the forecast.
        slots_max: of all, in use or not.
    """

    mode: Literal["absolute", "percent", "forecast"] = "absolute"
    buffer: float = 2.0
    warm_up_s: float = 10.0
    slots_max: int = POOL_SLOTS_MAX

    def __post_init__(self) -> None:
        numbers_ok = math.isfinite(self.buffer) and math.isfinite(self.warm_up_s)
        if not numbers_ok or self.buffer < 0 or self.warm_up_s < 0 or not 0 <= self.slots_max <= POOL_SLOTS_MAX:
            raise LocalProtocolError(f"no pool policy: {self.mode} {self.buffer} {self.warm_up_s} {self.slots_max}")

    def spare(self, in_use: int, arrivals_per_s: float) -> int:
        """How many slots should be warm or warming beyond those in use."""
        if self.mode == "absolute":
            return math.ceil(self.buffer)
        if self.mode == "percent":
            return max(1, math.ceil(in_use * self.buffer / 100))
        return max(math.ceil(self.buffer), warm_needed(arrivals_per_s * self.warm_up_s))


@lru_cache(maxsize=4_096)
def warm_needed(arrivals_per_warm_up: float, share_max: float = COLD_START_SHARE_MAX) -> int:
    """The smallest buffer of which at most `share_max` of all arrivals find nothing left.

    Each slot that is taken is replaced at once, and its replacement takes a warm-up; so as many are missing as came
    within one warm-up, which is Poisson whatever the warm-ups are distributed like (Palm's theorem: a base-stock
    system, or M/G/∞), and an arrival sees that as anybody does (PASTA). The buffer N is the smallest with
    P(Poisson(mean) ≥ N) ≤ share.

    Raises: LocalProtocolError: a mean that is negative or not finite, a share outside 0 … 1.
    """
    mean = arrivals_per_warm_up
    if not math.isfinite(mean) or mean < 0 or not 0 < share_max < 1:
        raise LocalProtocolError(f"no forecast from {mean} arrivals for a share of {share_max}")
    if mean == 0:
        return 0
    # Summed from above, where nothing cancels: from where a term is nothing down to where the tail is too much.
    count = math.ceil(mean + 12 * math.sqrt(mean) + 30)
    term = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    tail = term
    while count > 0 and tail <= share_max:
        term *= count / mean
        count -= 1
        tail += term
    return count + 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What the pool needs.

    Attributes:
        start: cold slots to start, and new ones where there are too few.
        stop: warm slots that are too many, longest idle first.
        missing: by how many the warm ones are fewer than the policy asks for; more than 0 is an alarm.
    """

    start: int
    stop: tuple[str, ...]
    missing: int


class Pool:
    """The slots of a place, and what they are doing. Slots are handed out first in, first out."""

    def __init__(self, policy: PoolPolicy) -> None:
        self.policy = policy
        self._states: dict[str, SlotState] = {}
        self._warm: dict[str, None] = {}
        self._counts: Counter[SlotState] = Counter()

    def add(self, slot: str) -> None:
        """A new, cold slot. Raises: LocalProtocolError: it is there already, or there are too many."""
        if slot in self._states:
            raise LocalProtocolError(f"slot {slot} is there already")
        if len(self._states) >= POOL_SLOTS_MAX:
            raise LocalProtocolError(f"a pool has at most {POOL_SLOTS_MAX} slots")
        self._states[slot] = SlotState.COLD
        self._counts[SlotState.COLD] += 1

    def remove(self, slot: str) -> None:
        """Forget a slot that is cold or lost. Raises: LocalProtocolError: it is neither."""
        if self.state(slot) not in (SlotState.COLD, SlotState.LOST):
            raise LocalProtocolError(f"slot {slot} is {self.state(slot)}")
        self._counts[self._states.pop(slot)] -= 1

    def state(self, slot: str) -> SlotState:
        """Raises: LocalProtocolError: no such slot."""
        state = self._states.get(slot)
        if state is None:
            raise LocalProtocolError(f"no slot {slot}")
        return state

    def apply(self, slot: str, event: SlotEvent) -> bool:
        """Move one slot. Returns: False when the table does not allow it, and nothing has changed."""
        before = self.state(slot)
        after = TRANSITIONS[before].get(event)
        if after is None:
            return False
        self._counts[before] -= 1
        self._counts[after] += 1
        self._states[slot] = after
        if before is SlotState.WARM:
            del self._warm[slot]
        if after is SlotState.WARM:
            self._warm[slot] = None
        return True

    def take(self) -> str | None:
        """Reserve a warm slot, the one that has waited longest. None: there is none, a cold start."""
        slot = next(iter(self._warm), None)
        if slot is not None:
            self.apply(slot, SlotEvent.RESERVE)
        return slot

    def count(self, *states: SlotState) -> int:
        """How many slots are in one of these states."""
        return sum(self._counts[state] for state in states)

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, slot: str) -> bool:
        return slot in self._states

    def plan(self, arrivals_per_s: float = 0.0) -> Plan:
        """What should be started and stopped now."""
        in_use = self.count(_S.RESERVED, _S.LEASED, _S.DRAINING)
        warm, warming = self.count(_S.WARM), self.count(_S.WARMING)
        room = max(0, self.policy.slots_max - in_use)
        wanted = self.policy.spare(self.count(_S.RESERVED, _S.LEASED), arrivals_per_s)
        target = min(wanted, room)
        surplus = max(0, warm + warming - target)
        stop = tuple(slot for slot, _ in zip(self._warm, range(min(surplus, warm)), strict=False))
        return Plan(start=max(0, target - warm - warming), stop=stop, missing=max(0, wanted - warm))

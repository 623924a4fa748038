"""What lies between the broker's processes and their store: delays, lost questions and answers, outages, wipes,
clocks."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from core.session.steps import Operation, Outcome, Refusal, Steps
from tests.core.session.records import Records

__all__ = ["ANSWER_S_MAX", "Net", "Process"]

ANSWER_S_MAX = 1.0
"""A process that has no answer by then takes it for lost."""
_LOST = Outcome(refusal=Refusal.LOST)


class Process:
    """Something with a clock of its own that can be cut off, stand still, or die in the middle of anything.

    Attributes:
        life: changes when it dies; what was under way then is never heard of again.
        suspended: it once stood still together with its clock, so that it cannot have noticed.
    """

    def __init__(self, name: str, net: Net) -> None:
        self.name = name
        self.net = net
        self.life = 0
        self.cut = False
        self.paused_until = 0.0
        self.suspended = False
        self._offset_s = net.chance.uniform(0.0, 1_000.0)
        self._jumped_s = 0.0
        self._rate = 1.0 + net.chance.uniform(-0.005, 0.005)

    def now(self) -> float:
        """Its monotonic clock."""
        return self.net.now * self._rate + self._offset_s

    def jump(self, seconds: float) -> None:
        """Its clock is wrong from now on by so much more; together less than LEASE_SKEW_S."""
        self._jumped_s, before = max(-0.2, min(0.2, self._jumped_s + seconds)), self._jumped_s
        self._offset_s += self._jumped_s - before

    def pause(self, seconds: float, *, clock_too: bool) -> None:
        """Stand still: stopped by a debugger or a busy machine; `clock_too`: a virtual machine that was suspended."""
        self.paused_until = max(self.paused_until, self.net.now + seconds)
        if clock_too:
            self.suspended = True
            self._offset_s -= seconds * self._rate

    def die(self) -> None:
        """Be killed. What was sent may still arrive."""
        self.life += 1
        self.paused_until = 0.0

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Do something in this life, after so long, and not while it stands still."""
        self.net.at(self.net.now + seconds, partial(self._due, self.life, call))

    def _due(self, life: int, call: Callable[[], object]) -> None:
        if self.life != life:
            return
        if self.net.now < self.paused_until:
            self.net.at(self.paused_until, partial(self._due, life, call))
        else:
            call()

    def run(self, steps: Steps[Any], done: Callable[[Any], None] = lambda _result: None) -> None:
        """Drive a rule over the network; `done` gets its result, if this life lasts so long."""
        try:
            operation = next(steps)
        except StopIteration as end:
            done(end.value)
            return
        self._ask(steps, operation, done)

    def _ask(self, steps: Steps[Any], operation: Operation, done: Callable[[Any], None]) -> None:
        answered = False

        def answer(outcome: Outcome) -> None:
            nonlocal answered
            if answered:
                return
            answered = True
            try:
                following = steps.send(outcome)
            except StopIteration as end:
                done(end.value)
            else:
                self._ask(steps, following, done)

        self.later(ANSWER_S_MAX, lambda: answer(_LOST))
        self.net.carry(self, operation, lambda outcome: self.later(0.0, lambda: answer(outcome)))


class Net:
    """Virtual time, the one store, and the way to it.

    Attributes:
        store_up: whether the store answers.
        on_write: told (key, value) of everything that was written.
    """

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = 0.0
        self.records = Records()
        self.store_up = True
        self.loss = self.chance.choice([0.0, 0.0, 0.02, 0.1])
        self.counters = Counter[str]()
        self.on_write: Callable[[str, bytes], None] = lambda key, value: None
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Do something then."""
        heapq.heappush(self._queue, (when, next(self._numbers), call))

    def run_until(self, end: float) -> None:
        """Let virtual time pass."""
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= end:
            self.now, _, call = pop(queue)
            call()
        self.now = end

    def delay_s(self) -> float:
        """One way: usually short, now and then so long that the asker has given up."""
        if self.chance.random() < self.loss / 2:
            return self.chance.uniform(0.5, 4.0)
        return self.chance.uniform(0.001, 0.03)

    def carry(self, process: Process, operation: Operation, answer: Callable[[Outcome], None]) -> None:
        """A question to the store and its answer, either of which may get lost."""
        if process.cut or self.chance.random() < self.loss:
            self.counters["questions lost"] += 1
            return

        def arrive() -> None:
            if not self.store_up:
                self.counters["store away"] += 1
                return
            before = self.records.revision
            outcome = self.records.apply(operation)
            if self.records.revision != before:
                self.on_write(operation.key, self.records.entries.get(operation.key, (b"", 0))[0])
            if process.cut or self.chance.random() < self.loss:
                self.counters["answers lost"] += 1
                return
            self.at(self.now + self.delay_s(), lambda: answer(outcome))

        self.at(self.now + self.delay_s(), arrive)

    def listing(self, process: Process, prefix: str) -> list[tuple[str, bytes, int]] | None:
        """What a watch has shown a process that is connected; None: it shows nothing now."""
        if process.cut or not self.store_up:
            return None
        entries = self.records.entries.items()
        return [(key, value, revision) for key, (value, revision) in entries if key.startswith(prefix)]

    def wipe(self) -> None:
        """The store has lost everything but the order of its revisions."""
        self.counters["wipes"] += 1
        self.records.entries.clear()

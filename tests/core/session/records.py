"""A store for rules that are tested without one: operations at once, in one dictionary, revisions increasing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from core.session.steps import Create, Delete, Get, Operation, Outcome, Refusal, Steps, Update

T = TypeVar("T")

LOST = Outcome(refusal=Refusal.LOST)


class Records:
    """Values and revisions by key."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.revision = 0

    def apply(self, operation: Operation) -> Outcome:
        """Do it."""
        value, revision = self.entries.get(operation.key, (b"", 0))
        match operation:
            case Get():
                return Outcome(revision, value) if revision else Outcome(refusal=Refusal.NOT_FOUND)
            case Create():
                return Outcome(refusal=Refusal.EXISTS) if revision else self._write(operation.key, operation.value)
            case Update() | Delete():
                if not revision:
                    return Outcome(refusal=Refusal.NOT_FOUND)
                if revision != operation.revision:
                    return Outcome(refusal=Refusal.CONFLICT)
                if isinstance(operation, Update):
                    return self._write(operation.key, operation.value)
                del self.entries[operation.key]
                self.revision += 1
                return Outcome()

    def _write(self, key: str, value: bytes) -> Outcome:
        self.revision += 1
        self.entries[key] = (value, self.revision)
        return Outcome(self.revision)


def run(records: Records, steps: Steps[T], between: Callable[[Operation, Outcome], Outcome] | None = None) -> T:
    """Drive a rule; `between` may change what it learns of what has happened."""
    try:
        operation = next(steps)
        while True:
            outcome = records.apply(operation)
            operation = steps.send(between(operation, outcome) if between is not None else outcome)
    except StopIteration as end:
        result: T = end.value
        return result


def losing(answers: set[int]) -> Callable[[Operation, Outcome], Outcome]:
    """The answers with these numbers (from 0) are lost after the operation was done."""
    count = -1

    def between(operation: Operation, outcome: Outcome) -> Outcome:
        nonlocal count
        count += 1
        return LOST if count in answers else outcome

    return between

"""A store for simulations: the broker's rules at once, in one dictionary, nothing lost."""

from __future__ import annotations

from typing import TypeVar

from core.session.lease import LeaseRecord, decode_lease, end, lease_key
from core.session.steps import Create, Get, Operation, Outcome, Refusal, Steps, Update

__all__ = ["Ledger"]

T = TypeVar("T")


class Ledger:
    """Values and revisions by key."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[bytes, int]] = {}
        self._revision = 0

    def run(self, steps: Steps[T]) -> T:
        """Drive a rule to its end."""
        try:
            operation = next(steps)
            while True:
                operation = steps.send(self._do(operation))
        except StopIteration as finished:
            result: T = finished.value
            return result

    def record(self, resource: str) -> LeaseRecord | None:
        """What is known of a resource."""
        entry = self._entries.get(lease_key(resource))
        return None if entry is None else decode_lease(entry[0])

    def end(self, resource: str) -> None:
        """End the lease of a resource, whatever its epoch."""
        record = self.record(resource)
        if record is not None:
            self.run(end(resource, record.epoch, "released"))

    def forget(self, resource: str) -> None:
        """The resource is gone for good."""
        self._entries.pop(lease_key(resource), None)

    def __len__(self) -> int:
        return len(self._entries)

    def _do(self, operation: Operation) -> Outcome:
        value, revision = self._entries.get(operation.key, (b"", 0))
        match operation:
            case Get():
                return Outcome(revision, value) if revision else Outcome(refusal=Refusal.NOT_FOUND)
            case Create() if revision:
                return Outcome(refusal=Refusal.EXISTS)
            case Update() if revision != operation.revision:
                return Outcome(refusal=Refusal.CONFLICT if revision else Refusal.NOT_FOUND)
            case Create() | Update():
                self._revision += 1
                self._entries[operation.key] = (operation.value, self._revision)
                return Outcome(self._revision)
            case _:
                self.forget(operation.key)
                return Outcome()

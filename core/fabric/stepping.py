"""Drives the broker's rules (`core.session.steps`) over a real store."""

from __future__ import annotations

from typing import TypeVar

from core.errors import FabricError
from core.fabric.store import Store
from core.session.steps import Create, Delete, Get, Operation, Outcome, Refusal, Steps, Update

__all__ = ["perform"]

T = TypeVar("T")


async def perform(store: Store, steps: Steps[T]) -> T:
    """Run a rule to its end. Raises: what the rule raises; FabricError: `too-large`, which no rule can help."""
    try:
        operation = next(steps)
        while True:
            operation = steps.send(await _do(store, operation))
    except StopIteration as end:
        result: T = end.value
        return result


async def _do(store: Store, operation: Operation) -> Outcome:
    try:
        match operation:
            case Create(key, value):
                return Outcome(await store.create(key, value))
            case Get(key):
                entry = await store.get(key)
                return Outcome(entry.revision, entry.value or b"")
            case Update(key, value, revision):
                return Outcome(await store.update(key, value, revision))
            case Delete(key, revision):
                await store.delete(key, revision)
                return Outcome()
    except FabricError as error:
        match error.code:
            case "exists" | "conflict" | "not-found":
                return Outcome(refusal=Refusal(error.code))
            case "too-large":
                raise
            case _:
                return Outcome(refusal=Refusal.LOST)

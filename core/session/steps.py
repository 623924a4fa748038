"""Store operations as values: what the broker's rules ask for, one after the other, and what came of each.

A rule is a generator: it yields an operation, is sent its Outcome, and returns its result. Whoever drives it owns the
store, the time it takes and the ways it fails: `core.fabric.stepping` over a real store, `tests/sim` over a simulated
one.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

__all__ = ["Create", "Delete", "Get", "Operation", "Outcome", "Refusal", "Steps", "Update"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Create:
    """Make a key that must not exist."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key."""

    key: str


@dataclass(frozen=True, slots=True)
class Update:
    """Compare-and-set: replace the value if `revision` is the newest."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key if `revision` is the newest."""

    key: str
    revision: int


Operation = Create | Get | Update | Delete


class Refusal(StrEnum):
    """Why an operation did not do what it was meant to."""

    EXISTS = "exists"
    CONFLICT = "conflict"
    NOT_FOUND = "not-found"
    LOST = "lost"
    """No answer: it has happened, will happen, or never does."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an operation.

    Attributes:
        revision: of the entry read or written; 0 when refused.
        value: what a Get has read.
        refusal: None when it was done.
    """

    revision: int = 0
    value: bytes = b""
    refusal: Refusal | None = None


Steps = Generator[Operation, Outcome, T]

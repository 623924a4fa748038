"""The message bus POPs and origin share: publish/subscribe and request/reply on dotted subjects.

At-most-once: a message published while nobody subscribes is gone. Media rides on it, so nothing here waits for an
acknowledgement. Subscriptions are bounded queues (limits.FABRIC_QUEUE_MESSAGES_MAX); overflow drops the oldest. While
the fabric is out of reach, publications are dropped and counted, and whatever needs an answer raises `unreachable`.
Errors of arguments (not a subject) are LocalProtocolError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Bus", "Message", "Responder", "Subscription"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message: the concrete subject it was published on and its payload."""

    subject: str
    payload: bytes


Responder = Callable[[Message], Awaitable[bytes]]


class Subscription(Protocol):
    """A live subscription: iterate it, then close it."""

    dropped: int
    """Messages lost to overflow."""

    def __aiter__(self) -> AsyncIterator[Message]: ...
    async def aclose(self) -> None:
        """End the subscription; iteration stops."""
        ...


class Bus(Protocol):
    """See the module docstring. Subjects are dot-separated tokens; a subscription's last token may be `>` (the rest)
    and any token may be `*` (one token), as in NATS."""

    @property
    def connected(self) -> bool:
        """Whether the fabric is reachable now; while it is not, what is published is dropped."""
        ...

    async def publish(self, subject: str, payload: bytes) -> None:
        """Send and forget. Raises: FabricError: `unreachable` once the bus is closed, `too-large`."""
        ...

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        """The same from code that cannot wait (callbacks, the 20 ms loop)."""
        ...

    async def subscribe(self, subject: str) -> Subscription:
        """Begin receiving; messages published after this returns are seen."""
        ...

    async def request(self, subject: str, payload: bytes, timeout_s: float = 2.0) -> bytes:
        """One question, one answer; of several responders one is asked; which one is the fabric's choice.

        Raises: FabricError: `no-responder`, `timeout`, `unreachable` (over a socket also when the responder dies
            meanwhile), `responder-failed`, `overloaded`, `too-large`.
        """
        ...

    async def respond(self, subject: str, responder: Responder) -> Subscription:
        """Answer requests on a subject until the returned subscription is closed."""
        ...

    async def aclose(self) -> None:
        """Leave the bus; all subscriptions end."""
        ...

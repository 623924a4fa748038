"""How every session of the origin ends, whatever it does: once, for a reason, and waited for."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

__all__ = ["SessionLife"]


class SessionLife(ABC):
    """A session that frees what it holds when it ends.

    Args:
        session_id: names its subjects and its tasks.

    Attributes:
        closed: set when everything is freed.
        reason: why it ended; empty until then.
    """

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.closed = asyncio.Event()
        self.reason = ""
        self._ending: asyncio.Task[None] | None = None

    @property
    def ending(self) -> bool:
        """Whether the end has begun."""
        return self._ending is not None

    def end(self, reason: str) -> None:
        """Begin to free everything; `closed` tells when that is done. Idempotent: the first reason counts."""
        if self._ending is None:
            self.reason = reason
            self._ending = asyncio.get_running_loop().create_task(self._end(), name=f"end {self.id}")

    async def aclose(self, reason: str = "shutdown") -> None:
        """Free everything."""
        self.end(reason)
        await self.closed.wait()

    async def _end(self) -> None:
        try:
            await self._free()
        finally:
            self.closed.set()

    @abstractmethod
    async def _free(self) -> None:
        """Stop the tasks, close the subscription."""

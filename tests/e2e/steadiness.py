"""Whether the machine kept up while something was measured: a busy machine looks like a bad network."""

from __future__ import annotations

import asyncio
import contextlib
import time

__all__ = ["Steadiness"]

_BEAT_S = 0.005
_LATE_S = 0.030
"""More than a packet and a half: enough for a relay in this process to look like jitter."""


class Steadiness:
    """`async with Steadiness() as machine: …; machine.late_share`.

    Attributes:
        late_share: share of the time that this process' event loop was late by over 30 ms, 0 to 1.
    """

    def __init__(self) -> None:
        self._began = 0.0
        self._late_s = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def late_share(self) -> float:
        """See the class."""
        return self._late_s / max(time.monotonic() - self._began, 1e-9)

    async def __aenter__(self) -> Steadiness:
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _beat(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_BEAT_S)
            late_s = time.monotonic() - before - _BEAT_S
            if late_s > _LATE_S:
                self._late_s += late_s

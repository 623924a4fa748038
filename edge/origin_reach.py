"""Whether the origin answers, and how long a message takes to it: a POP asks for an echo every ORIGIN_ECHO_S.

A POP is connected to the nearest server of the fabric, and that one may have lost its way to the origin; only an answer
shows that there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from core.errors import FabricError
from core.fabric.bus import Bus
from core.limits import ORIGIN_BACK_TIMES, ORIGIN_ECHO_S
from core.speech.messages import ECHO_SUBJECT

__all__ = ["OriginReach"]

_log = logging.getLogger(__name__)

_RECENT: Final = 5


class OriginReach:
    """See the module docstring.

    Args:
        clock: monotonic seconds.
        observe_s: told every one-way time, in seconds.

    Attributes:
        losses: how often the origin stopped answering.
        on_back: called when it answers again, and after the next few answers.
    """

    def __init__(
        self, bus: Bus, clock: Callable[[], float], *, observe_s: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._observe_s = observe_s
        self._recent: list[float] = []
        self._answers = False
        self._tell = 0
        self.losses = 0
        self.on_back: Callable[[], None] = lambda: None

    @property
    def latency_s(self) -> float | None:
        """Seconds one way: half the median round trip of the last few echoes; None before the first."""
        return sorted(self._recent)[len(self._recent) // 2] if self._recent else None

    async def run(self) -> None:
        """Ask until cancelled."""
        with contextlib.suppress(FabricError):
            await self._bus.request(ECHO_SUBJECT, b"", ORIGIN_ECHO_S)  # the first one finds both ends still starting
        while True:
            await self.ask()
            await asyncio.sleep(ORIGIN_ECHO_S)

    async def ask(self) -> None:
        """Ask once."""
        asked_at = self._clock()
        try:
            await self._bus.request(ECHO_SUBJECT, b"", ORIGIN_ECHO_S)
        except FabricError as error:
            self._lost(error.code)
            return
        one_way_s = (self._clock() - asked_at) / 2
        self._observe_s(one_way_s)
        self._recent = [*self._recent[1 - _RECENT :], one_way_s]
        self._answers = True
        if self._tell:
            self._tell -= 1
            self.on_back()

    def _lost(self, code: str) -> None:
        if self._answers:
            self.losses += 1
            _log.warning("the origin does not answer: %s", code)
        self._recent.clear()
        self._answers, self._tell = False, ORIGIN_BACK_TIMES

"""Whether what a session says reaches its POP: while the fabric is broken, a voice waits instead of speaking to nobody.

After the fabric is back here, the POP may not be back yet (a leaf node looks for its hub once a second). So the voice
goes on when the POP is heard: it says `Opened` with `missed` as soon as the origin answers it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["Reach"]

_UNHEARD_S_MAX: Final = 3.0
"""After this a POP that has not spoken is spoken to: an older one never says that it has missed something."""


class Reach:
    """Of one session.

    Args:
        connected: whether the fabric is reachable from here now.
        now: monotonic seconds.
    """

    def __init__(self, connected: Callable[[], bool], now: Callable[[], float] = time.monotonic) -> None:
        self._connected = connected
        self._now = now
        self._broken = False
        self._back_at: float | None = None

    def heard(self) -> None:
        """Something came from the POP."""
        self._broken = False

    def reached(self) -> bool:
        """Whether what is said now will be heard; asked before every packet."""
        if not self._connected():
            self._broken, self._back_at = True, None
        elif self._broken:
            if self._back_at is None:
                self._back_at = self._now()
            self._broken = self._now() - self._back_at < _UNHEARD_S_MAX
        return not self._broken

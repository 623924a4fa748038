"""What a POP's sessions say to their origins: never blocks a tick, never raises into it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from core.errors import FabricError
from core.fabric.bus import Bus
from core.speech.messages import UpMessage, encode, up_subject

__all__ = ["Uplink"]

_log = logging.getLogger(__name__)


class Uplink:
    """All sessions' way up.

    Args:
        on_dropped: told the reason for every message that the bus did not take: `fabric-` and the error's code.
    """

    def __init__(self, bus: Bus, *, on_dropped: Callable[[str], None]) -> None:
        self._bus = bus
        self._on_dropped = on_dropped
        self._unreachable = False

    def send(self, session_id: str, message: UpMessage) -> None:
        """Publish one message now, or count it as dropped: media is worth nothing later."""
        try:
            self._bus.publish_nowait(up_subject(session_id), encode(message))
        except FabricError as error:
            self._on_dropped(f"fabric-{error.code}")
            if not self._unreachable:
                _log.warning("the fabric takes nothing: %s", error.code)
            self._unreachable = True
        else:
            self._unreachable = False

"""What a POP's sessions say to their origins: never blocks a tick, never raises into it."""

from __future__ import annotations

import logging

from core.errors import FabricError
from core.fabric.bus import Bus
from core.speech.messages import UpMessage, encode, up_subject

__all__ = ["Uplink"]

_log = logging.getLogger(__name__)


class Uplink:
    """All sessions' way up.

    Attributes:
        dropped: messages that an unreachable bus did not take.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._unreachable = False
        self.dropped = 0

    def send(self, session_id: str, message: UpMessage) -> None:
        """Publish one message now, or count it as dropped: media is worth nothing later."""
        try:
            self._bus.publish_nowait(up_subject(session_id), encode(message))
        except FabricError as error:
            self.dropped += 1
            if not self._unreachable:
                _log.warning("the fabric takes nothing: %s", error.code)
            self._unreachable = True
        else:
            self._unreachable = False

"""What a POP's sessions say to their origins: never blocks a tick, never raises into it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from core.errors import FabricError
from core.fabric.bus import Bus
from core.speech.messages import Closed, Opened, PopPresence, UpMessage, encode, presence_subject, up_subject

__all__ = ["NOT_THE_END", "Uplink"]

_log = logging.getLogger(__name__)


NOT_THE_END: Final = frozenset({"not-opened", "superseded", "kicked", "key-revoked", "ended"})
"""Reasons why a POP lets go of a session that has not ended by it: its viewer never came here and may be at another
POP, or the origin itself has said so."""


class Uplink:
    """All sessions' way up. Who has come and who has left is told to brokers as well.

    Args:
        pop: this POP's name.
        on_dropped: told the reason for every message that the bus did not take: `fabric-` and the error's code.
    """

    def __init__(self, bus: Bus, *, on_dropped: Callable[[str], None], pop: str = "") -> None:
        self._bus = bus
        self._pop = pop
        self._on_dropped = on_dropped
        self._unreachable = False

    def send(self, session_id: str, message: UpMessage) -> None:
        """Publish one message now, or count it as dropped: media is worth nothing later."""
        if isinstance(message, Closed) and message.reason in NOT_THE_END:
            return
        try:
            self._bus.publish_nowait(up_subject(session_id), encode(message))
            if isinstance(message, Opened | Closed):
                self._bus.publish_nowait(presence_subject(session_id), encode(self._presence(message)))
        except FabricError as error:
            self._on_dropped(f"fabric-{error.code}")
            if not self._unreachable:
                _log.warning("the fabric takes nothing: %s", error.code)
            self._unreachable = True
        else:
            self._unreachable = False

    def _presence(self, message: Opened | Closed) -> PopPresence:
        reason = message.reason if isinstance(message, Closed) else ""
        return PopPresence(pop=self._pop, epoch=message.epoch, here=isinstance(message, Opened), reason=reason)

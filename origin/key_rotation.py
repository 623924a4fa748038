"""When the key that signs tickets changes: by command, and after so many days by itself; POPs are told either way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from core.errors import ConfigError, FabricError
from core.fabric.bus import Bus
from core.host.clock import Clock
from core.speech.messages import SIGNING_KEYS_SUBJECT
from origin.tokens import SigningKeys

__all__ = ["due_in_s", "rotate", "rotate_in_time"]

_log = logging.getLogger(__name__)

_DAY_S: Final = 86_400
_LOOK_S: Final = 3_600.0
"""A machine that was suspended, or an operator who rotated by hand, is noticed within this."""


def due_in_s(keys: SigningKeys, days: int, now_wall: int) -> float:
    """Seconds until the current key has signed for so many days; 0 when it is time, or the clock was set back since."""
    signed_s = now_wall - keys.rotated_wall
    return max(0.0, float(days * _DAY_S - signed_s)) if signed_s >= 0 else 0.0


def rotate(keys: SigningKeys, bus: Bus | None, now_wall: int) -> None:
    """The next key signs from now on, and POPs fetch the key set.

    Raises: ConfigError: the files cannot be written.
    """
    keys.rotate(now_wall)
    if bus is not None:
        with contextlib.suppress(FabricError):  # a POP that misses it learns the new key from the first ticket
            bus.publish_nowait(SIGNING_KEYS_SUBJECT, b"")
    _log.info("the signing keys were rotated", extra={"key": keys.key_id})


async def rotate_in_time(keys: SigningKeys, bus: Bus, clock: Clock, days: int) -> None:
    """Rotate whenever the current key has signed for so many days (0: never), until cancelled."""
    while days:
        if due_in_s(keys, days, clock.wall()) == 0.0:
            try:
                rotate(keys, bus, clock.wall())
            except ConfigError as error:
                _log.warning("%s", error)
        await asyncio.sleep(min(_LOOK_S, max(1.0, due_in_s(keys, days, clock.wall()))))

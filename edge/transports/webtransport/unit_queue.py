"""Units that wait in front of QUIC while its congestion window is full. No socket, no clock.

QUIC's own queue of datagrams has no bound and sends old before new; a viewer wants the newest, and nothing late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from core.errors import RemoteProtocolError
from core.limits import (
    IDLE_FRAMES_PER_PACKET,
    LINK_QUEUE_AGE_S_MAX,
    LINK_QUEUE_MOTION_UNITS_MAX,
    LINK_QUEUE_UNITS_MAX,
)
from core.wire.opus_padding import silence, strip

__all__ = ["UnitQueue"]

_SILENT_SIZE_BYTES_MAX: Final = len(strip(silence(IDLE_FRAMES_PER_PACKET)))


class UnitQueue:
    """At most LINK_QUEUE_UNITS_MAX units, none older than LINK_QUEUE_AGE_S_MAX; the newest win.

    Args:
        on_dropped: told the reason of every unit that is dropped: `queue-overflow`, `queue-expired`.
    """

    def __init__(self, on_dropped: Callable[[str], None]) -> None:
        self._on_dropped = on_dropped
        self._units: deque[tuple[float, bytes, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._units)

    def push(self, payload: bytes, datagram: bytes, now: float) -> None:
        """Queue a unit; one that waits is dropped if there are too many now.

        Args:
            payload: the access unit.
            datagram: what carries it.
            now: monotonic seconds.
        """
        units = self._units
        units.append((now, payload, datagram))
        if len(units) > LINK_QUEUE_MOTION_UNITS_MAX:
            silent = [index for index, unit in enumerate(units) if not _has_sound(unit[1])]
            if len(silent) > LINK_QUEUE_MOTION_UNITS_MAX:
                del units[silent[0]]
                self._on_dropped("queue-overflow")
        if len(units) > LINK_QUEUE_UNITS_MAX:
            units.popleft()
            self._on_dropped("queue-overflow")

    def pop(self, room_bytes: int, now: float) -> bytes | None:
        """The oldest datagram that is still worth sending, if it fits.

        Args:
            room_bytes: the largest datagram that may go now.
            now: monotonic seconds.
        """
        units = self._units
        while units and now - units[0][0] > LINK_QUEUE_AGE_S_MAX:
            units.popleft()
            self._on_dropped("queue-expired")
        if not units or len(units[0][2]) > room_bytes:
            return None
        return units.popleft()[2]

    def clear(self) -> None:
        """Forget what waits."""
        self._units.clear()


def _has_sound(payload: bytes) -> bool:
    try:
        return len(strip(payload)) > _SILENT_SIZE_BYTES_MAX
    except RemoteProtocolError:
        return False

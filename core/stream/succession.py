"""Which of two tracks a viewer plays while its session moves to another POP; the same as the client's succession.ts.

The successor sends the same media times as the owner, marked as a preview. What it sends is decoded and kept, and
nothing of it is played, until the viewer is told that its epoch counts, or hears it without the mark. Then what was
kept fills in what the former owner has not brought; that one is fenced from this moment on, but for media times before
the successor's first. Jitter buffer and timeline go by media time, so that the change is neither a gap nor a
repetition.
"""

from __future__ import annotations

from collections import deque
from math import inf, isfinite
from typing import Final

from core.limits import MEDIA_CLOCK_HZ, SUCCESSION_UNITS_MAX
from core.stream.receiver import ReceivedUnit, UnitReceiver
from core.wire.access_unit import AccessUnitFlags

__all__ = ["Succession"]

_DECODED_MIN: Final = 4
"""One unit may have been late by chance."""


class Succession:
    """One move of one session, at the viewer.

    Args:
        receiver: of the owner's track.
        epoch: that the viewer is invited to; its lower 16 bits count.
        protects_sound: of the link to the successor, see `UnitReceiver`.

    Attributes:
        receiver: of the successor's track.
        decodable: faces of the successor could be decoded, enough of them to compare the two; the viewer says so.
        committed: its epoch counts.
    """

    def __init__(self, receiver: UnitReceiver, epoch: int, *, protects_sound: bool) -> None:
        self.receiver = UnitReceiver(protects_sound=protects_sound, previews=True, media_time=receiver.media_time)
        self.decodable = False
        self.committed = False
        self._epoch = epoch & 0xFFFF
        self._since = receiver.media_time
        self._first: int | None = None
        self._kept: deque[ReceivedUnit] = deque(maxlen=SUCCESSION_UNITS_MAX)
        self._played: deque[tuple[int, int]] = deque(maxlen=SUCCESSION_UNITS_MAX)
        self._decoded = 0
        self._earliest = [inf, inf]
        """Owner's and successor's: the least time from a media time to its arrival, seconds but for a constant."""

    def played(self, units: list[ReceivedUnit], now: float) -> None:
        """Units of the owner came, and were handed to jitter buffer and timeline. Args: now: seconds."""
        for unit in units:
            self._played.append((unit.media_time, unit.media_time + unit.span_ticks))
        self._observe(0, units, now)

    def _observe(self, which: int, units: list[ReceivedUnit], now: float) -> None:
        for unit in units:
            if not unit.repaired:
                self._earliest[which] = min(self._earliest[which], now - unit.media_time / MEDIA_CLOCK_HZ)

    @property
    def behind_s(self) -> float:
        """How much later a media time comes from the successor than from the owner; it may be sooner. 0: unknown.

        The viewer tells the successor, which makes up for it before it counts: nobody else can compare the two."""
        behind = self._earliest[1] - self._earliest[0]
        return behind if isfinite(behind) else 0.0

    def receive(self, packet: bytes, timestamp: int, now: float) -> list[ReceivedUnit]:
        """A packet of the successor. Args: as `UnitReceiver.receive`. Returns: what is to be played now."""
        units = self.receiver.receive(packet, timestamp, now)
        if self.committed or self.receiver.epoch != self._epoch:
            return units if self.committed else []
        self._observe(1, units, now)
        self._decoded += sum(unit.frame is not None for unit in units)
        self.decodable = self._decoded >= _DECODED_MIN
        self._kept.extend(units)
        if any(not unit.flags & AccessUnitFlags.PREVIEW for unit in units):
            return self.commit(self._epoch)
        return []

    def commit(self, epoch: int) -> list[ReceivedUnit]:
        """This epoch counts from now on. Returns: what was kept and is not covered by what was played, in order; none
        when it is another epoch, or counts already."""
        if self.committed or epoch & 0xFFFF != self._epoch or not self.decodable:
            return []
        self.committed = True
        kept = sorted(self._kept, key=lambda unit: unit.media_time)
        self._kept.clear()
        units = [unit for unit in kept if not self._covered(unit)]
        self._first = units[0].media_time if units else None
        return units

    def waits(self) -> bool:
        """It counts, but is ahead of what the former owner has brought: what lies between is still to come."""
        newest = max((until for _, until in self._played), default=None)
        return self._first is not None and newest is not None and newest < self._first

    def late(self, units: list[ReceivedUnit]) -> list[ReceivedUnit]:
        """Units of the former owner that came after its successor counts. Returns: those which lie between the two."""
        between = [unit for unit in units if self._first is not None and unit.media_time < self._first]
        for unit in between:
            self._played.append((unit.media_time, unit.media_time + unit.span_ticks))
        return between

    def _covered(self, unit: ReceivedUnit) -> bool:
        if self._since is not None and unit.media_time <= self._since:
            return True
        return any(begin <= unit.media_time < until for begin, until in self._played)

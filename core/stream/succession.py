"""Which of two tracks a viewer plays while its session moves to another POP; the same as the client's succession.ts.

The successor sends the same media times as the owner, marked as a preview. What it sends is decoded and kept, and
nothing of it is played, until the viewer is told that its epoch counts, or hears it without the mark. Then what was
kept fills in what the former owner has not brought; that one is fenced from this moment on. Jitter buffer and timeline
go by media time, so that the change is neither a gap nor a repetition.
"""

from __future__ import annotations

from collections import deque

from core.limits import SUCCESSION_UNITS_MAX
from core.stream.receiver import ReceivedUnit, UnitReceiver
from core.wire.access_unit import AccessUnitFlags

__all__ = ["Succession"]


class Succession:
    """One move of one session, at the viewer.

    Args:
        receiver: of the owner's track.
        epoch: that the viewer is invited to; its lower 16 bits count.
        protects_sound: of the link to the successor, see `UnitReceiver`.

    Attributes:
        receiver: of the successor's track.
        decodable: a face of the successor could be decoded: the viewer says so, once.
        committed: its epoch counts.
    """

    def __init__(self, receiver: UnitReceiver, epoch: int, *, protects_sound: bool) -> None:
        self.receiver = UnitReceiver(protects_sound=protects_sound, previews=True, media_time=receiver.media_time)
        self.decodable = False
        self.committed = False
        self._epoch = epoch & 0xFFFF
        self._since = receiver.media_time
        self._kept: deque[ReceivedUnit] = deque(maxlen=SUCCESSION_UNITS_MAX)
        self._played: deque[tuple[int, int]] = deque(maxlen=SUCCESSION_UNITS_MAX)

    def played(self, units: list[ReceivedUnit]) -> None:
        """Units of the owner were handed to jitter buffer and timeline."""
        for unit in units:
            self._played.append((unit.media_time, unit.media_time + unit.span_ticks))

    def receive(self, packet: bytes, timestamp: int, now: float) -> list[ReceivedUnit]:
        """A packet of the successor. Args: as `UnitReceiver.receive`. Returns: what is to be played now."""
        units = self.receiver.receive(packet, timestamp, now)
        if self.committed or self.receiver.epoch != self._epoch:
            return units if self.committed else []
        self.decodable = self.decodable or any(unit.frame is not None for unit in units)
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
        return [unit for unit in kept if not self._covered(unit)]

    def _covered(self, unit: ReceivedUnit) -> bool:
        if self._since is not None and unit.media_time <= self._since:
            return True
        return any(begin <= unit.media_time < until for begin, until in self._played)

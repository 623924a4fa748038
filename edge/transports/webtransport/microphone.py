"""The uplink: microphone datagrams in, microphone units out. No socket, no clock."""

from __future__ import annotations

from typing import Final

from core.errors import Dropped
from core.wire.webtransport import decode_microphone
from edge.transports.link import MicrophoneUnit

__all__ = ["MicrophoneStream"]

_WINDOW: Final = 128
"""Sequence numbers remembered to tell duplicates; what is older is late."""
_WINDOW_MASK: Final = (1 << _WINDOW) - 1


class MicrophoneStream:
    """Unwraps numbers and times, and lets every packet through once.

    Attributes:
        packets: let through so far.
    """

    def __init__(self) -> None:
        self.packets = 0
        self._newest: int | None = None
        self._timestamp = 0
        self._seen = 0

    def receive(self, datagram: bytes) -> MicrophoneUnit | Dropped:
        """One datagram of kind MICROPHONE_DATAGRAM.

        Returns: the unit, or `Dropped`: `microphone-duplicate`, `microphone-late`, and those of `decode_microphone`.
        """
        packet = decode_microphone(datagram)
        if isinstance(packet, Dropped):
            return packet
        if self._newest is None:
            self._newest, self._timestamp, self._seen = packet.sequence_number, packet.timestamp, 1
            sequence_number, timestamp = self._newest, self._timestamp
        else:
            ahead = (packet.sequence_number - self._newest + 0x8000 & 0xFFFF) - 0x8000
            if ahead <= -_WINDOW:
                return Dropped("microphone-late")
            if ahead <= 0 and self._seen >> -ahead & 1:
                return Dropped("microphone-duplicate")
            change = (packet.timestamp - self._timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            sequence_number, timestamp = self._newest + ahead, self._timestamp + change
            if ahead > 0:
                self._seen = (self._seen << ahead | 1) & _WINDOW_MASK if ahead < _WINDOW else 1
                self._newest, self._timestamp = sequence_number, timestamp
            else:
                self._seen |= 1 << -ahead
        self.packets += 1
        return MicrophoneUnit(
            payload=packet.payload,
            timestamp=timestamp,
            sequence_number=sequence_number,
            level_dbov=packet.level_dbov,
            voice=packet.voice,
        )

"""Access units on a data channel, for viewers that cannot see into their own audio packets.

The sound goes as RTP to every viewer alike; what goes here is a copy, for its motion. A copy that is late is worth
nothing: the channel neither repeats nor orders, and what SCTP's congestion window does not take soon is dropped.

Source: core/wire/SPEC.md section 11.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiortc import RTCDataChannel

from core.limits import UNIT_CHANNEL_BUFFER_SIZE_BYTES_MAX
from core.wire.webtransport import FEEDBACK_DATAGRAM, encode_unit

__all__ = ["UNIT_LABEL", "UnitChannel", "is_unit_channel"]

UNIT_LABEL: Final = "units"
"""Label of the data channel on which a viewer asks for copies."""


def is_unit_channel(channel: RTCDataChannel) -> bool:
    """A viewer asks for copies on this channel. One that orders or repeats would bring them late: it is none."""
    return channel.label == UNIT_LABEL and not channel.ordered and channel.maxRetransmits == 0


class UnitChannel:
    """One viewer's channel for copies.

    Args:
        channel: see `is_unit_channel`.
        on_feedback: told of bare feedback (SPEC.md section 5) that came on it.
        on_dropped: counts what is dropped, by reason: `units-overflow`, `units-closed`, `datagram-kind`.
    """

    def __init__(
        self, channel: RTCDataChannel, *, on_feedback: Callable[[bytes], None], on_dropped: Callable[[str], None]
    ) -> None:
        self._channel = channel
        self._on_feedback = on_feedback
        self._on_dropped = on_dropped
        channel.on("message", self._received)

    def send(self, payload: bytes, timestamp: int) -> None:
        """Send a copy of an access unit now, or drop it. Never raises, never blocks.

        Args:
            payload: as `ViewerLink.send_packet` takes it.
            timestamp: unwrapped 48 kHz media time.
        """
        channel = self._channel
        if channel.readyState != "open":
            self._on_dropped("units-closed")
        elif channel.bufferedAmount > UNIT_CHANNEL_BUFFER_SIZE_BYTES_MAX:
            self._on_dropped("units-overflow")
        else:
            channel.send(encode_unit(payload, timestamp))

    def _received(self, data: str | bytes) -> None:
        if isinstance(data, bytes) and data[:1] == bytes([FEEDBACK_DATAGRAM]):
            self._on_feedback(data)
        else:
            self._on_dropped("datagram-kind")

"""Where the viewer's ears are on the track: its own reports, carried forward by the clock."""

from __future__ import annotations

from core.limits import MEDIA_CLOCK_HZ

__all__ = ["PlayoutPosition", "unwrap_timestamp"]

_ASSUMED_LATENCY_S = 0.08
"""A viewer that never reports is taken to hear this long after sending: half a mobile round trip, and NetEQ."""
_REPORT_S_MAX = 2.0
"""An older report is no longer carried forward."""


def unwrap_timestamp(timestamp: int, near: int) -> int:
    """The 64-bit media time closest to `near` whose low 32 bits are `timestamp` (RFC 3550 section 5.1)."""
    difference = (timestamp - near) & 0xFFFFFFFF
    if difference >= 0x80000000:
        difference -= 0x1_0000_0000
    return near + difference


class PlayoutPosition:
    """See the module docstring."""

    __slots__ = ("_media_time", "_reported_at")

    def __init__(self) -> None:
        self._media_time = 0
        self._reported_at: float | None = None

    def report(self, rtp_timestamp: int, *, sent: int, now: float) -> bool:
        """The viewer says what is audible.

        Args:
            rtp_timestamp: 32-bit RTP timestamp that is audible at the viewer.
            sent: media time up to which the track was sent.
            now: monotonic seconds of the report's arrival.
        Returns: False when it is absurd (in the future, or further back than a minute) and was ignored.
        """
        media_time = unwrap_timestamp(rtp_timestamp, sent)
        if not sent - 60 * MEDIA_CLOCK_HZ <= media_time <= sent:
            return False
        self._media_time = media_time
        self._reported_at = now
        return True

    def audible(self, *, sent: int, now: float) -> int:
        """Media time audible at the viewer now, never after `sent`."""
        if self._reported_at is None or now - self._reported_at > _REPORT_S_MAX:
            return max(0, sent - int(_ASSUMED_LATENCY_S * MEDIA_CLOCK_HZ))
        return min(sent, self._media_time + int((now - self._reported_at) * MEDIA_CLOCK_HZ))

    def latency_s(self, *, sent: int, now: float) -> float | None:
        """Seconds from sending a media time to hearing it (one way up included); None before the first report."""
        if self._reported_at is None or now - self._reported_at > _REPORT_S_MAX:
            return None
        return (sent - self.audible(sent=sent, now=now)) / MEDIA_CLOCK_HZ

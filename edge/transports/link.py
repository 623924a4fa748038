"""What a session and a transport know of each other: one viewer's link, whatever carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["LinkEvents", "MicrophoneUnit", "ViewerLink"]


@dataclass(frozen=True, slots=True)
class MicrophoneUnit:
    """One microphone packet as it arrived, before any jitter buffer or decoder.

    Attributes:
        payload: the Opus packet, padding (and feedback in it) included.
        timestamp: unwrapped 48 kHz media time of its first sample.
        sequence_number: unwrapped RTP sequence number; gaps are losses.
        level_dbov: RFC 6464 audio level, 0 (loudest) to 127 (silence); None when the sender does not say.
        voice: RFC 6464 voice bit, None when the sender does not say.
    """

    payload: bytes
    timestamp: int
    sequence_number: int
    level_dbov: int | None = None
    voice: bool | None = None


class LinkEvents(Protocol):
    """What a transport tells its session. Called from the event loop; must return quickly."""

    def on_connected(self, now: float) -> None:
        """Media may be sent."""

    def on_microphone(self, unit: MicrophoneUnit, now: float) -> None:
        """A microphone packet came."""

    def on_control(self, data: str | bytes, now: float) -> None:
        """A control message came: str = RTVI JSON, bytes = feedback (core.wire.feedback)."""

    def on_closed(self, reason: str, now: float) -> None:
        """The link is gone; comes exactly once."""


class ViewerLink(Protocol):
    """What a session may ask of its transport."""

    protocol: str
    """"webrtc", "webtransport"."""
    plays_sound_itself: bool
    """The viewer plays the sound with our own playout: redundancy brings back sound too, not motion alone."""

    def send_packet(self, payload: bytes, timestamp: int) -> bool:
        """Send one access unit now; `timestamp` is its unwrapped 48 kHz media time. False: it could not be sent
        (not connected or closing) and was counted. Never raises, never blocks, never queues."""

    def send_keyframe(self, payload: bytes, timestamp: int) -> None:
        """Send a unit that the viewer asked for once more, reliably, where the link can; `send_packet` sent it before.
        Never raises, never blocks, never queues."""

    def send_control(self, data: str | bytes) -> None:
        """Send a control message reliably, in order. Dropped when the link is closed."""

    async def aclose(self, reason: str) -> None:
        """Close the link and free everything; `on_closed` is called if it was not yet."""

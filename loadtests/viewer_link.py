"""What a headless viewer and its transport know of each other: one connection to a POP, whatever carries it."""

from __future__ import annotations

from typing import Literal, Protocol

__all__ = ["Connection", "ConnectionEvents", "Transport"]

Transport = Literal["webrtc", "webtransport"]


class ConnectionEvents(Protocol):
    """What a connection tells its viewer. Called from the event loop."""

    def on_unit(self, payload: bytes, timestamp: int, now: float) -> None:
        """An access unit came, untouched; the timestamp has 32 bits."""

    def on_control(self, data: str | bytes, now: float) -> None:
        """A control message came."""

    def on_closed(self, reason: str, now: float) -> None:
        """The connection was up and is gone; `reason` is one sentence for people."""


class Connection(Protocol):
    """One connection."""

    transport: Transport
    plays_sound_itself: bool
    """The viewer plays the sound from its units: redundancy brings back sound too."""

    async def connect(self, token: str) -> None:
        """Set it up with a ticket's token or a resume token, until media and control flow. Raises: ViewerError."""

    def send_control(self, data: str | bytes) -> None:
        """Send a control message, or feedback as bytes; dropped while there is no connection."""

    def send_microphone(self, payload: bytes, *, timestamp: int, level_dbov: int) -> None:
        """Send a microphone packet; lost like any datagram. `level_dbov` is 0 (loudest) to 127."""

    def vanish(self) -> None:
        """Be gone without a word and hear nothing more, like a phone that lost its network."""

    async def aclose(self, *, farewell: bool) -> None:
        """Free everything. Args: farewell: end the session; else another connection carries it."""

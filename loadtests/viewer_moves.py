"""The headless viewer's part when its session moves to another POP: two connections for a moment, one conversation.

The page does the same (edge/client/src/sdk/mover.ts); which units are played is `core.stream.succession`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from core.errors import Dropped, RemoteProtocolError
from core.wire.control import decode_control, encode_control
from core.wire.feedback import encode_feedback
from loadtests.screen import Screen
from loadtests.tickets import Ticket, ViewerError
from loadtests.viewer_link import Connection, Transport

__all__ = ["LinkEnd", "MoveTimes", "Mover", "MovingViewer"]

_LATE_S_MAX: Final = 0.15
"""What a POP that was left still has to bring is waited for so long."""
_FORMER_S: Final = 1.0
"""A POP that was left closes the connection itself; after this the viewer does."""


@dataclass(slots=True)
class MoveTimes:
    """One move to another POP: monotonic seconds at which the viewer was invited, could decode the other POP's preview,
    and was told that it counts; None where that did not happen. `pop`: where to."""

    pop: str
    invited_at: float
    previewed_at: float | None = None
    committed_at: float | None = None


class LinkEnd(Protocol):
    """A viewer's end of one connection."""

    standby: bool
    """What comes is of a POP that does not own the session yet."""


class MovingViewer(Protocol):
    """What a mover needs of its viewer."""

    ticket: Ticket
    screen: Screen
    moves: list[MoveTimes]

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        ...

    @property
    def transport(self) -> Transport | None:
        """What the conversation goes over."""
        ...

    def make_end(self, ticket: Ticket, transport: Transport) -> tuple[LinkEnd, Connection]:
        """Another connection, not made yet."""
        ...

    def go_on_at(self, ticket: Ticket, events: LinkEnd, connection: Connection) -> Connection | None:
        """The session is there from now on. Returns: the connection to the former POP."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something until the viewer leaves."""
        ...


@dataclass(slots=True)
class _Standby:
    """A connection to a POP that is about to own the session."""

    ticket: Ticket
    epoch: int
    events: LinkEnd
    connection: Connection
    times: MoveTimes


class Mover:
    """Of one viewer."""

    def __init__(self, viewer: MovingViewer) -> None:
        self._viewer = viewer
        self._standby: _Standby | None = None

    @property
    def under_way(self) -> bool:
        """Another POP has shown that it is ready: losing the one that owns the session is no loss any more."""
        return self._standby is not None and self._standby.times.previewed_at is not None

    async def follow(self, invitation: dict[str, Any]) -> None:
        """The POP says where the session is about to go: be there too, and stay here until that counts."""
        viewer = self._viewer
        offer, epoch = invitation.get("pop"), invitation.get("epoch")
        if not isinstance(offer, dict) or not isinstance(epoch, int) or self._standby is not None:
            return
        ticket = viewer.ticket.at(offer)
        transport: Transport = (
            "webtransport" if viewer.transport == "webtransport" and ticket.webtransport else "webrtc"
        )
        events, connection = viewer.make_end(ticket, transport)
        events.standby = True
        times = MoveTimes(ticket.pop_name, viewer.now)
        viewer.moves.append(times)
        self._standby = _Standby(ticket, epoch, events, connection, times)
        viewer.screen.invite(epoch, protects_sound=connection.plays_sound_itself)
        try:
            await connection.connect(ticket.token)
        except ViewerError:
            await self.stay(epoch)

    async def stay(self, epoch: int) -> None:
        """The session does not go there."""
        standby = self._standby
        if standby is not None and standby.epoch == epoch:
            self._standby = None
            self._viewer.screen.stay()
            await standby.connection.aclose(farewell=False)

    async def lose(self, events: LinkEnd) -> None:
        """The connection to the other POP is gone, before that owned the session."""
        standby = self._standby
        if standby is not None and standby.events is events:
            await self.stay(standby.epoch)

    async def aclose(self) -> None:
        """The viewer leaves."""
        if self._standby is not None:
            await self._standby.connection.aclose(farewell=False)

    def on_preview(self, events: LinkEnd, payload: bytes, timestamp: int) -> None:
        """A packet of the POP that does not own the session yet."""
        standby, screen, now = self._standby, self._viewer.screen, self._viewer.now
        if standby is None or standby.events is not events:
            return
        if screen.preview(payload, timestamp, now):
            self._succeed(standby)
            return
        first = screen.decodable and standby.times.previewed_at is None
        if first:
            standby.times.previewed_at = now
        feedback = screen.preview_feedback(now)
        if feedback is not None:
            standby.connection.send_control(encode_feedback(feedback))
        if first or (feedback is not None and screen.decodable):
            # Said again with every feedback: the control channel may open later than the first unit comes.
            behind_ms = round(1e3 * screen.behind_s, 1)
            message = {"t": "preview", "d": {"epoch": standby.epoch, "behind_ms": behind_ms}}
            standby.connection.send_control(encode_control("client-message", message))

    def on_control(self, events: LinkEnd, message: str | bytes) -> None:
        """All that a POP may say before the session is its own is that it now is."""
        standby, viewer = self._standby, self._viewer
        if standby is None or standby.events is not events:
            return
        with contextlib.suppress(RemoteProtocolError):
            control = decode_control(message)
            if isinstance(control, Dropped) or control.data.get("t") != "commit":
                return
            epoch = (control.data.get("d") or {}).get("epoch")
            if epoch == standby.epoch and viewer.screen.commit(epoch, viewer.now):
                self._succeed(standby)

    def _succeed(self, standby: _Standby) -> None:
        """Its epoch counts: the former POP is not listened to any longer."""
        self._standby = None
        standby.events.standby = False
        standby.times.committed_at = self._viewer.now
        former = self._viewer.go_on_at(standby.ticket, standby.events, standby.connection)
        self._viewer.spawn(self._leave(former, standby.epoch, standby.connection))

    async def _leave(self, former: Connection | None, epoch: int, connection: Connection) -> None:
        """Tell the POP that owns the session that the former one is needed no longer, when that is so."""
        until = self._viewer.now + _LATE_S_MAX
        while self._viewer.screen.waits and self._viewer.now < until:  # noqa: ASYNC110 - time alone ends it, too
            await asyncio.sleep(0.005)
        connection.send_control(encode_control("client-message", {"t": "committed", "d": {"epoch": epoch}}))
        if former is None:
            return
        try:
            await asyncio.sleep(_FORMER_S)
        finally:
            await former.aclose(farewell=False)

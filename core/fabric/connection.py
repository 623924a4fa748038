"""One end of a local fabric connection: frames in, frames out, bounded, without ever waiting."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from core import limits
from core.errors import RemoteProtocolError
from core.fabric.frames import FrameSplitter

__all__ = ["FrameConnection"]

_log = logging.getLogger(__name__)

_WRITE_HIGH_WATER_BYTES: Final = 1_048_576
_CONTROL_FRAMES_MAX: Final = 4 * limits.FABRIC_QUEUE_MESSAGES_MAX
"""Unsent frames that may not be dropped; a peer that lets more pile up is disconnected and starts afresh."""


class FrameConnection(asyncio.Protocol):
    """Splits what arrives into frames and gathers what leaves within one turn of the loop into one write.

    Media (`send_message`) may be dropped, oldest first, while the peer does not read; control (`send`) may not: when
    too much of it piles up the connection is cut, and both ends recover as after any other loss.

    Args:
        on_frame: called with each frame's body; a RemoteProtocolError from it ends the connection.
        on_closed: called exactly once.
    """

    def __init__(
        self,
        on_open: Callable[[FrameConnection], None],
        on_frame: Callable[[FrameConnection, bytes], None],
        on_closed: Callable[[FrameConnection], None],
    ) -> None:
        self._on_open = on_open
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._splitter = FrameSplitter()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._held: deque[tuple[bytes, bool]] = deque()
        self._held_control = 0
        self._paused = False
        self._flushing = False
        self.closed = False
        self.greeted = False
        """The handshake frame has arrived."""
        self.dropped = 0
        """Messages dropped because the peer does not read fast enough."""

    # --- out ---------------------------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Send a frame that must not be lost while the connection lives."""
        if self._paused:
            self._hold(frame, droppable=False)
        else:
            self._queue(frame)

    def send_message(self, frame: bytes) -> None:
        """Send a frame that may be dropped."""
        if self._paused:
            self._hold(frame, droppable=True)
        else:
            self._queue(frame)

    def _queue(self, frame: bytes) -> None:
        if self.closed:
            return
        self._out.append(frame)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._out and self._transport is not None:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._transport.write(data)

    def _hold(self, frame: bytes, droppable: bool) -> None:
        if self.closed:
            return
        if droppable:
            if len(self._held) - self._held_control >= limits.FABRIC_QUEUE_MESSAGES_MAX:
                self._drop_oldest()
        else:
            self._held_control += 1
            if self._held_control > _CONTROL_FRAMES_MAX:
                _log.warning("local fabric: the peer does not read, disconnecting it")
                self.abort()
                return
        self._held.append((frame, droppable))

    def _drop_oldest(self) -> None:
        self.dropped += 1
        for position, (_, droppable) in enumerate(self._held):
            if droppable:
                del self._held[position]
                return

    def pause_writing(self) -> None:
        """asyncio: the peer does not read."""
        self._paused = True

    def resume_writing(self) -> None:
        """asyncio: the peer reads again."""
        self._paused = False
        while self._held and not self._paused and self._transport is not None:
            frame, droppable = self._held.popleft()
            self._held_control -= not droppable
            self._transport.write(frame)

    # --- in ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER_BYTES)
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        try:
            for body in self._splitter.push(data):
                if self.closed:
                    return
                self._on_frame(self, body)
        except RemoteProtocolError as error:
            _log.warning("local fabric: peer disconnected, it does not speak the protocol (%s: %s)", error.code, error)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: gone, whoever ended it."""
        self.abort()

    def close(self) -> None:
        """Send what is queued, then close."""
        if not self.closed and self._transport is not None:
            self._flush()
            self._transport.close()
        self._finish()

    def abort(self) -> None:
        """Close at once; what is queued is lost."""
        if not self.closed and self._transport is not None:
            self._transport.abort()
        self._finish()

    def _finish(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._out.clear()
        self._held.clear()
        self._on_closed(self)

"""One end alone, on a transport that is told when to be slow."""

from __future__ import annotations

import asyncio

import pytest

from core import limits
from core.errors import RemoteProtocolError
from core.fabric import connection as connection_module
from core.fabric.connection import FrameConnection
from core.fabric.frames import FrameSplitter


class Wire(asyncio.Transport):
    """Collects what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        self.ended = self.ended or "close"

    def abort(self) -> None:
        self.ended = self.ended or "abort"


class End:
    """A connection and what it told."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.closed = 0
        self.connection = FrameConnection(lambda _: None, self.on_frame, self.on_closed)
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def on_frame(self, _: FrameConnection, body: bytes) -> None:
        if body == b"bad":
            raise RemoteProtocolError("bad-frame")
        self.bodies.append(body)

    def on_closed(self, _: FrameConnection) -> None:
        self.closed += 1


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_frames_of_one_turn_leave_in_one_write() -> None:
    end = End()
    end.connection.send(b"1")
    end.connection.send_message(b"2")
    assert end.wire.written == []
    await turn()
    assert end.wire.written == [b"12"]


async def test_while_the_peer_does_not_read_the_oldest_messages_go_and_control_stays() -> None:
    end = End()
    end.connection.pause_writing()
    end.connection.send(b"c0")
    for number in range(limits.FABRIC_QUEUE_MESSAGES_MAX + 2):
        end.connection.send_message(b"m%d" % number)
    end.connection.send(b"c1")
    await turn()
    assert end.wire.written == []
    assert end.connection.dropped == 2
    end.connection.resume_writing()
    assert end.wire.written[:2] == [b"c0", b"m2"]
    assert end.wire.written[-1] == b"c1"
    assert len(end.wire.written) == limits.FABRIC_QUEUE_MESSAGES_MAX + 2


async def test_too_much_control_unread_cuts_the_connection() -> None:
    end = End()
    end.connection.pause_writing()
    for _ in range(connection_module._CONTROL_FRAMES_MAX + 1):
        end.connection.send(b"c")
    assert (end.wire.ended, end.closed) == ("abort", 1)
    end.connection.send(b"c")
    end.connection.send_message(b"m")
    end.connection.resume_writing()
    assert end.wire.written == []


async def test_a_bad_frame_cuts_the_connection_and_nothing_after_it_is_read() -> None:
    end = End()
    end.connection.data_received(b"\x00\x00\x00\x02ok\x00\x00\x00\x03bad\x00\x00\x00\x02no")
    assert (end.bodies, end.wire.ended, end.closed) == ([b"ok"], "abort", 1)
    end.connection.connection_lost(None)
    assert end.closed == 1


async def test_close_sends_what_is_queued_abort_does_not() -> None:
    end = End()
    end.connection.send(b"last")
    end.connection.close()
    assert (end.wire.written, end.wire.ended, end.closed) == ([b"last"], "close", 1)
    end = End()
    end.connection.send(b"last")
    end.connection.abort()
    await turn()
    assert (end.wire.written, end.wire.ended, end.closed) == ([], "abort", 1)


@pytest.mark.parametrize("cut", range(1, 9))
async def test_frames_in_pieces(cut: int) -> None:
    end = End()
    stream = b"\x00\x00\x00\x02ab\x00\x00\x00\x00"
    end.connection.data_received(stream[:cut])
    end.connection.data_received(stream[cut:])
    assert end.bodies == [b"ab", b""]
    assert list(FrameSplitter().push(stream)) == end.bodies

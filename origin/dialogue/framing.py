"""How the origin talks with its worker processes: msgpack values behind a 4-byte big-endian length, over pipes."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
import threading
from typing import BinaryIO, Final

import msgspec

__all__ = ["FRAME_SIZE_BYTES_MAX", "WorkerPipe", "become_worker", "pack", "read_frame"]

FRAME_SIZE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Beyond any clause of speech; a longer length means that the stream is not ours."""
_LENGTH: Final = struct.Struct(">I")
_NICENESS: Final = 1
"""Behind whoever keeps a 20 ms tick, but only just: somebody waits for the worker's word. On two busy cores a
recogniser five steps down gets a seventh of one, less than speech needs, and falls seconds behind."""


def become_worker() -> None:
    """What a worker process does first: step behind the origin, and leave signals to it.

    Ctrl-C goes to the whole process group, but the only end that the origin means is the end of the worker's input.
    """
    os.nice(_NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def pack(message: msgspec.Struct) -> bytes:
    """One message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The next message's body. Raises: EOFError: the worker has gone or does not speak our protocol."""
    try:
        head = await reader.readexactly(_LENGTH.size)
        (size,) = _LENGTH.unpack(head)
        if size > FRAME_SIZE_BYTES_MAX:
            raise EOFError("the worker's stream is not framed")
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise EOFError("the worker has gone") from None


class WorkerPipe:
    """The worker's end: blocking reads of standard input, whole writes to the original standard output.

    File descriptor 1 is turned into standard error first, so that a library that prints cannot break the framing.
    """

    def __init__(self) -> None:
        self._in: BinaryIO = os.fdopen(os.dup(0), "rb", buffering=0)
        self._out = os.dup(1)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._lock = threading.Lock()

    def _read(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            part = self._in.read(size - len(parts))
            if not part:
                return None
            parts += part
        return bytes(parts)

    def receive(self) -> bytes | None:
        """The next message's body, or None when the origin has gone."""
        head = self._read(_LENGTH.size)
        if head is None:
            return None
        (size,) = _LENGTH.unpack(head)
        return None if size > FRAME_SIZE_BYTES_MAX else self._read(size)

    def send(self, message: msgspec.Struct) -> None:
        """Write one message; may be called from several threads."""
        data = memoryview(pack(message))
        with self._lock:
            while data:
                data = data[os.write(self._out, data) :]

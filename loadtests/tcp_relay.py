"""A TCP relay that delivers every byte late: the distance between two places, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from core.errors import ConfigError

__all__ = ["TcpRelay"]

_CHUNK_BYTES: Final = 65_536
_IN_FLIGHT_CHUNKS_MAX: Final = 4_096
"""Further bytes are left in the sender's socket until some have arrived."""

Address = tuple[str, int]


class TcpRelay:
    """Whoever connects to `address` reaches the target, `delay_s` later each way; order is kept.

    Attributes:
        address: host and port to connect to, once started.
        delay_s: one way, for what is sent from now on.
    """

    def __init__(self, target: Address, delay_s: float) -> None:
        self.address: Address = ("", 0)
        self.delay_s = delay_s
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, listen: Address = ("127.0.0.1", 0)) -> None:
        """Listen. Raises: ConfigError: the address cannot be listened on."""
        try:
            self._server = await asyncio.start_server(self._come, *listen)
        except OSError as error:
            raise ConfigError(f"cannot listen on {listen[0]}:{listen[1]}: {error.strerror or error}") from error
        self.address = self._server.sockets[0].getsockname()[:2]

    async def aclose(self) -> None:
        """Cut all connections and stop."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._accept(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as group:
                for source, sink in ((reader, onward_writer), (onward_reader, writer)):
                    late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT_CHUNKS_MAX)
                    group.create_task(self._take(source, late))
                    group.create_task(self._deliver(late, sink))
        except* OSError:
            pass  # one side is gone; so is the other then
        finally:
            for end in (writer, onward_writer):
                end.close()

    async def _take(self, source: asyncio.StreamReader, late: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        while chunk := await source.read(_CHUNK_BYTES):
            await late.put((loop.time() + self.delay_s, chunk))
        await late.put((loop.time() + self.delay_s, b""))

    async def _deliver(self, late: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, chunk = await late.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not chunk:
                with contextlib.suppress(OSError):
                    sink.write_eof()
                return
            sink.write(chunk)
            await sink.drain()

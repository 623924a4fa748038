"""The server of a voice that runs beside the origin: a child process, watched, started again, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Callable
from typing import Final

__all__ = ["VoiceServer"]

_log = logging.getLogger(__name__)

_HOST: Final = "origin.dialogue.voice_host"
_LOAD_S_MAX: Final = 120.0
"""A large voice from a slow disk."""
_POLL_S: Final = 0.1
_STOP_S_MAX: Final = 1.0
_BACKOFF_S: Final = (0.2, 1.0, 5.0)
_STABLE_S: Final = 10.0


class VoiceServer:
    """Keeps a module with an HTTP API running until closed.

    Args:
        arguments: for a port, the module and its arguments.

    Attributes:
        url: its address, "" while it is not up.
        pid: its process id, 0 while there is none.
        restarts: how often it had to be started again.
    """

    def __init__(self, arguments: Callable[[int], list[str]]) -> None:
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._came_up = asyncio.Event()
        self.url = ""
        self.restarts = 0

    @property
    def pid(self) -> int:
        """Its process id, 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin to keep it running."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="keep the voice's server")

    async def wait_up(self, timeout_s: float) -> bool:
        """Returns: it answers, within that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._came_up.wait()
        return bool(self.url)

    async def aclose(self) -> None:
        """End it for good."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        fast = 0
        while True:
            began = loop.time()
            try:
                await self._run()
            except OSError as error:
                _log.error("the voice's server cannot be started: %s", error)
            fast = 0 if loop.time() - began > _STABLE_S else fast + 1
            delay_s = _BACKOFF_S[min(fast, len(_BACKOFF_S) - 1)]
            _log.warning("the voice's server has ended, starting it again in %.1f s", delay_s)
            await asyncio.sleep(delay_s)
            self.restarts += 1

    async def _run(self) -> None:
        """One life of the process."""
        port = _free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _HOST, *self._arguments(port), stdin=asyncio.subprocess.PIPE, stdout=sys.stderr
        )
        self._process = process
        try:
            if await self._answers(process, port):
                self.url = f"http://127.0.0.1:{port}"
                self._came_up.set()
                await process.wait()
        finally:
            self.url = ""
            self._came_up.clear()
            await _end(process)
            self._process = None

    async def _answers(self, process: asyncio.subprocess.Process, port: int) -> bool:
        """Wait until it takes connections. Returns: it does; not that it has ended or takes too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOAD_S_MAX):
                while process.returncode is None:
                    with contextlib.suppress(OSError):
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.close()
                        return True
                    await asyncio.sleep(_POLL_S)
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input, which it takes as the end; kill it if it does not."""
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is None:
        try:
            async with asyncio.timeout(_STOP_S_MAX):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    await process.wait()
    # The transport closes with its last pipe; asyncio would otherwise do that when it is collected, with a warning.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()

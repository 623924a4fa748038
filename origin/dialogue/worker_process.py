"""One worker process of the origin: started, watched, restarted with backoff, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from origin.dialogue.framing import pack, read_frame
from origin.dialogue.worker_messages import Ready

__all__ = ["WorkerGoneError", "WorkerProcess"]

_log = logging.getLogger(__name__)

_BACKOFF_S_MIN: Final = 0.1
_BACKOFF_S_MAX: Final = 5.0
_STABLE_S: Final = 10.0
"""A worker that has lived this long starts over with the shortest backoff."""
_LOAD_S_MAX: Final = 60.0
_STOP_S_MAX: Final = 0.5
_DISCARD_BYTES: Final = 65_536
_BACKLOG_BYTES_MAX: Final = 8 * 1024 * 1024
"""Four minutes of speech: a worker that is so far behind is stuck, and is replaced."""


class _Decoder(Protocol):
    def decode(self, buf: bytes, /) -> msgspec.Struct: ...


class WorkerGoneError(Exception):
    """The worker died or is not up; what it was asked is lost."""


class WorkerProcess:
    """Keeps `python -m module` running until closed.

    Args:
        module: what to run; it must send Ready when it can work.
        decoder: of its reports.
        on_report: called with each report but Ready.
        on_up, on_down: called when it can work, and when it has gone.

    Attributes:
        up: whether it can work now.
        pid: its process id, 0 while there is none.
        restarts: how often it had to be started again.
    """

    def __init__(
        self,
        module: str,
        decoder: _Decoder,
        *,
        on_report: Callable[[msgspec.Struct], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
    ) -> None:
        self._module = module
        self._decoder = decoder
        self._on_report = on_report
        self._on_up = on_up
        self._on_down = on_down
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._came_up = asyncio.Event()
        self.up = False
        self.restarts = 0

    @property
    def pid(self) -> int:
        """Its process id, 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin to keep it running."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name=f"keep {self._module}")

    async def wait_up(self, timeout_s: float) -> None:
        """Raises: WorkerGoneError: it did not come up in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._came_up.wait()
        except TimeoutError:
            raise WorkerGoneError(f"{self._module} is not up") from None

    def send(self, message: msgspec.Struct) -> None:
        """Queue one message for it. Raises: WorkerGoneError: it is not up."""
        process = self._process
        if not self.up or process is None or process.stdin is None or process.stdin.is_closing():
            raise WorkerGoneError(f"{self._module} is not up")
        if process.stdin.transport.get_write_buffer_size() > _BACKLOG_BYTES_MAX:
            _log.error("%s does not keep up, replacing it", self._module)
            self.kill()
            raise WorkerGoneError(f"{self._module} does not keep up")
        process.stdin.write(pack(message))

    def kill(self) -> None:
        """End the process at once; the keeper starts another one."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def aclose(self) -> None:
        """End it for good."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        delay_s = _BACKOFF_S_MIN
        while True:
            began = loop.time()
            try:
                await self._run()
            except OSError as error:
                _log.error("%s cannot be started: %s", self._module, error)
            if loop.time() - began > _STABLE_S:
                delay_s = _BACKOFF_S_MIN
            _log.warning("%s has ended, starting it again in %.1f s", self._module, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _BACKOFF_S_MAX)
            self.restarts += 1

    async def _run(self) -> None:
        """One life of the process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._process = process
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_LOAD_S_MAX):
                first = self._decoder.decode(await read_frame(process.stdout))
            if not isinstance(first, Ready):
                raise EOFError("the worker's first word is not Ready")
            self.up = True
            self._on_up()
            self._came_up.set()
            while True:
                self._on_report(self._decoder.decode(await read_frame(process.stdout)))
        except (EOFError, TimeoutError, msgspec.DecodeError) as error:
            _log.warning("%s: %s", self._module, error)
        finally:
            was_up, self.up = self.up, False
            self._came_up.clear()
            if was_up:
                self._on_down()
            await _end(process)
            self._process = None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input, which it takes as the end; kill it if it does not."""
    if process.stdin is not None:
        process.stdin.close()
    # What it still says is read and forgotten: for asyncio a process has not ended before its output was read to its
    # end.
    rest = asyncio.get_running_loop().create_task(_discard(process.stdout))
    try:
        await _wait(process)
    finally:
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)
    # The transport closes with its last pipe; asyncio would otherwise do that when it is collected, with a warning.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


async def _discard(output: asyncio.StreamReader | None) -> None:
    while output is not None and await output.read(_DISCARD_BYTES):
        pass


async def _wait(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            async with asyncio.timeout(_STOP_S_MAX):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    await process.wait()

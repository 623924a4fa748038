"""Keeps child processes alive: starts them in order, passes on what they say, restarts who died, stops all together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from core.host.child import STOP_S_MAX

__all__ = ["ChildSpec", "StartError", "Supervisor", "answers"]

_BACKOFF_S_MIN: Final = 0.5
_BACKOFF_S_MAX: Final = 10.0
_STEADY_S: Final = 30.0
"""A child that lived this long starts its backoff anew."""
_POLL_S: Final = 0.1
_EXIT_POLL_S: Final = 0.05
_LINE_BYTES_MAX: Final = 16_384
_COLOURS: Final = ("\x1b[36m", "\x1b[35m", "\x1b[33m", "\x1b[32m")
_RESET: Final = "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One child process.

    Attributes:
        name: what people read in front of its lines.
        module: run as `python -m module`.
        arguments: its command line.
        host, port: where `GET /healthz` answers 200 once it is ready.
        stop_s: how long it may take to stop; a POP moves its sessions to others meanwhile.
    """

    name: str
    module: str
    arguments: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int
    stop_s: float = STOP_S_MAX


class StartError(Exception):
    """A child could not be started. `code` is what this process should exit with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


async def answers(host: str, port: int, path: str = "/healthz", timeout_s: float = 2.0) -> bool:
    """Whether an HTTP server there says 200 to `GET path`."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
                status = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
    return len(status) >= 2 and status[1] == b"200"


class Supervisor:
    """Runs children until it is told to stop.

    Args:
        specs: started one after the other, each when the one before it is healthy.
        on_ready: called once, when all are healthy.
        ready_s_max: how long a child may take to become healthy at first.
        write: where lines go, without their end; None: standard error.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        on_ready: Callable[[], None],
        ready_s_max: float = 60.0,
        write: Callable[[str], None] | None = None,
    ) -> None:
        self._specs = specs
        self._on_ready = on_ready
        self._ready_s_max = ready_s_max
        self._write = write or _write_stderr
        self._stopping = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._width = max((len(spec.name) for spec in specs), default=0)
        self._colour = write is None and sys.stderr.isatty()

    def stop(self) -> None:
        """Begin to stop all children; the second call kills them."""
        if self._stopping.is_set():
            for process in self._running.values():
                _kill_group(process, signal.SIGKILL)
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`.

        Raises: StartError: a child ended or did not become healthy before it ever was; all others are stopped.
        """
        keepers: list[asyncio.Task[None]] = []
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            for index, spec in enumerate(self._specs):
                ready = asyncio.get_running_loop().create_future()
                keeper = asyncio.create_task(self._keep(spec, index, ready))
                keepers.append(keeper)
                await asyncio.wait({ready, keeper, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if self._stopping.is_set():
                    return
                if keeper.done():
                    keeper.result()
            self._on_ready()
            await asyncio.wait({stopping, *keepers}, return_when=asyncio.FIRST_COMPLETED)
            for keeper in keepers:
                if keeper.done():
                    keeper.result()
        finally:
            self._stopping.set()
            await asyncio.gather(*keepers, return_exceptions=True)
            stopping.cancel()

    # --- one child ---------------------------------------------------------------------------------------------

    async def _keep(self, spec: ChildSpec, index: int, ready: asyncio.Future[None]) -> None:
        """Start, watch, restart with backoff; StartError when it fails before it was ever healthy."""
        backoff_s = _BACKOFF_S_MIN
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            started = loop.time()
            process = await self._spawn(spec)
            printer = asyncio.create_task(self._print_lines(process, spec.name, index))
            exited = asyncio.create_task(_exit_code(process))
            try:
                if not ready.done():
                    await self._until_ready(spec, exited)
                    if not ready.done() and not self._stopping.is_set():
                        ready.set_result(None)
                await self._until_exit_or_stop(exited)
            finally:
                await self._end(process, exited, spec.stop_s)
                await printer
                del self._running[spec.name]
            if self._stopping.is_set():
                return
            if loop.time() - started >= _STEADY_S:
                backoff_s = _BACKOFF_S_MIN
            self._say(f"{spec.name} has ended ({_fate(process.returncode)}); restarting it in {backoff_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)

    async def _spawn(self, spec: ChildSpec) -> asyncio.subprocess.Process:
        # A session of its own: Ctrl-C reaches only the supervisor, which stops the children in order, and a child's own
        # workers can be killed with it. Its standard input is the pipe by which it notices our death (core.host.child).
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "core.host.child",
            spec.module,
            *spec.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._running[spec.name] = process
        return process

    async def _until_ready(self, spec: ChildSpec, exited: asyncio.Task[int]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._ready_s_max
        while not self._stopping.is_set():
            if exited.done():
                code = exited.result()
                raise StartError(f"{spec.name} could not start ({_fate(code)}); its last lines say why", max(code, 1))
            if await answers(spec.host, spec.port):
                return
            if loop.time() > deadline:
                raise StartError(
                    f"{spec.name} does not answer on {spec.host}:{spec.port} after {self._ready_s_max:g} s"
                )
            await asyncio.wait({exited}, timeout=_POLL_S)

    async def _until_exit_or_stop(self, exited: asyncio.Task[int]) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({exited, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()

    async def _end(self, process: asyncio.subprocess.Process, exited: asyncio.Task[int], stop_s: float) -> None:
        """Stop the child, whatever it takes, and what it may have left in its process group."""
        if not exited.done():
            _kill_group(process, signal.SIGTERM, only_leader=True)
            await asyncio.wait({exited}, timeout=stop_s)
        _kill_group(process, signal.SIGKILL)
        await exited

    # --- lines -------------------------------------------------------------------------------------------------

    async def _print_lines(self, process: asyncio.subprocess.Process, name: str, index: int) -> None:
        """Pass the child's output on line by line; endless lines are cut into pieces."""
        assert process.stdout is not None
        prefix = f"{name:>{self._width}} │ "
        if self._colour:
            prefix = f"{_COLOURS[index % len(_COLOURS)]}{prefix}{_RESET}"
        pending = b""
        while chunk := await process.stdout.read(_LINE_BYTES_MAX):
            *lines, pending = (pending + chunk).split(b"\n")
            if len(pending) > _LINE_BYTES_MAX:
                lines, pending = [*lines, pending], b""
            for line in lines:
                self._write(prefix + line.decode(errors="replace").rstrip("\r"))
        if pending:
            self._write(prefix + pending.decode(errors="replace"))

    def _say(self, text: str) -> None:
        self._write(f"visavis: {text}")


async def _exit_code(process: asyncio.subprocess.Process) -> int:
    # Process.wait() also waits for the pipes, which workers of a dead child keep open: its death would go unnoticed.
    while process.returncode is None:  # noqa: ASYNC110 - asyncio has no event for it
        await asyncio.sleep(_EXIT_POLL_S)
    return process.returncode


def _write_stderr(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone; the children must still be stopped in order
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _kill_group(process: asyncio.subprocess.Process, number: signal.Signals, *, only_leader: bool = False) -> None:
    # The group outlives its leader while workers of it are left; its number cannot be taken anew until all are gone.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if only_leader:
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)


def _fate(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"

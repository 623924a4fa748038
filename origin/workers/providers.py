"""Who starts worker processes and ends them: this machine, or a cloud's scaling group (`aws.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

__all__ = ["Elsewhere", "LocalProcesses", "Provider"]

_log = logging.getLogger(__name__)

_STOP_S_MAX: Final = 1.2
_POLL_S: Final = 0.05
_LOG_BYTES_MAX: Final = 1_000_000
"""A log that is longer when a worker starts is put aside, over the one before it."""


class Provider(Protocol):
    """See the module. Nothing here waits for a worker to be ready: workers speak for themselves."""

    async def start(self, count: int) -> None:
        """Begin to start so many more workers."""
        ...

    async def stop(self, name: str, instance: str, *, at_once: bool = False) -> None:
        """End a worker that serves nobody, or (`at_once`) one that is no good.

        Args:
            instance: what its `Status` says.
        """
        ...

    def adopt(self, name: str, pid: int) -> None:
        """A worker that this provider has not started in this life; its process may be watched by its id."""
        ...

    async def aclose(self) -> None:
        """End what must not outlive this process."""
        ...


class Elsewhere:
    """Workers that somebody else starts: a supervisor, an orchestrator, people."""

    async def start(self, count: int) -> None:
        """See Provider."""

    async def stop(self, name: str, instance: str, *, at_once: bool = False) -> None:
        """See Provider."""

    def adopt(self, name: str, pid: int) -> None:
        """See Provider."""

    async def aclose(self) -> None:
        """See Provider."""


class LocalProcesses:
    """Workers as processes of this machine. They outlive a killed origin, and the next one adopts them.

    Args:
        prefix: of their names; a number follows.
        arguments: of each process, besides its name.
        folder: where their logs go.
        on_exit: told the name and the process id of who has ended, at once.
    """

    def __init__(
        self,
        prefix: str,
        arguments: Sequence[str],
        folder: Path,
        on_exit: Callable[[str, int], None],
        *,
        module: str = "origin.workers",
    ) -> None:
        self._prefix = prefix
        self._arguments = arguments
        self._folder = folder
        self._on_exit = on_exit
        self._module = module
        self._pids: dict[str, int] = {}
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._watches: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> dict[str, int]:
        """Name → process id of all that run."""
        return dict(self._pids)

    async def start(self, count: int) -> None:
        """See Provider."""
        for _ in range(count):
            number = next(n for n in range(len(self._pids) + 1) if f"{self._prefix}-{n}" not in self._pids)
            name = f"{self._prefix}-{number}"
            process = await asyncio.to_thread(self._spawn, name)
            self._children[process.pid] = process
            self._watch(name, process.pid)

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = self._folder / f"{name}.log"
        with contextlib.suppress(OSError):
            if log.stat().st_size > _LOG_BYTES_MAX:
                log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as sink:
            # A session of its own, and no pipe to us: it goes on when this process is killed.
            return subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", self._module, "--name", name, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def adopt(self, name: str, pid: int) -> None:
        """See Provider."""
        if self._pids.get(name) != pid:
            self._watch(name, pid)

    async def stop(self, name: str, instance: str, *, at_once: bool = False) -> None:
        """See Provider."""
        pid = self._pids.get(name)
        if pid is not None and self._owns(name):
            _signal_group(pid, signal.SIGKILL if at_once else signal.SIGTERM)

    async def aclose(self) -> None:
        """See Provider."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        pids = [pid for name, pid in self._pids.items() if self._owns(name)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
        deadline = _now() + _STOP_S_MAX
        while any(map(self._alive, pids)) and _now() < deadline:  # noqa: ASYNC110 - some are no children
            await asyncio.sleep(_POLL_S)
        for pid in pids:
            _signal_group(pid, signal.SIGKILL)
        for child in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(1.0)
        self._pids.clear()

    def _owns(self, name: str) -> bool:
        """Whether it is one of ours, of this life or an earlier one; those that people start are only watched."""
        prefix, _, number = name.rpartition("-")
        return prefix == self._prefix and number.isdecimal()

    def _watch(self, name: str, pid: int) -> None:
        self._pids[name] = pid
        watch = asyncio.get_running_loop().create_task(self._until_exit(name, pid), name=f"watch {name}")
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _until_exit(self, name: str, pid: int) -> None:
        await _exited(pid, functools.partial(self._alive, pid))
        child = self._children.pop(pid, None)
        code = child.poll() if child is not None else None
        if self._owns(name):
            _signal_group(pid, signal.SIGKILL)  # helpers of its own that it left
        if self._pids.get(name) == pid:
            del self._pids[name]
        self._on_exit(name, pid)
        _log.info("worker process has ended", extra={"worker": name, "worker_pid": pid, "exit": code})

    def _alive(self, pid: int) -> bool:
        child = self._children.get(pid)
        if child is not None:
            return child.poll() is None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


async def _exited(pid: int, alive: Callable[[], bool]) -> None:
    """Return when the process has ended, child of this one or not."""
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:
            descriptor = -1  # a kernel that knows none
        if descriptor >= 0:
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            loop.add_reader(descriptor, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
            return
    while alive():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(_POLL_S)


def _signal_group(pid: int, number: signal.Signals) -> None:
    # Each worker leads a group of its own, with the recognisers and voices that it has started.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if number == signal.SIGTERM:
            os.kill(pid, number)
        else:
            os.killpg(pid, number)


def _now() -> float:
    return asyncio.get_running_loop().time()

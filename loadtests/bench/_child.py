"""A process that a benchmark asks to do things: pinned to a core, ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import uvloop

from core.errors import ConfigError
from core.host.steadiness import freeze_what_lives, keep_memory
from loadtests.bench.flame import Sampler, Stack

__all__ = ["Child", "Handlers", "Usage", "cores", "pin", "prepare"]

Handlers = Mapping[str, Callable[..., Awaitable[Any]]]
"""What a child can be asked: name → coroutine function; arguments and results are pickled."""

_END_S_MAX: Final = 3.0
_CATCH_UP_S: Final = 0.3
_FILES: Final = 16_384
"""Sockets a child may have open: two per viewer."""


def cores() -> tuple[int, int]:
    """The server's core and the load generator's: the same one twice where there is only one."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return available[0], available[1 % len(available)]


@dataclass(frozen=True, slots=True)
class Usage:
    """What the main thread had of its core since some moment.

    Attributes:
        cpu_s: CPU time of the process.
        wait_s: time that the main thread was ready to run while somebody else had the core (Linux; else 0).
    """

    cpu_s: float
    wait_s: float

    @classmethod
    def now(cls) -> Usage:
        """Since the process began."""
        wait_s = 0.0
        with contextlib.suppress(OSError, ValueError, IndexError):
            wait_s = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
        return cls(time.process_time(), wait_s)

    def since(self) -> dict[str, float]:
        """From then until now."""
        now = Usage.now()
        return {"cpu_s": now.cpu_s - self.cpu_s, "wait_s": now.wait_s - self.wait_s}


def pin(core: int) -> None:
    """Stay on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


class Child:
    """See the module docstring. Use as context manager.

    Args:
        make: called in the child within its event loop, with `arguments`; gives what it can be asked.
        core: it runs on this one only.
        plain: asyncio's own event loop instead of uvloop.
    """

    def __init__(
        self, make: Callable[..., Awaitable[Handlers]], *arguments: object, core: int, plain: bool = False
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_main, args=(make, arguments, core, plain, theirs), name=make.__module__, daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pipe.close()  # the child ends when nobody can ask it any more
        self._process.join(_END_S_MAX)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid or 0

    def begin(self, name: str, *arguments: object) -> None:
        """Ask for something; `result` gives the answer."""
        try:
            self._pipe.send((name, arguments))
        except OSError as error:
            raise ConfigError(f"{self._process.name} has ended") from error

    def result(self, timeout_s: float = 60.0) -> Any:
        """The answer to what was asked.

        Raises: ConfigError: it failed, ended or took too long.
        """
        try:
            if not self._pipe.poll(timeout_s):
                raise ConfigError(f"{self._process.name} did not answer within {timeout_s:g} s")
            failed, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(_END_S_MAX)
            raise ConfigError(f"{self._process.name} has ended with {self._process.exitcode}") from error
        if failed:
            raise ConfigError(f"{self._process.name}: {value}")
        return value

    def ask(self, name: str, *arguments: object, timeout_s: float = 60.0) -> Any:
        """Ask and wait. Raises: ConfigError: as `result`."""
        self.begin(name, *arguments)
        return self.result(timeout_s)


def _main(
    make: Callable[..., Awaitable[Handlers]], arguments: tuple[object, ...], core: int, plain: bool, pipe: Connection
) -> None:
    pin(core)
    keep_memory()  # as a POP does
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    factory = asyncio.new_event_loop if plain else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(make, arguments, pipe))
        os._exit(0)  # connections by the hundred need no goodbye


async def _serve(make: Callable[..., Awaitable[Handlers]], arguments: tuple[object, ...], pipe: Connection) -> None:
    handlers = {**_OF_ALL, **await make(*arguments)}
    while True:
        try:
            name, given = await asyncio.to_thread(pipe.recv)
        except (EOFError, OSError):
            return
        try:
            answer = (False, await handlers[name](*given))
        except Exception as error:
            answer = (True, f"{name} failed: {error!r}")
        pipe.send(answer)


async def prepare() -> float:
    """A handler: collect garbage, so that no full collection falls into a measurement, and let the loop catch up.

    Returns: seconds that collecting took: everybody waits for it.
    """
    began = time.perf_counter()
    freeze_what_lives()
    took_s = time.perf_counter() - began
    await asyncio.sleep(_CATCH_UP_S)
    return took_s


async def _sample(on: bool) -> dict[Stack, int]:
    """A handler: start or stop the sampler; the stacks seen so far."""
    (_sampler.start if on else _sampler.stop)()
    return dict(_sampler.stacks)


_sampler = Sampler()
_OF_ALL: Final[Handlers] = {"prepare": prepare, "sample": _sample}

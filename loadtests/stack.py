"""A whole Visavis of one's own for tests and benchmarks: `visavis run` on free ports, stopped and freed at the end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from core.errors import ConfigError
from core.fabric.config import FabricConfig
from core.fabric.opening import OpenFabric, join_fabric

__all__ = ["Pop", "Stack", "another_pop", "local_stack", "origin_of", "stop", "wait_for_urls"]

_URLS: Final = re.compile(r"open (http://\S+)(?: and (http://\S+))?")
_START_S_MAX: Final = 60.0
_STOP_S_MAX: Final = 10.0
_LOG_LINES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running origin and POP.

    Attributes:
        pop_url, origin_url: where they answer.
        pid: of `visavis run`; origin and POP are its children.
        log: everything they say.
        directory: where the fabric's socket is.
        fabric: how one joins it beside a POP.
    """

    pop_url: str
    origin_url: str
    pid: int
    log: Path
    directory: Path
    fabric: FabricConfig = field(default_factory=FabricConfig)

    @contextlib.asynccontextmanager
    async def joined(self) -> AsyncIterator[OpenFabric]:
        """Its fabric, as its POPs see it."""
        async with await join_fabric(self.fabric, self.directory / "fabric.sock") as fabric:
            yield fabric

    def children(self) -> dict[int, str]:
        """Pid → command line of every process below `visavis run`, children of children included."""
        parents: dict[int, list[int]] = {}
        lines: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = (entry / "stat").read_text()
                parent = int(stat.rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
                lines[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        found: dict[int, str] = {}
        waiting = [self.pid]
        while waiting:
            for child in parents.get(waiting.pop(), []):
                found[child] = lines.get(child, "")
                waiting.append(child)
        return found

    def workers(self) -> dict[int, str]:
        """Pid → name of the origin's worker processes; they are nobody's children once their origin was killed."""
        folder = str(self.directory)
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                if entry.name.isdigit() and "origin.workers" in words and any(folder in word for word in words):
                    found[int(entry.name)] = words[words.index("--name") + 1]
        return found


@contextlib.contextmanager
def local_stack(*settings: str, log: Path | None = None) -> Iterator[Stack]:
    """Start `visavis run` on free ports and stop it at the end.

    Args:
        settings: `section.key=value`, as for `--set`.
        log: where its output goes; None: a temporary file.
    Raises:
        ConfigError: it did not start; with the last lines it said.
    """
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        output = log if log is not None else Path(folder) / "log.txt"
        with output.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603 - our own module
                _command(Path(folder), settings),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            pop_url = wait_for_urls(process, output)[0]
            yield Stack(
                pop_url=pop_url,
                origin_url=origin_of(pop_url, output),
                pid=process.pid,
                log=output,
                directory=Path(folder),
            )
        finally:
            stop(process)


@dataclass(slots=True)
class Pop:
    """Another POP beside a stack's own.

    Attributes:
        name, url: its own.
        process: `python -m edge`.
        log: everything it says.
    """

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def another_pop(stack: Stack, name: str, *settings: str) -> Iterator[Pop]:
    """Start one more POP of a stack's origin, on free ports, and stop it at the end.

    Args:
        settings: `section.key=value`, as for `--set`.
    Raises: ConfigError: it did not start.
    """
    log = stack.directory / f"{name}.log"
    command = [sys.executable, "-m", "edge"]
    own = (f"edge.name={name}", "edge.port=0", f"edge.fabric={stack.directory / 'fabric.sock'}")
    fabric = [f"fabric.{key}={getattr(stack.fabric, key)}" for key in ("store", "bus", "url")]
    for setting in (*own, f"edge.origin_url={stack.origin_url}", *fabric, *settings):
        command += ["--set", setting]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)  # noqa: S603
    try:
        yield Pop(name, _wait_for_pop(process, log, name), process, log)
    finally:
        stop(process, group=False)


def _wait_for_pop(process: subprocess.Popen[bytes], log: Path, name: str) -> str:
    deadline = time.monotonic() + _START_S_MAX
    says = re.compile(rf"POP {re.escape(name)} serves on (http://[^\s\"]+)")
    while time.monotonic() < deadline and process.poll() is None:
        if found := says.search(log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    raise ConfigError(f"POP {name} did not start; it said: {_tail(log)}")


def _command(folder: Path, settings: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "core.host.cli", "run", "--port", "0", "--origin-port", "0"]
    command += ["--directory", str(folder)]
    for setting in settings:
        command += ["--set", setting]
    return command


def wait_for_urls(process: subprocess.Popen[bytes], output: Path) -> list[str]:
    """Where the pages are, once all processes answer. Raises: ConfigError: they do not; with the last lines it said."""
    deadline = time.monotonic() + _START_S_MAX
    while time.monotonic() < deadline:
        text = output.read_text(errors="replace")
        if found := _URLS.search(text):
            urls = [url for url in found.groups() if url]
            return [url.rstrip("/").replace("//localhost", "//127.0.0.1") for url in urls]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise ConfigError(f"Visavis did not start; it said: {_tail(output)}")


def origin_of(pop_url: str, output: Path) -> str:
    """The origin that a POP names. Raises: ConfigError: it names none."""
    try:
        response = httpx.get(f"{pop_url}/config.json", timeout=10.0, trust_env=False)
        return str(response.raise_for_status().json()["origin_url"])
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise ConfigError(f"the POP at {pop_url} names no origin ({error}); it said: {_tail(output)}") from error


def _tail(output: Path) -> str:
    lines = output.read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-_LOG_LINES:]) or "nothing"


def stop(process: subprocess.Popen[bytes], *, group: bool = True) -> None:
    """End it, by force if it does not end when asked. Args: group: the whole process group, then."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_S_MAX)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()

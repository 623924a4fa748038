"""A whole Visavis of one's own for tests and benchmarks: `visavis run` on free ports, stopped and freed at the end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from core.errors import ConfigError

__all__ = ["Stack", "local_stack"]

_URL: Final = re.compile(r"open (http://\S+)")
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
        directory: their runtime directory.
    """

    pop_url: str
    origin_url: str
    pid: int
    log: Path
    directory: Path = Path()

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
            pop_url = _wait_for_url(process, output)
            origin_url = _origin_of(pop_url, output)
            yield Stack(pop_url=pop_url, origin_url=origin_url, pid=process.pid, log=output, directory=Path(folder))
        finally:
            _stop(process)


@contextlib.contextmanager
def another_pop(stack: Stack, name: str, *settings: str) -> Iterator[tuple[str, int]]:
    """Start one more POP beside a stack's own, and stop it at the end, if it still runs.

    Gives: its URL and its process id.
    Raises: ConfigError: it did not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    wanted = {
        "edge.name": name,
        "edge.port": port,
        "edge.origin_url": stack.origin_url,
        "edge.fabric": stack.directory / "fabric.sock",
    }
    command = [sys.executable, "-m", "edge"]
    for setting in (*(f"{key}={value}" for key, value in wanted.items()), *settings):
        command += ["--set", setting]
    process = subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + _START_S_MAX
    try:
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConfigError(f"the POP {name} did not start")
            time.sleep(0.05)
        yield url, process.pid
    finally:
        _stop(process)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _command(folder: Path, settings: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "core.host.cli", "run", "--port", "0", "--origin-port", "0"]
    command += ["--directory", str(folder)]
    for setting in settings:
        command += ["--set", setting]
    return command


def _wait_for_url(process: subprocess.Popen[bytes], output: Path) -> str:
    deadline = time.monotonic() + _START_S_MAX
    while time.monotonic() < deadline:
        text = output.read_text(errors="replace")
        if found := _URL.search(text):
            return found[1].rstrip("/").replace("//localhost", "//127.0.0.1")
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise ConfigError(f"`visavis run` did not start; it said: {_tail(output)}")


def _origin_of(pop_url: str, output: Path) -> str:
    try:
        response = httpx.get(f"{pop_url}/config.json", timeout=10.0, trust_env=False)
        return str(response.raise_for_status().json()["origin_url"])
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise ConfigError(f"the POP at {pop_url} names no origin ({error}); it said: {_tail(output)}") from error


def _tail(output: Path) -> str:
    lines = output.read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-_LOG_LINES:]) or "nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_S_MAX)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

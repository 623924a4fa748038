"""Real child processes, started and lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.host.supervisor import ChildSpec, StartError, Supervisor, answers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spec(behaviour: str, name: str = "child") -> ChildSpec:
    port = free_port()
    return ChildSpec(name=name, module="tests.core.host.children", arguments=[str(port), behaviour], port=port)


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return False


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


class Run:
    """A supervisor at work and what it said."""

    def __init__(self, *specs: ChildSpec, ready_s_max: float = 20.0) -> None:
        self.lines: list[str] = []
        self.ready = asyncio.Event()
        self.supervisor = Supervisor(specs, on_ready=self.ready.set, ready_s_max=ready_s_max, write=self.lines.append)
        self.task = asyncio.create_task(self.supervisor.run())

    async def until_ready(self) -> None:
        waiting = asyncio.create_task(self.ready.wait())
        await asyncio.wait({waiting, self.task}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            self.task.result()
        assert self.ready.is_set()

    async def stop(self) -> float:
        started = time.monotonic()
        self.supervisor.stop()
        await asyncio.wait_for(self.task, 10)
        return time.monotonic() - started

    def pid(self, name: str = "child") -> int:
        return self.supervisor._running[name].pid


async def test_children_start_in_order_and_stop_together() -> None:
    run = Run(spec("plain", "origin"), spec("plain", "edge"))
    await run.until_ready()
    pids = [run.pid("origin"), run.pid("edge")]
    assert await run.stop() < 3
    assert not any(alive(pid) for pid in pids)
    assert run.lines == ["origin │ child plain begins", "  edge │ child plain begins"]


async def test_a_child_that_died_is_started_again() -> None:
    run = Run(spec("plain"))
    await run.until_ready()
    first = run.pid()
    os.kill(first, signal.SIGKILL)
    await until(lambda: run.lines.count(" child │ child plain begins".strip()) == 2)
    assert "visavis: child has ended (killed by SIGKILL); restarting it in 0.5 s" in run.lines
    assert run.pid() != first
    assert await run.stop() < 3


async def test_a_child_that_ends_by_itself_is_started_again() -> None:
    run = Run(spec("short"))
    await run.until_ready()
    await until(lambda: len([line for line in run.lines if "begins" in line]) == 2)
    assert "visavis: child has ended (exit code 0); restarting it in 0.5 s" in run.lines
    await run.stop()


async def test_a_child_that_cannot_start_ends_everything() -> None:
    run = Run(spec("plain", "origin"), spec("mistake", "edge"))
    await until(lambda: "origin" in run.supervisor._running)
    origin = run.pid("origin")
    with pytest.raises(StartError, match="edge could not start") as caught:
        await asyncio.wait_for(run.task, 20)
    assert caught.value.code == 2
    assert not alive(origin)


async def test_a_child_that_never_answers() -> None:
    run = Run(spec("silent"), ready_s_max=0.3)
    await until(lambda: "child" in run.supervisor._running)
    pid = run.pid()
    with pytest.raises(StartError, match="does not answer") as caught:
        await asyncio.wait_for(run.task, 20)
    assert caught.value.code == 1
    assert not alive(pid)


async def test_a_child_that_does_not_stop_is_killed() -> None:
    run = Run(spec("stubborn"))
    await run.until_ready()
    pid = run.pid()
    assert await run.stop() < 3
    assert not alive(pid)


async def test_the_second_stop_kills_at_once() -> None:
    run = Run(spec("stubborn"))
    await run.until_ready()
    run.supervisor.stop()
    assert await run.stop() < 1


async def test_stop_while_starting() -> None:
    run = Run(spec("silent"), spec("plain", "edge"))
    await until(lambda: "child" in run.supervisor._running)
    assert await run.stop() < 3
    assert not run.ready.is_set()


async def test_workers_of_a_child_go_with_it() -> None:
    run = Run(spec("parent"))
    await run.until_ready()
    await until(lambda: any("worker" in line for line in run.lines))
    worker = int(next(line for line in run.lines if "worker" in line).split()[-1])
    assert alive(worker)
    await run.stop()
    await until(lambda: not alive(worker), 5)


async def test_a_death_is_noticed_though_workers_live_on() -> None:
    run = Run(spec("parent"))
    await run.until_ready()
    await until(lambda: any("worker" in line for line in run.lines))
    worker = int(next(line for line in run.lines if "worker" in line).split()[-1])
    os.kill(run.pid(), signal.SIGKILL)
    await until(lambda: len([line for line in run.lines if "begins" in line]) == 2)
    assert not alive(worker)
    await run.stop()


async def test_endless_lines_and_odd_bytes_are_passed_on() -> None:
    run = Run(spec("long"))
    await run.until_ready()
    await until(lambda: any("not utf-8" in line for line in run.lines))
    assert sum(line.count("x") for line in run.lines) == 100_000
    assert "child │ not utf-8: \N{REPLACEMENT CHARACTER}" in run.lines
    await run.stop()


async def test_answers_takes_only_a_200() -> None:
    async def serve(status: bytes) -> bool:
        async def client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(status)
            writer.close()

        server = await asyncio.start_server(client, "127.0.0.1", 0)
        try:
            return await answers("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s=1)
        finally:
            server.close()
            await server.wait_closed()

    assert await serve(b"HTTP/1.1 200 OK\r\n\r\n")
    assert not await serve(b"HTTP/1.1 503 No\r\n\r\n")
    assert not await serve(b"")
    assert not await serve(b"\xff\x00" * 70_000)
    assert not await answers("127.0.0.1", free_port())

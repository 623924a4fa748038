from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from origin.dialogue.worker_messages import Failed, Feed, Finish, Start, stt_report_decoder
from origin.dialogue.worker_process import WorkerGoneError, WorkerProcess


class Watched:
    """A worker and what was told about it."""

    def __init__(self, module: str = "tests.origin.odd_worker") -> None:
        self.reports: asyncio.Queue[msgspec.Struct] = asyncio.Queue()
        self.events: asyncio.Queue[str] = asyncio.Queue()
        self.process = WorkerProcess(
            module,
            stt_report_decoder,
            on_report=self.reports.put_nowait,
            on_up=lambda: self.events.put_nowait("up"),
            on_down=lambda: self.events.put_nowait("down"),
        )

    async def answer(self, number: int) -> Failed:
        self.process.send(Finish(id=number))
        async with asyncio.timeout(10):
            report = await self.reports.get()
        assert isinstance(report, Failed) and report.id == number
        return report

    async def event(self) -> str:
        async with asyncio.timeout(10):
            return await self.events.get()


@asynccontextmanager
async def running() -> AsyncIterator[Watched]:
    watched = Watched()
    watched.process.start()
    try:
        await watched.process.wait_up(20)
        assert await watched.event() == "up"
        yield watched
    finally:
        await watched.process.aclose()


async def test_it_answers_one_step_behind_the_origin_and_ends_with_it() -> None:
    async with running() as watched:
        assert int((await watched.answer(7)).reason) == min(19, os.nice(0) + 1)
        pid = watched.process.pid
    assert watched.process.pid == 0 and not watched.process.up
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(WorkerGoneError, match="not up"):
        watched.process.send(Finish(id=8))


@pytest.mark.parametrize("how", ["die", "babble"])
async def test_a_worker_that_dies_or_talks_nonsense_is_replaced(how: str) -> None:
    async with running() as watched:
        before = watched.process.pid
        watched.process.send(Start(id=1, character=how))
        assert [await watched.event(), await watched.event()] == ["down", "up"]
        assert watched.process.restarts == 1 and watched.process.pid != before
        await watched.answer(2)


async def test_a_worker_that_does_not_listen_is_replaced_when_too_much_waits_for_it() -> None:
    async with running() as watched:
        watched.process.send(Start(id=1, character="sulk"))
        with pytest.raises(WorkerGoneError, match="keep up"):
            for _ in range(12):
                watched.process.send(Feed(id=1, pcm=bytes(1024 * 1024)))
        assert [await watched.event(), await watched.event()] == ["down", "up"]
        await watched.answer(3)


async def test_a_worker_that_does_not_listen_is_ended_all_the_same() -> None:
    async with running() as watched:
        watched.process.send(Start(id=1, character="sulk"))
        began = time.monotonic()
        await watched.process.aclose()
        assert time.monotonic() - began < 2.0


async def test_a_worker_that_is_ended_while_it_says_something_long_ends() -> None:
    async with running() as watched:
        watched.process.send(Start(id=1, character="chatter"))
        async with asyncio.timeout(10):
            await watched.reports.get()
        await asyncio.sleep(0)  # it is in the middle of the next report
        async with asyncio.timeout(10):
            await watched.process.aclose()


async def test_a_worker_that_never_comes_up_is_said_to_be_missing() -> None:
    watched = Watched("tests.origin.no_such_worker")
    watched.process.start()
    with pytest.raises(WorkerGoneError, match="no_such_worker is not up"):
        await watched.process.wait_up(0.3)
    await watched.process.aclose()
    assert watched.events.empty()

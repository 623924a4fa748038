"""A POP is emptied while its character speaks: the page goes on at another one, and nobody sees or hears it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import pytest
from playwright.async_api import Browser

from core.fabric.config import FabricConfig
from core.fabric.opening import OpenFabric, join_fabric
from core.session.handoff_messages import (
    CancelDrain,
    Drain,
    DrainProgress,
    decode_answer,
    encode_handoff,
    pop_subject,
)
from loadtests.stack import Pop, Stack, another_pop, local_stack
from loadtests.tickets import http_client
from tests.e2e.browser import Visit, visit
from tests.e2e.delivery import FREEZE_S
from tests.e2e.steadiness import Steadiness

pytestmark = pytest.mark.asyncio(loop_scope="package")
_TICKS_PER_MS = 48
_WATCHED_MS = 900
_TRIES_MAX = 3


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Stack, Pop]]:
    """A stack of its own, with a second POP that pages of the first may talk to."""
    sources = "edge.connect_sources=http://127.0.0.1:*,https://127.0.0.1:*"
    with local_stack(sources, "origin.greet=false") as stack, another_pop(stack, "second") as second:
        yield stack, second


async def _sessions(url: str) -> int:
    async with http_client(url) as http:
        return int((await http.get(f"{url}/healthz")).raise_for_status().json()["sessions"])


async def _drained(fabric: OpenFabric, name: str) -> DrainProgress:
    """Empty a POP, as `visavis pop drain` does."""
    while True:
        answer = decode_answer(await fabric.bus.request(pop_subject(name), encode_handoff(Drain(deadline_s=20.0))))
        assert isinstance(answer, DrainProgress)
        if answer.state != "draining":
            return answer
        await asyncio.sleep(0.02)


async def _command(stack: Stack, name: str) -> tuple[int, str]:
    """`visavis pop drain`, as an operator types it."""
    command = ("-m", "core.host.cli", "pop", "drain", name, "--set", f"edge.fabric={stack.directory / 'fabric.sock'}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30.0)
    return process.returncode or 0, said.decode()


def _jumps_ms(drawn: list[dict[str, Any]]) -> list[float]:
    """How far what is audible strays from the passing of time, from picture to picture."""
    found: list[float] = []
    for before, after in pairwise(drawn):
        if before["audibleTimestamp"] is None or after["audibleTimestamp"] is None:
            continue
        ticks = (after["audibleTimestamp"] - before["audibleTimestamp"] + (1 << 31)) % (1 << 32) - (1 << 31)
        found.append(ticks / _TICKS_PER_MS - (after["atMs"] - before["atMs"]))
    return found


def _frozen_ms(drawn: list[dict[str, Any]]) -> float:
    """The longest time for which what was drawn was not made of what was sent."""
    longest = 0.0
    for made_up, group in groupby(drawn, lambda one: one["source"] in ("idle", "extrapolated")):
        pictures = list(group)
        if made_up:
            longest = max(longest, pictures[-1]["atMs"] - pictures[0]["atMs"])
    return longest


async def _speaking(page: Visit) -> None:
    await page.type("Tell me a long story about yourself.")
    await page.state("speaking")
    await asyncio.sleep(1.0)


@dataclass(frozen=True)
class _Seen:
    """What the viewer saw and heard of a move; see the functions above.

    Attributes:
        gap_ticks: the longest part of the voice that never came.
    """

    frozen_ms: float
    jump_ms: float
    gap_ticks: int

    @property
    def whole(self) -> bool:
        # Nothing is left out, nothing comes twice: what is heard goes on as time does. (Jitter buffers stretch.)
        return self.frozen_ms < 1e3 * FREEZE_S and self.jump_ms < 60.0 and self.gap_ticks <= 3 * 960


async def _moved(page: Visit, fabric: OpenFabric, stack: Stack, second: Pop) -> _Seen:
    """Empty the POP that has the session, in the middle of a sentence."""
    at_second = await _sessions(second.url) == 1
    here, there = (second.url, stack.pop_url) if at_second else (stack.pop_url, second.url)
    name = "second" if at_second else "local"
    await _speaking(page)
    began_ms = float(await page.page.evaluate("performance.now()"))
    try:
        progress = await _drained(fabric, name)
        assert (progress.state, progress.moved, progress.sent_away) == ("drained", 1, 0)
        assert await page.page.evaluate("window.visavis.session.state") == "speaking"
        assert (await _sessions(here), await _sessions(there)) == (0, 1)
        ended_ms = float(await page.page.evaluate("performance.now()"))
        await asyncio.sleep(_WATCHED_MS / 1e3)
        drawn = [one for one in await page.trace("drawn") if began_ms < one["atMs"] < ended_ms + _WATCHED_MS]
        assert len(drawn) > 30
        received = [one for one in await page.trace("received") if one["atMs"] > began_ms]
        times = sorted({one["rtpTimestamp"] for one in received if one["speech"]})
        assert await page.page.evaluate("window.visavis.session.connection") == "connected"
        await page.type("Hello!")  # the same conversation answers at the new place
        await page.state("thinking", "speaking")
        return _Seen(
            _frozen_ms(drawn),
            max(map(abs, _jumps_ms(drawn))),
            max(after - before for before, after in pairwise(times)),
        )
    finally:
        await fabric.bus.request(pop_subject(name), encode_handoff(CancelDrain()))
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("transport", ["webrtc", "webtransport"])
async def test_a_drain_in_the_middle_of_a_sentence(browser: Browser, two: tuple[Stack, Pop], transport: str) -> None:
    stack, second = two
    async with asyncio.timeout(30):  # who was here before may still be missed
        while await _sessions(stack.pop_url) or await _sessions(second.url):
            await asyncio.sleep(0.1)
    async with (
        await join_fabric(FabricConfig(), stack.directory / "fabric.sock") as fabric,
        visit(browser, stack.pop_url, transport=transport) as page,
    ):
        await page.start(talking=False)
        for _ in range(_TRIES_MAX):
            async with Steadiness() as machine:
                seen = await _moved(page, fabric, stack, second)
            if seen.whole or not machine.late_share:
                break
            print(f"once more, the machine was late: {seen}")
        assert seen.whole, seen
        assert page.errors == []


async def test_the_command_says_what_it_did_or_why_it_cannot(two: tuple[Stack, Pop]) -> None:
    stack, second = two
    code, said = await _command(stack, "nobody")
    assert (code, said.count("\n")) == (2, 1)
    assert "nobody answers to that name" in said
    code, said = await _command(stack, "second")
    assert code == 0
    assert "POP second is empty and takes no sessions" in said
    assert await _sessions(second.url) == 0

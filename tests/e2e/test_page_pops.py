"""The page among several POPs: one that dies under it, and an operator who ends its conversation."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from itertools import pairwise
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser

from loadtests.stack import Stack, another_pop, local_stack
from tests.e2e.browser import Visit, visit

pytestmark = pytest.mark.asyncio(loop_scope="package")

_SILENCE_MS_MAX = 2_000.0


async def _admin(stack: Stack, method: str, path: str) -> Any:
    key = (stack.directory / "admin-key").read_text()
    async with httpx.AsyncClient(base_url=stack.origin_url, headers={"Authorization": f"Bearer {key}"}) as http:
        answer = await http.request(method, f"/v1/admin/{path}")
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def _here(stack: Stack, page: Visit) -> str:
    """The POP that has the page's session, as the origin knows it."""
    session = await page.page.evaluate("window.visavis.session.id")
    async with asyncio.timeout(5):
        while True:
            for row in (await _admin(stack, "GET", "sessions"))["sessions"]:
                if row["id"] == session and row["pop"]:
                    return str(row["pop"])
            await asyncio.sleep(0.05)


def _pid_of(stack: Stack, name: str, second: int) -> int:
    if name == "second":
        return second
    (pid,) = [pid for pid, line in stack.children().items() if re.search(r"core\.host\.child edge", line)]
    return pid


@pytest.mark.parametrize("transport", ["webrtc", "webtransport"])
async def test_a_conversation_outlives_its_pop(browser: Browser, transport: str) -> None:
    with local_stack() as stack, another_pop(stack, "second") as (_, second):
        async with asyncio.timeout(10):
            while len((await _admin(stack, "GET", "pops"))["pops"]) < 2:
                await asyncio.sleep(0.1)
        async with visit(browser, stack.pop_url, transport=transport) as page:
            await page.start(talking=False)
            await page.settled(quiet_s=0.4)
            session = await page.page.evaluate("window.visavis.session.id")
            assert await page.page.evaluate("window.visavis.session.protocol") == transport
            await page.page.evaluate(
                "() => { window.told = []; window.visavis.session.on('connection', (e) => window.told.push(e.state)); }"
            )
            before = await _here(stack, page)
            os.kill(_pid_of(stack, before, second), signal.SIGKILL)
            await page.until(
                "laterMs => window.visavis.session.debug.received.toArray().at(-1).atMs > laterMs",
                await page.page.evaluate("performance.now() + 2500"),
            )
            assert await page.page.evaluate("window.visavis.session.id") == session
            arrivals = [float(unit["atMs"]) for unit in await page.trace("received")]
            silence_ms = max(after - before for before, after in pairwise(arrivals))
            print(f"\n{transport}: {silence_ms:.0f} ms from the last unit of the killed POP to the first of the other")
            assert silence_ms < _SILENCE_MS_MAX, await page.page.evaluate("window.told")
            assert await _here(stack, page) != before
            await page.settled(quiet_s=0.4, timeout_s=20.0)
            await page.type("Tell me about Mars.")
            await page.state("speaking")


async def test_a_page_says_that_its_conversation_was_ended_and_stays_away(browser: Browser, stack: Stack) -> None:
    async with visit(browser, stack.pop_url) as page:
        await page.start(talking=False)
        await page.settled(quiet_s=0.4)
        await _admin(stack, "DELETE", f"sessions/{await page.page.evaluate('window.visavis.session.id')}")
        await page.until("() => window.visavis.session.connection === 'closed'", timeout_s=2.0)
        assert "ended by its operator" in await page.page.inner_text("body")
        await page.page.wait_for_timeout(1_500)
        assert await page.page.evaluate("window.visavis.session.connection") == "closed"

"""The page changes its network in the middle of an answer: the conversation goes on over another link."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.async_api import Browser

from loadtests.stack import Stack
from tests.e2e.bad_network import BadNetwork
from tests.e2e.browser import Visit, visit

pytestmark = pytest.mark.asyncio(loop_scope="package")

_SILENCE_MS_MAX = 5_000.0
"""Noticing takes 0.8 s, two round trips more; the rest is a machine that does other things."""
_NOTE_CONNECTION = """() => {
  window.told = [];
  window.visavis.session.on('connection', ({ state, resumed }) => window.told.push([state, resumed]));
}"""


async def _speaking(page: Visit) -> str:
    """Get an answer going. Returns: the session's id."""
    await page.start(talking=False)
    await page.settled(quiet_s=0.4)
    await page.page.evaluate(_NOTE_CONNECTION)
    await page.type("Tell me about Jupiter.")
    await page.state("speaking")
    await page.page.wait_for_timeout(1_000)
    return str(await page.page.evaluate("window.visavis.session.id"))


async def _longest_silence_ms(page: Visit) -> float:
    arrivals = [float(unit["atMs"]) for unit in await page.trace("received")]
    return max(after - before for before, after in pairwise(arrivals))


@pytest.mark.parametrize("transport", ["webrtc", "webtransport"])
async def test_an_answer_goes_on_over_another_link_when_its_network_dies(
    browser: Browser, stack: Stack, transport: str
) -> None:
    async with BadNetwork() as network, visit(browser, stack.pop_url, network=network, transport=transport) as page:
        session = await _speaking(page)
        assert await page.page.evaluate("window.visavis.session.protocol") == transport
        network.cut()
        await page.until(
            "laterMs => window.visavis.session.debug.received.toArray().at(-1).atMs > laterMs",
            await page.page.evaluate("performance.now() + 1000"),
        )
        assert await page.page.evaluate("window.visavis.session.id") == session
        told = await page.page.evaluate("window.told")
        assert {state for state, _ in told} <= {"switching", "connected"}, told
        assert all(resumed for state, resumed in told if state == "connected"), told
        assert await _longest_silence_ms(page) < _SILENCE_MS_MAX
        await page.settled(quiet_s=0.4, timeout_s=30.0)
        await page.type("What is a black hole?")
        await page.state("speaking")
        assert not page.errors


async def test_a_change_of_network_that_still_works_is_not_noticed(browser: Browser, stack: Stack) -> None:
    async with visit(browser, stack.pop_url) as page:
        session = await _speaking(page)
        link = "window.visavis.session.voiceStream.id"
        before = await page.page.evaluate(link)
        await page.page.evaluate("dispatchEvent(new Event('online'))")
        await page.until(f"before => {link} !== before", before)
        await page.state("speaking")
        await page.settled(quiet_s=0.4, timeout_s=30.0)
        assert await page.page.evaluate("window.visavis.session.id") == session
        assert await page.page.evaluate("window.told") == []
        numbers = [int(unit["sequenceNumber"]) for unit in await page.trace("received")]
        missing = set(range(numbers[0], numbers[-1])) - set(numbers)
        assert not missing, "every unit came over one link or the other"

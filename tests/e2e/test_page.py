"""The page without a microphone: a living face, typed questions, what happens when something is missing or lost."""

from __future__ import annotations

import itertools

import httpx
import numpy as np
import pytest
from playwright.async_api import Browser, Response

from loadtests.stack import Stack
from tests.e2e.browser import visit

pytestmark = pytest.mark.asyncio(loop_scope="package")

AUDIBLE_RMS = 0.01
_NO_MICROPHONE = """
navigator.mediaDevices.getUserMedia = () =>
  Promise.reject(new DOMException("Requested device not found", "NotFoundError"));
"""


async def test_silent_access_units_are_drawn(browser: Browser, stack: Stack) -> None:
    async with visit(browser, stack.pop_url) as page:
        await page.start(talking=False)
        await page.settled()
        await page.page.evaluate("measure.clear()")
        pictures = []
        for _ in range(12):
            pictures.append(await page.picture())
            await page.page.wait_for_timeout(120)
        received = await page.trace("received")
        drawn = await page.trace("drawn")
        await page.screenshot("idle")
        # Packets came (80 ms ones, as nobody speaks), all without a voice, all with a face in them.
        assert len(received) >= 12
        assert not any(unit["speech"] for unit in received)
        assert all(unit["jawOpen"] is not None for unit in received)
        # That face was drawn, at the display's rate, and what stands on the canvas moves.
        assert any(sample["rtpTimestamp"] is not None for sample in drawn)
        assert len(drawn) > 20
        changes = [float(np.abs(b - a).max()) for a, b in itertools.pairwise(pictures)]
        assert max(changes) > 2.0
        assert float(pictures[0].std()) > 10.0  # something is there at all
        assert page.errors == []


async def test_typed_text_is_answered_aloud(browser: Browser, stack: Stack) -> None:
    async with visit(browser, stack.pop_url, dark=True) as page:
        await page.start(talking=False)
        await page.settled()
        await page.listen()
        await page.type("Tell me about Mars.")
        await page.state("speaking")
        await page.page.wait_for_selector("#captions p:has-text('Mars')", timeout=5_000)
        await page.page.wait_for_timeout(1_200)
        await page.screenshot("speaking-typed")
        caption = await page.page.inner_text("#captions")
        heard = await page.heard("voice")
        assert "Mars" in caption
        assert float(np.mean(heard.levels > AUDIBLE_RMS)) > 0.2
        assert "Tell me about Mars." in await page.page.inner_text("#transcript")
        await page.page.click("#interrupt")
        await page.state("idle", "listening", timeout_s=3.0)
        gains = await page.trace("gains")
        assert any(change["gain"] == 0 for change in gains)
        assert page.errors == []


async def test_a_mirror_says_what_it_is_and_offers_no_typing(browser: Browser, stack: Stack) -> None:
    async with visit(browser, f"{stack.pop_url}/?mode=mirror") as page:
        assert "your voice" in await page.page.inner_text("#welcome-line")
        assert await page.page.is_visible("#start-talking")
        assert not await page.page.is_visible("#start-typing")


async def test_reload_goes_on_with_a_new_session(browser: Browser, stack: Stack) -> None:
    async with visit(browser, stack.pop_url) as page:
        await page.start(talking=False)
        before = await page.page.evaluate("window.visavis.session.id")
        await page.page.reload()
        await page.connected()
        after = await page.page.evaluate("window.visavis.session.id")
        assert before != after
        await page.settled()
        await page.type("hello")
        await page.state("speaking")
        assert page.errors == []


async def test_a_lost_connection_is_made_again_by_itself(browser: Browser, stack: Stack) -> None:
    async with visit(browser, stack.pop_url) as page:
        links: list[str] = []

        def note(response: Response) -> None:
            if response.request.method == "POST" and response.url.endswith("/webrtc"):
                links.append(response.headers.get("location", ""))

        page.page.on("response", note)
        await page.start(talking=False)
        before = await page.page.evaluate("window.visavis.session.id")
        await page.page.evaluate(
            """() => {
              window.seen = [];
              window.visavis.session.on('connection', ({ state }) => window.seen.push(state));
            }"""
        )
        async with httpx.AsyncClient() as http:  # the POP drops the link, as when it goes down
            assert (await http.delete(f"{stack.pop_url}{links[0]}")).status_code == 200
        await page.until("() => window.seen.includes('reconnecting')", timeout_s=10.0)
        await page.connected()
        assert await page.page.evaluate("window.visavis.session.id") != before
        await page.settled()
        await page.type("hello")
        await page.state("speaking")


@pytest.mark.parametrize(
    ("before", "title"),
    [("", "The microphone is blocked"), (_NO_MICROPHONE, "No microphone found")],
    ids=["denied", "missing"],
)
async def test_without_a_microphone_it_says_so_and_typing_works(
    browser: Browser, stack: Stack, before: str, title: str
) -> None:
    async with visit(browser, stack.pop_url, before=before) as page:
        await page.page.click("#start-talking")
        await page.page.wait_for_selector("#notice:not([hidden])", timeout=10_000)
        assert await page.page.inner_text("#notice-title") == title
        assert len(await page.page.inner_text("#notice-text")) > 20
        await page.page.click("#notice-actions button:has-text('Type instead')")
        await page.connected()
        await page.settled()
        await page.type("What is your name?")
        await page.state("speaking")
        assert page.errors == []


async def test_text_that_is_too_long_is_refused_in_words_and_the_conversation_goes_on(
    browser: Browser, stack: Stack
) -> None:
    async with visit(browser, stack.pop_url) as page:
        await page.start(talking=False)
        await page.settled()
        await page.page.evaluate("document.getElementById('text').removeAttribute('maxlength')")
        await page.type("x" * 2_001)
        await page.page.wait_for_selector("#notice:not([hidden])", timeout=5_000)
        assert "2001" in await page.page.inner_text("#notice-text")
        assert await page.page.evaluate("window.visavis.session.connection") == "connected"


async def test_the_origin_is_away_and_the_page_says_so(browser: Browser, stack: Stack) -> None:
    async with visit(browser, f"{stack.pop_url}/?origin=http://127.0.0.1:9") as page:
        await page.page.click("#start-typing")
        await page.page.wait_for_selector("#notice:not([hidden])", timeout=10_000)
        assert await page.page.inner_text("#notice-title") == "The service is out of reach"

"""The same conversation over WebTransport: the page plays the sound itself, and takes WebRTC where UDP is blocked."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route

from loadtests.stack import Stack
from tests.e2e.browser import Visit, visit
from tests.e2e.conftest import QUESTION_AT_S
from tests.e2e.recording import AUDIBLE_RMS, Recorded, lip_sync_of, reaction_ms, record, understood

pytestmark = pytest.mark.asyncio(loop_scope="package")

_DUCK_MS_MAX = 150.0
_CUT_MS_MAX = 250.0
_OFFSET_MS_MAX = 45.0
_FALLBACK_S_MAX = 3.0
_TAP = """
{
  const tap = () => {
    const channel = new BroadcastChannel("visavis-tap");
    const own = Object.getOwnPropertyDescriptor(WebTransportDatagramDuplexStream.prototype, "readable");
    Object.defineProperty(WebTransportDatagramDuplexStream.prototype, "readable", {
      configurable: true,
      get() {
        return own.get.call(this).pipeThrough(new TransformStream({
          transform(datagram, controller) {
            const view = new DataView(datagram.buffer, datagram.byteOffset);
            if (datagram[0] === 0x41)
              channel.postMessage({ rtpTimestamp: view.getUint32(1), bytes: datagram.slice(5).buffer });
            controller.enqueue(datagram);
          },
        }));
      },
    });
  };
  const Own = window.Worker;
  window.Worker = class extends Own {
    constructor(url, options) {
      const code = `import ${JSON.stringify(String(url))};(${tap})()`;
      const tapped = String(url).includes("sessionWorker");
      super(tapped ? URL.createObjectURL(new Blob([code], { type: "text/javascript" })) : url, options);
    }
  };
}
"""
"""Beside the worker's own code: copies every received unit, untouched, for an independent decoder.

The worker's code itself must come from the POP: from elsewhere it may not reach local addresses.
"""


@asynccontextmanager
async def _conversation(browser: Browser, stack: Stack, *, microphone: bool) -> AsyncIterator[Visit]:
    """A conversation over WebTransport, its greeting over."""
    async with visit(browser, stack.pop_url, microphone=microphone, before=_TAP, transport="webtransport") as page:
        await page.start(talking=microphone)
        await page.settled(quiet_s=0.2)
        assert (await page.page.evaluate("window.visavis.session.stats()"))["protocol"] == "webtransport"
        await page.listen()
        yield page


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def answered(browser: Browser, stack: Stack) -> Recorded:
    """The microphone's question and its answer."""
    async with _conversation(browser, stack, microphone=True) as page:
        await page.state("listening", timeout_s=QUESTION_AT_S + 5.0)
        await page.state("speaking", timeout_s=15.0)
        await page.settled(quiet_s=0.5)
        assert page.errors == []
        return await record(page)


async def _interrupt(browser: Browser, stack: Stack) -> Recorded:
    """A long answer to a typed question, into which the microphone speaks."""
    async with _conversation(browser, stack, microphone=True) as page:
        await page.until(f"() => performance.now() - window.microphoneOpenedMs > {(QUESTION_AT_S - 1.6) * 1e3}")
        await page.type("Tell me about the moon.")
        await page.state("speaking", timeout_s=5.0)
        await page.state("listening", timeout_s=8.0)
        await page.page.wait_for_timeout(1_200)
        return await record(page)


async def test_a_spoken_question_is_heard_and_answered_aloud(answered: Recorded) -> None:
    assert understood(answered.transcript)
    assert float((answered.voice.levels > AUDIBLE_RMS).sum()) * 0.005 > 1.0
    assert float(answered.voice.levels.max()) > 0.05


async def test_the_lips_fit_the_voice(answered: Recorded) -> None:
    found = lip_sync_of(answered)
    assert found is not None
    print(f"lip sync: {found}, {found.offset_ms:.1f} ms")
    assert abs(found.offset_ms) <= _OFFSET_MS_MAX


async def test_barge_in_ducks_and_cuts_at_once(browser: Browser, stack: Stack) -> None:
    recorded = await _interrupt(browser, stack)
    ducked_ms, silent_ms = reaction_ms(recorded)
    if ducked_ms > _DUCK_MS_MAX or silent_ms > _CUT_MS_MAX:  # a machine that stood still measured only itself
        ducked_ms, silent_ms = reaction_ms(await _interrupt(browser, stack))
    assert ducked_ms <= _DUCK_MS_MAX
    assert silent_ms <= _CUT_MS_MAX


async def test_a_typed_question_is_answered_aloud_without_a_microphone(browser: Browser, stack: Stack) -> None:
    async with _conversation(browser, stack, microphone=False) as page:
        await page.type("What is your name?")
        await page.state("speaking", timeout_s=10.0)
        await page.settled(quiet_s=0.5)
        recorded = await record(page)
        stats = await page.page.evaluate("window.visavis.session.stats()")
        assert page.errors == []
    assert float((recorded.voice.levels > AUDIBLE_RMS).sum()) * 0.005 > 0.5
    assert max(sample["jawOpen"] for sample in recorded.drawn if sample["source"] == "audible") > 0.1
    assert stats["counters"]["malformed"] == 0
    assert stats["playoutDelayMs"] is not None


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A UDP port at which nobody answers, as behind a firewall."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        yield udp.getsockname()[1]


async def test_where_udp_is_blocked_it_is_webrtc_within_three_seconds(
    browser: Browser, stack: Stack, silent_port: int
) -> None:
    ticket_at = 0.0

    async def elsewhere(route: Route) -> None:
        nonlocal ticket_at
        if route.request.method != "POST":
            await route.continue_()
            return
        response = await route.fetch()
        ticket = json.loads(await response.text())
        for pop in ticket["pops"]:
            pop["webtransport"]["url"] = f"https://127.0.0.1:{silent_port}"
        await route.fulfill(response=response, body=json.dumps(ticket))
        ticket_at = time.monotonic()

    async with visit(browser, stack.pop_url, transport="auto") as page:
        await page.page.route("**/v1/sessions", elsewhere)
        await page.start(talking=False)
        took_s = time.monotonic() - ticket_at
        protocol = (await page.page.evaluate("window.visavis.session.stats()"))["protocol"]
        print(f"WebRTC instead of WebTransport after {took_s:.2f} s")
        assert protocol == "webrtc"
        assert took_s <= _FALLBACK_S_MAX
        remembered = await page.page.evaluate("sessionStorage.getItem('visavis-webtransport-trouble')")
        assert remembered is not None, "the next link does not try again"

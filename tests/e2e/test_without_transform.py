"""A browser that shows nobody its encoded audio: motion comes as copies on a data channel, the voice as ever."""

from __future__ import annotations

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from loadtests.stack import Stack
from tests.e2e.browser import visit
from tests.e2e.conftest import QUESTION_AT_S
from tests.e2e.recording import AUDIBLE_RMS, Recorded, lip_sync_of, record, understood

pytestmark = pytest.mark.asyncio(loop_scope="package")

_OFFSET_MS_MAX = 45.0
_SWITCH_OFF = """
{
  delete window.RTCRtpScriptTransform;
  delete RTCRtpReceiver.prototype.createEncodedStreams;
  delete RTCRtpSender.prototype.createEncodedStreams;
  const channel = new BroadcastChannel("visavis-tap");
  const own = RTCPeerConnection.prototype.createDataChannel;
  RTCPeerConnection.prototype.createDataChannel = function (label, options) {
    const made = own.call(this, label, options);
    if (label === "units") {
      made.addEventListener("message", ({ data }) => {
        channel.postMessage({ rtpTimestamp: new DataView(data).getUint32(1), bytes: data.slice(5) });
      });
    }
    return made;
  };
}
"""
"""The API is gone before the page's own script runs; what comes on the channel is copied for an independent decoder."""


async def _answer(browser: Browser, stack: Stack) -> Recorded:
    """The microphone's question and its answer."""
    async with visit(browser, stack.pop_url, microphone=True, before=_SWITCH_OFF) as page:
        await page.start(talking=True)
        await page.settled(quiet_s=0.2)
        await page.listen()
        await page.state("listening", timeout_s=QUESTION_AT_S + 5.0)
        await page.state("speaking", timeout_s=15.0)
        await page.settled(quiet_s=0.5)
        stats = await page.page.evaluate("window.visavis.session.stats()")
        assert page.errors == []
        assert (stats["protocol"], stats["motionPath"]) == ("webrtc", "data-channel")
        counters = stats["counters"]
        print(f"copies: {counters}")
        assert counters["malformed"] == counters["plain"] == counters["feedbackEmbedded"] == 0
        assert counters["feedbackOnChannel"] > 20
        assert counters["frameBytes"] / counters["units"] < 60, "frames refer to acknowledged ones: feedback arrives"
        return await record(page)


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def answered(browser: Browser, stack: Stack) -> Recorded:
    """One conversation for all tests."""
    return await _answer(browser, stack)


async def test_the_question_is_heard_and_the_answer_is_aloud(answered: Recorded) -> None:
    assert understood(answered.transcript)
    assert float((answered.voice.levels > AUDIBLE_RMS).sum()) * 0.005 > 1.0


async def test_the_face_moves_with_the_voice(answered: Recorded, browser: Browser, stack: Stack) -> None:
    drawn = np.array([sample["jawOpen"] for sample in answered.drawn if sample["source"] == "audible"])
    assert drawn.max() > 0.1
    found = lip_sync_of(answered)
    if found is None:  # a machine that stood still measured only itself
        found = lip_sync_of(await _answer(browser, stack))
    assert found is not None
    print(f"lip sync: {found}, {found.offset_ms:.1f} ms")
    assert abs(found.offset_ms) <= _OFFSET_MS_MAX

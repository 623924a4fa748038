"""One spoken conversation in a browser, recorded once and looked at from every side: words, voice, lips, barge-in."""

from __future__ import annotations

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from core.limits import MEDIA_CLOCK_HZ
from core.stream.playout_position import unwrap_timestamp
from loadtests.stack import Stack
from tests.e2e.browser import visit
from tests.e2e.conftest import QUESTION_AT_S
from tests.e2e.recording import AUDIBLE_RMS, Recorded, lip_sync_of, reaction_ms, record, sent_jaw_and_voice, understood

pytestmark = pytest.mark.asyncio(loop_scope="package")

_DUCK_MS_MAX = 150.0
_CUT_MS_MAX = 250.0
_OFFSET_MS_MAX = 45.0


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def answered(browser: Browser, stack: Stack) -> Recorded:
    """The microphone's question and its answer, with a picture of every state on the way."""
    async with visit(browser, stack.pop_url, microphone=True, tap=True, dark=True) as page:
        await page.start(talking=True)
        await page.settled(quiet_s=0.3)  # the greeting is over before the question
        await page.listen()
        await page.state("listening", timeout_s=QUESTION_AT_S + 5.0)
        await page.page.wait_for_timeout(800)
        await page.screenshot("listening")
        await page.state("thinking", timeout_s=6.0)
        await page.screenshot("thinking")
        await page.state("speaking", timeout_s=10.0)
        for index in range(4):
            await page.page.wait_for_timeout(500)
            await page.screenshot(f"speaking-{index}")
        await page.settled(quiet_s=0.5)
        assert page.errors == []
        return await record(page)


async def _interrupt(browser: Browser, stack: Stack) -> Recorded:
    """A long answer to a typed question, into which the microphone speaks."""
    async with visit(browser, stack.pop_url, microphone=True) as page:
        await page.start(talking=True)
        await page.settled(quiet_s=0.2)
        await page.listen()
        # The microphone has been open for some time; the answer must have begun when it speaks.
        await page.until(f"() => performance.now() - window.microphoneOpenedMs > {(QUESTION_AT_S - 1.6) * 1e3}")
        await page.type("Tell me about the moon.")
        await page.state("speaking", timeout_s=5.0)
        await page.state("listening", timeout_s=8.0)
        await page.page.wait_for_timeout(1_200)
        return await record(page)


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def interrupted(browser: Browser, stack: Stack) -> Recorded:
    """An interrupted answer; a second one if the machine stood still in the first, which then measures only itself."""
    recorded = await _interrupt(browser, stack)
    ducked_ms, silent_ms = reaction_ms(recorded)
    if ducked_ms > _DUCK_MS_MAX or silent_ms > _CUT_MS_MAX:
        recorded = await _interrupt(browser, stack)
    return recorded


async def test_the_transcript_arrives(answered: Recorded) -> None:
    assert understood(answered.transcript)


async def test_the_answer_has_a_voice(answered: Recorded) -> None:
    voice = answered.voice
    spoken_s = float((voice.levels > AUDIBLE_RMS).sum()) * 0.005
    assert spoken_s > 1.0
    assert float(voice.levels.max()) > 0.05


async def test_the_drawn_jaw_is_the_sent_jaw(answered: Recorded) -> None:
    sent, sound = sent_jaw_and_voice(answered)
    begin, end = sound[0][0], sound[-1][0]
    drawn: list[tuple[float, float]] = []
    near = answered.packets[0][0]
    for sample in answered.drawn:
        if sample["rtpTimestamp"] is None:
            continue
        media_s = unwrap_timestamp(sample["rtpTimestamp"], near) / MEDIA_CLOCK_HZ
        if begin <= media_s <= end:
            drawn.append((media_s, sample["jawOpen"]))
    assert len(drawn) > 20
    points = np.array(drawn)
    expected = np.interp(points[:, 0], sent.times_s, sent.values)
    assert float(expected.std()) > 0.02  # it moves
    assert float(np.corrcoef(points[:, 1], expected)[0, 1]) >= 0.95


async def test_the_lips_fit_the_voice(answered: Recorded) -> None:
    found = lip_sync_of(answered)
    assert found is not None
    print(f"lip sync: {found}, {found.offset_ms:.1f} ms")
    assert abs(found.offset_ms) <= _OFFSET_MS_MAX


async def test_barge_in_ducks_and_cuts_at_once(interrupted: Recorded) -> None:
    ducked_ms, silent_ms = reaction_ms(interrupted)
    assert ducked_ms <= _DUCK_MS_MAX
    assert silent_ms <= _CUT_MS_MAX
    # Cut means cut: no more of that answer once the POP has said so.
    cut_at = next(u["atMs"] for u in interrupted.received if u["cut"])
    assert not any(u["speech"] for u in interrupted.received if cut_at < u["atMs"] < cut_at + 800.0)

"""What a person sees and hears over a bad network: a browser's conversation through a relay, against what was sent.

The truth comes from a viewer without a browser on a perfect path that asks the same questions: the character has one
answer to each, and says it alike every time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from playwright.async_api import Browser

from loadtests.stack import Stack
from loadtests.turn import ask, settle
from loadtests.viewer import Viewer
from tests.e2e.bad_network import BadNetwork, gilbert
from tests.e2e.browser import Visit, visit
from tests.e2e.delivery import (
    AUDIBLE_RMS,
    Faces,
    Fit,
    Stretch,
    Truth,
    fits,
    frozen_mouth,
    mouth_error,
    silences,
    still,
    truth_of,
)
from tests.e2e.intelligibility import words_alike
from tests.e2e.steadiness import Steadiness

pytestmark = pytest.mark.asyncio(loop_scope="package")

_QUESTIONS = ("Tell me about Jupiter.", "What is the Milky Way?", "What is a black hole?")
_NO_LOSS = gilbert(0.0, 1.0)
_LOSS = gilbert(0.10, 2.0)
_OFFSET_MS_MAX = 45.0
_WORDS_ALIKE_MIN = 0.9
_SILENT_SHARE_MAX = 0.02
"""Of the voice, in gaps of over 100 ms: runs of losses longer than redundancy reaches have no longest, but are few."""
_GAP_S_MAX = 0.5
"""Twice the longest that the seed's losses take: a longer one is not the network's."""
_RECORDINGS_MAX = 3
_LATE_SHARE_MAX = 0.05
"""An idle machine of two cores is late 2 % of the time: what was recorded is judged in between."""
_DRAWN_HZ_MIN = 15.0
"""Below it nothing is measured but the machine."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Answer:
    """One answer as the browser drew and played it, and the truth, on the page's clock.

    Attributes:
        faces: from the question to the answer's end.
        sound: float32[n], 48 kHz, of the same stretch.
        found: how they lie against the truth.
        silences: where the voice was missing.
    """

    faces: Faces
    sound: NDArray[np.float32]
    truth: Truth
    found: list[Fit]
    silences: list[Stretch]

    def offsets_ms(self) -> list[float]:
        """How much later than the voice the lips are, window by window."""
        return [fit.offset_ms for fit in self.found]

    def __repr__(self) -> str:
        drawn_hz = (len(self.faces.at_s) - 1) / (self.faces.at_s[-1] - self.faces.at_s[0])
        return (
            f"drawn at {drawn_hz:.0f} Hz, face still {_lengths(still(self.faces))}, "
            f"mouth frozen {_lengths(frozen_mouth(self.faces, self.truth, self.found))}, "
            f"jaw error {mouth_error(self.faces, self.truth, self.found):.3f}, silences {_lengths(self.silences)}, "
            f"lips behind voice by {np.round(self.offsets_ms())} ms, sound by "
            f"{np.round([1e3 * fit.sound.seconds for fit in self.found])} ms"
        )


def _lengths(stretches: list[Stretch]) -> list[float]:
    return [round(stretch.length_s, 3) for stretch in stretches]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def truths(stack: Stack) -> dict[str, Truth]:
    """What is sent in answer to each question."""
    found = {}
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url, microphone=False) as viewer:
        await settle(viewer, quiet_s=0.3)
        for question in _QUESTIONS:
            turn = await ask(viewer, text=question)
            found[question] = truth_of(viewer.recording, turn.reply_text)
            await settle(viewer, quiet_s=0.3)
    return found


async def _taken_down(page: Visit, truth: Truth, asked_s: float) -> Answer | None:
    """Everything since the question; the face is idle again. None where it is not to be recognised."""
    latency_s = float((await page.page.evaluate("window.visavis.session.stats()"))["outputLatencyMs"] or 0.0) / 1e3
    heard = await page.heard("voice")
    loud_s = heard.first_above(AUDIBLE_RMS, asked_s)
    assert loud_s is not None, "the answer is heard"
    here = truth.shifted(loud_s + latency_s - truth.loud_s)
    faces = await page.faces()
    lasting = heard.between(loud_s - 0.5, loud_s + here.sound.size / 48_000 + 2.0).curve().shifted(latency_s)
    found = fits(faces, lasting, here)
    if not found:
        return None
    return Answer(
        faces=faces, sound=await page.sound("voice"), truth=here, found=found, silences=silences(lasting, here, found)
    )


async def _converse(page: Visit, network: BadNetwork, truths: dict[str, Truth], name: str) -> list[Answer]:
    """All answers; none if the page took another link meanwhile, or one is not to be recognised."""
    await page.start(talking=False)
    await page.watch()
    await page.settled(quiet_s=0.4)
    network.impair(_LOSS)
    await page.page.wait_for_timeout(2_000)  # the POP sees the loss and protects what it sends
    answers: list[Answer] = []
    for question, truth in truths.items():
        await page.listen()
        asked_s = await page.now_s()
        await page.type(question)
        await page.state("speaking", timeout_s=8.0)
        for index in range(0 if answers else 4):
            await page.page.wait_for_timeout(700)
            await page.screenshot(f"{name}-loss-{index}")
        await page.settled(quiet_s=0.6, timeout_s=30.0)
        if not await page.page.evaluate("measure.onOneLink()"):
            return []
        answer = await _taken_down(page, truth, asked_s)
        if answer is None:
            return []
        answers.append(answer)
    print(f"{name}: {await page.page.evaluate('window.visavis.session.stats()')}")
    print(f"{name}: {dict(network.fates())}")
    for answer in answers:
        print(f"{name}: {answer}")
    return answers


async def _over_a_bad_network(browser: Browser, stack: Stack, truths: dict[str, Truth]) -> list[Answer]:
    async with (
        BadNetwork(_NO_LOSS, seed=3) as network,
        visit(browser, stack.pop_url, network=network, transport="webtransport") as page,
    ):
        answers = await _converse(page, network, truths, "webtransport")
        assert await page.page.evaluate("window.visavis.session.protocol") == "webtransport"
        fates = network.fates()
        assert fates["lost"] > 0.07 * fates["delivered"]
        return answers


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def lossy(browser: Browser, stack: Stack, truths: dict[str, Truth]) -> list[Answer]:
    """A conversation over a link that loses a tenth of the packets, in runs of two.

    Once more if the page left its link, or the machine did not keep up: a machine that stands still looks like a
    network that does, and loss alone is no reason to leave.
    """
    answers: list[Answer] = []
    for _ in range(_RECORDINGS_MAX):
        async with Steadiness() as machine:
            answers = await _over_a_bad_network(browser, stack, truths)
            print(f"the machine was late {machine.late_share:.1%} of the time")
            if answers and machine.late_share < _LATE_SHARE_MAX:
                break
    assert answers, "what is drawn and heard is what was sent, over one link"
    return answers


async def test_what_is_sent_never_stands_still(truths: dict[str, Truth]) -> None:
    for truth in truths.values():
        assert not still(truth.faces)


async def test_no_face_freezes(lossy: list[Answer]) -> None:
    for answer in lossy:
        assert len(answer.faces.at_s) > _DRAWN_HZ_MIN * (answer.faces.at_s[-1] - answer.faces.at_s[0])
        assert not still(answer.faces)
        assert not frozen_mouth(answer.faces, answer.truth, answer.found)


async def test_every_word_is_made_out(lossy: list[Answer]) -> None:
    alike = [words_alike(answer.truth.sound, answer.sound, answer.truth.text) for answer in lossy]
    print(f"words made out as in the clean recording: {', '.join(f'{share:.0%}' for share in alike)}")
    assert float(np.mean(alike)) >= _WORDS_ALIKE_MIN
    gaps = [gap.length_s for answer in lossy for gap in answer.silences]
    assert max(gaps, default=0.0) < _GAP_S_MAX
    silent_s = sum(gaps)
    assert silent_s < _SILENT_SHARE_MAX * sum(answer.truth.sound.size / 48_000 for answer in lossy)


async def test_the_lips_fit_the_voice(lossy: list[Answer]) -> None:
    offsets = [abs(offset) for answer in lossy for offset in answer.offsets_ms()]
    windows = sum(answer.truth.sound.size / 48_000 for answer in lossy)  # one a second
    print(f"lips behind the voice: at most {max(offsets):.0f} ms in {len(offsets)} windows")
    assert len(offsets) > 0.7 * windows
    assert float(np.quantile(offsets, 0.9)) <= _OFFSET_MS_MAX

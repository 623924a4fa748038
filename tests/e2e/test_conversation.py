"""One spoken conversation in a browser, recorded once and looked at from every side: words, voice, lips, barge-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from core.avatar.frame import AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import MEDIA_CLOCK_HZ
from core.stream.playout_position import unwrap_timestamp
from core.wire.access_unit import AccessUnitFlags, decode_access_unit
from core.wire.frame_codec import FrameDecoder
from loadtests.audio import VoiceDecoder
from loadtests.lip_sync import Curve, LipSync, assemble, lip_sync, loudness
from loadtests.stack import Stack
from tests.e2e.browser import Sound, Visit, visit
from tests.e2e.conftest import QUESTION_AT_S

pytestmark = pytest.mark.asyncio(loop_scope="package")

_JAW = BLENDSHAPE_INDEX["jawOpen"]
_AUDIBLE_RMS = 0.01
_DUCK_MS_MAX = 150.0
_CUT_MS_MAX = 250.0
_OFFSET_MS_MAX = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the browser saw and heard of one stretch of the conversation; times are performance.now() in seconds.

    Attributes:
        packets: (RTP timestamp, payload) as the worker got them, from the connection's first on.
        drawn, received, gains: the SDK's trace.
        voice: the character's voice before the page's own volume.
        microphone: what the microphone captured.
        transcript: text of the page's transcript.
        output_latency_s: what the browser says its loudspeaker adds.
    """

    packets: list[tuple[int, bytes]]
    drawn: list[dict[str, Any]]
    received: list[dict[str, Any]]
    gains: list[dict[str, Any]]
    voice: Sound
    microphone: Sound
    transcript: str
    output_latency_s: float


async def _record(page: Visit) -> Recorded:
    stats = await page.page.evaluate("window.visavis.session.stats()")
    return Recorded(
        packets=await page.packets(),
        drawn=await page.trace("drawn"),
        received=await page.trace("received"),
        gains=await page.trace("gains"),
        voice=await page.heard("voice"),
        microphone=await page.heard("microphone"),
        transcript=await page.page.inner_text("#transcript"),
        output_latency_s=float(stats["outputLatencyMs"] or 0.0) / 1e3,
    )


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
        return await _record(page)


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
        return await _record(page)


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def interrupted(browser: Browser, stack: Stack) -> Recorded:
    """An interrupted answer; a second one if the machine stood still in the first, which then measures only itself."""
    recorded = await _interrupt(browser, stack)
    ducked_ms, silent_ms = _reaction_ms(recorded)
    if ducked_ms > _DUCK_MS_MAX or silent_ms > _CUT_MS_MAX:
        recorded = await _interrupt(browser, stack)
    return recorded


def _reaction_ms(recorded: Recorded) -> tuple[float, float]:
    """Milliseconds from the user's acoustic onset to a ducked and to a silent voice; inf where it never happened."""
    began = next(u["atMs"] for u in recorded.received if u["speech"]) / 1e3
    onset = recorded.microphone.first_above(_AUDIBLE_RMS, began)
    assert onset is not None, "the user speaks into the answer"
    later = [(gain["atMs"] - onset * 1e3, gain["gain"]) for gain in recorded.gains if gain["atMs"] > onset * 1e3]
    arrived = [
        next((u["atMs"] - onset * 1e3 for u in recorded.received if u[flag] and u["atMs"] > onset * 1e3), np.inf)
        for flag in ("duck", "cut")
    ]
    found = [next((at for at, gain in later if gain <= level), np.inf) for level in (0.5, 0.01)]
    print(f"barge-in, ms after onset: duck, cut arrived {np.round(arrived)}, ducked, silent {np.round(found)}")
    return found[0], found[1]


async def test_the_transcript_arrives(answered: Recorded) -> None:
    assert "what is your name" in answered.transcript.lower()


async def test_the_answer_has_a_voice(answered: Recorded) -> None:
    voice = answered.voice
    spoken_s = float((voice.levels > _AUDIBLE_RMS).sum()) * 0.005
    assert spoken_s > 1.0
    assert float(voice.levels.max()) > 0.05


def _sent(recorded: Recorded) -> tuple[Curve, list[tuple[float, np.ndarray[Any, np.dtype[np.float32]]]]]:
    """Jaw and voice as sent, on the media clock in seconds, decoded here and not by the page."""
    frames, voice = FrameDecoder(), VoiceDecoder()
    jaw: list[tuple[float, float]] = []
    sound: list[tuple[float, np.ndarray[Any, np.dtype[np.float32]]]] = []
    newest = recorded.packets[0][0]
    listened_from = recorded.received[0]["rtpTimestamp"]
    for timestamp, payload in recorded.packets:
        newest = unwrap_timestamp(timestamp, newest)
        unit = decode_access_unit(payload)
        assert unit is not None, "every downlink packet is an access unit"
        decoded = frames.decode(unit.frame, unit.sequence_number)
        if isinstance(decoded, AnimationFrame):
            jaw.append((newest / MEDIA_CLOCK_HZ, float(decoded.weights[_JAW])))
        pcm = voice.decode(payload)
        assert pcm is not None, "every access unit is a valid Opus packet"
        if AccessUnitFlags.SPEECH in unit.flags and newest >= unwrap_timestamp(listened_from, newest):
            sound.append((newest / MEDIA_CLOCK_HZ, pcm))
    points = np.array(jaw)
    return Curve(points[:, 0], points[:, 1]), sound


async def test_the_drawn_jaw_is_the_sent_jaw(answered: Recorded) -> None:
    sent, sound = _sent(answered)
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


def lip_sync_of(recorded: Recorded) -> LipSync | None:
    """Drawn jaw and heard voice against sent jaw and sent voice."""
    sent_jaw, sound = _sent(recorded)
    media_begin = sound[0][0]
    loud_at = recorded.voice.first_above(_AUDIBLE_RMS, recorded.voice.times_s[0])
    assert loud_at is not None
    shift = loud_at - media_begin
    stretch = recorded.voice.between(loud_at - 0.2, loud_at + (sound[-1][0] - media_begin) + 0.3)
    heard = stretch.curve().shifted(recorded.output_latency_s)
    drawn = np.array([(sample["atMs"] / 1e3, sample["jawOpen"]) for sample in recorded.drawn])
    return lip_sync(
        sent_jaw=sent_jaw.shifted(shift),
        drawn_jaw=Curve(drawn[:, 0], drawn[:, 1]),
        sent_voice=loudness(*assemble(sound)).shifted(shift),
        heard_voice=heard,
    )


async def test_the_lips_fit_the_voice(answered: Recorded) -> None:
    found = lip_sync_of(answered)
    assert found is not None
    print(f"lip sync: {found}, {found.offset_ms:.1f} ms")
    assert abs(found.offset_ms) <= _OFFSET_MS_MAX


async def test_barge_in_ducks_and_cuts_at_once(interrupted: Recorded) -> None:
    ducked_ms, silent_ms = _reaction_ms(interrupted)
    assert ducked_ms <= _DUCK_MS_MAX
    assert silent_ms <= _CUT_MS_MAX
    # Cut means cut: no more of that answer once the POP has said so.
    cut_at = next(u["atMs"] for u in interrupted.received if u["cut"])
    assert not any(u["speech"] for u in interrupted.received if cut_at < u["atMs"] < cut_at + 800.0)

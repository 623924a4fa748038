"""One clause's times, told by sound that comes as services send it: late, long, without text, without sound."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import PhonemeSpan, SpeechPacket, WordSpan
from origin.dialogue.character import Voice
from origin.dialogue.clause_timer import ClauseTimer, Pace
from origin.dialogue.heard import Utterances
from origin.dialogue.live_times import LiveTimes
from origin.dialogue.outgoing_voice import OutgoingVoice
from origin.dialogue.services import Shared
from origin.dialogue.worker_messages import Clause

pytestmark = pytest.mark.asyncio(loop_scope="module")


def timer(shared: Shared, text: str, pace: Pace | None = None) -> ClauseTimer:
    voice = shared.voice
    assert voice is not None

    async def pronounce(said: str) -> Clause | None:
        return await voice.speak(said, Voice(name="en-us"), silent=True)

    return ClauseTimer(text, pronounce, None, pace or Pace())


def tone(seconds: float, rate_hz: int = 24_000) -> bytes:
    return np.asarray(8_000 * np.sin(np.arange(round(seconds * rate_hz)) * 0.1), "<i2").tobytes()


async def test_a_minute_at_once_keeps_nobody_waiting_and_is_covered_to_its_end(shared: Shared) -> None:
    clause = timer(shared, "This is said very slowly indeed.")
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        while running:
            before = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - before)

    watching = asyncio.create_task(watch())
    await clause.push(tone(70.0), 24_000, 1)
    clause.end()
    await clause._task
    running = False
    await watching
    assert clause.times.phonemes[-1].end == pytest.approx(70 * MEDIA_CLOCK_HZ, rel=0.01)
    assert longest < 0.2


async def test_without_text_or_without_sound_there_are_no_times(shared: Shared) -> None:
    for text, sound in (("…", tone(1.0)), ("Hello", b""), ("Hello", bytes(48_000))):
        clause = timer(shared, text)
        await clause.push(sound, 24_000, 1)
        clause.end()
        await clause._task
        assert clause.times.settled_until > 0, "nobody waits for what will never come"
        if text == "…":
            assert clause.times.phonemes == () == clause.times.words


async def test_a_pace_is_learnt_and_nonsense_is_not() -> None:
    pace = Pace()
    assert pace.now == 1.0
    pace.learn(48_000, 40_000)
    assert pace.now == pytest.approx(1.2)
    pace.learn(4_800_000, 40_000)
    pace.learn(1_000, 0)
    assert pace.now == pytest.approx(1.2)
    for _ in range(200):
        pace.learn(80_000, 100_000)
    assert pace.now == pytest.approx(0.8, abs=0.01), "the last half minute counts"


async def test_what_has_left_stays_and_the_rest_follows_better_times() -> None:
    sent: list[SpeechPacket] = []
    voice = OutgoingVoice(
        Utterances(), lambda message: sent.append(message) if isinstance(message, SpeechPacket) else None, 32_000
    )
    live = LiveTimes()
    second = MEDIA_CLOCK_HZ

    def spans(*starts: float) -> tuple[PhonemeSpan, ...]:
        return tuple(
            PhonemeSpan(name, round(at * second), round((at + 0.1) * second))
            for name, at in zip("abcd", starts, strict=True)
        )

    live.revise((WordSpan("ab", 0, second), WordSpan("cd", second, 2 * second)), spans(0.0, 0.5, 1.0, 1.5))
    utterance = voice.begin(1)
    voice.say_live("ab cd", live)
    speaking = asyncio.create_task(voice.sound(bytes(2 * 2 * second), second))
    await asyncio.sleep(0.1)
    assert 0.3 <= len(sent) * 0.02 <= 0.5, "not far ahead while better times may come"
    live.revise((WordSpan("ab", 0, second), WordSpan("cd", second, second)), spans(0.2, 0.8, 1.2, 1.8))
    live.settle()
    await asyncio.sleep(0.1)
    assert len(sent) * 0.02 >= 1.0, "now it may run ahead"
    await speaking
    await voice.finish()
    found = [(span.symbol, round(span.start / second, 2)) for packet in sent for span in packet.phonemes]
    assert found == [("a", 0.01), ("b", 0.81), ("c", 1.21), ("d", 1.81)]
    utterance.note(round(1.1 * second))
    assert utterance.heard_text() == "ab cd"

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from origin.dialogue.services import Shared
from origin.dialogue.stt import QuietEnd
from tests.origin.viewer import synthesise

pytestmark = pytest.mark.asyncio(loop_scope="module")


def tone(level: float, ms: int) -> bytes:
    time_s = np.arange(16 * ms) / 16_000
    return (level * 32_767 * np.sin(2 * np.pi * 300 * time_s)).astype("<i2").tobytes()


async def test_silence_at_the_end_is_held_back_until_speech_goes_on() -> None:
    end = QuietEnd()
    assert end.push(tone(0.3, 100)) == tone(0.3, 100)
    quiet = [tone(0.001, 20) for _ in range(10)]
    heard = [end.push(pcm) for pcm in quiet]
    assert heard == quiet[:5] + [b""] * 5  # 100 ms of it
    assert end.push(tone(0.2, 20)) == b"".join(quiet[5:]) + tone(0.2, 20)  # nothing is lost


async def test_quiet_speech_after_a_bang_is_heard() -> None:
    end = QuietEnd()
    end.push(tone(0.9, 20))
    whisper = [tone(0.005, 20) for _ in range(40)]
    heard = b"".join(end.push(pcm) for pcm in whisper)
    assert heard == b"".join(whisper)
    assert end.push(b"") == b""


async def _words(shared: Shared, pcm16: bytes) -> str:
    assert shared.ears is not None
    hearing = shared.ears.listen("mira", lambda partial: None)
    hearing.feed(pcm16)
    hearing.finish()
    async with asyncio.timeout(10):
        return (await hearing.result).text


async def test_who_finds_all_workers_busy_waits_and_loses_nothing(shared: Shared) -> None:
    assert shared.ears is not None
    silence = np.zeros(9_600, np.int16)
    texts = ["how far away is the moon", "when are you open", "what is a black hole"]
    sounds = [np.concatenate([silence, await synthesise(shared, text), silence])[::3].tobytes() for text in texts]
    first = shared.ears.listen("mira", lambda partial: None)
    first.feed(sounds[0])
    waiting = [asyncio.create_task(_words(shared, sound)) for sound in sounds[1:]]
    given_up = shared.ears.listen("mira", lambda partial: None)
    await asyncio.sleep(0)
    given_up.cancel()
    assert shared.ears.waiting == 2
    first.finish()
    async with asyncio.timeout(10):
        assert (await first.result).text == texts[0]
    assert [await words for words in waiting] == texts[1:]
    assert shared.ears.waiting == 0


async def test_the_recogniser_tells_phrases_from_other_speech(shared: Shared) -> None:
    assert shared.ears is not None
    phrases = ["how far away is the moon", "tell me a joke", "what is a black hole", "when are you open"]
    others = ["i want to buy a new car", "the president gave a long speech", "my computer is very slow"]
    right = believed = 0
    for voice in ("en-us", "en-us+f2"):
        for text in (*phrases, *others):
            pcm = np.concatenate(
                [np.zeros(9_600, np.int16), await synthesise(shared, text, voice), np.zeros(9_600, np.int16)]
            )
            hearing = shared.ears.listen("mira", lambda partial: None)
            hearing.feed(pcm[::3].tobytes())
            hearing.finish()
            async with asyncio.timeout(10):
                report = await hearing.result
            if text in phrases:
                right += report.text == text
            else:
                believed += report.in_grammar
    assert right >= 7 and believed <= 1

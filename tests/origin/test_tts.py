from __future__ import annotations

import asyncio

import numpy as np
import pytest

from origin.dialogue.character import Character, Voice, load_characters
from origin.dialogue.services import Shared
from origin.dialogue.tts import SpeechFailedError
from origin.dialogue.worker_process import WorkerGoneError

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def mira() -> Character:
    return load_characters()["mira"]


async def test_phonemes_lie_within_the_sound_and_words_keep_their_spelling(shared: Shared, mira: Character) -> None:
    assert shared.voice is not None
    text = "Hello, I'm Mira: 384,000 stars!"
    clause = await shared.voice.speak(text, mira.voice)
    samples = len(clause.pcm) // 2
    assert [word for word, _, _ in clause.words] == text.split()
    assert all(0 <= start <= end <= samples for _, start, end in clause.words)
    assert all(a[2] == b[1] for a, b in zip(clause.phonemes, clause.phonemes[1:], strict=False))
    assert any(stress == 2 for *_, stress in clause.phonemes)
    pcm = np.frombuffer(clause.pcm, "<i2").astype(np.float64) / 32768
    voiced = [pcm[start:end] for symbol, start, end, _ in clause.phonemes if symbol and end > start]
    silent = [pcm[start:end] for symbol, start, end, _ in clause.phonemes if not symbol and end > start]
    loudness = [float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) for parts in (voiced, silent)]
    assert loudness[0] > 5 * loudness[1]
    assert 0.05 < loudness[0] < 0.3 and np.abs(pcm).max() < 1.0


async def test_an_unknown_voice_is_an_error_and_the_worker_lives(shared: Shared, mira: Character) -> None:
    assert shared.voice is not None
    with pytest.raises(SpeechFailedError, match="no voice"):
        await shared.voice.speak("Hello", Voice(name="en-gb"))
    assert (await shared.voice.speak("Hello", mira.voice)).pcm


async def test_a_clause_that_nobody_waits_for_is_given_up(shared: Shared, mira: Character) -> None:
    assert shared.voice is not None
    long = asyncio.create_task(
        shared.voice.speak("one two three four five six seven eight nine ten. " * 40, mira.voice)
    )
    await asyncio.sleep(0)
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long
    async with asyncio.timeout(2):
        assert (await shared.voice.speak("Hello", mira.voice)).pcm


async def test_a_voice_that_dies_while_it_speaks_says_so_and_comes_back(shared: Shared, mira: Character) -> None:
    assert shared.voice is not None
    speaking = asyncio.create_task(shared.voice.speak("one two three. " * 200, mira.voice))
    await asyncio.sleep(0)
    shared.voice.process.kill()
    with pytest.raises(WorkerGoneError):
        await speaking
    assert (await shared.voice.speak("Hello", mira.voice)).pcm

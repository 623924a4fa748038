from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr
from pipecat.audio.vad.vad_analyzer import VADParams, VADState

from loadtests.audio import read_audio
from origin.dialogue.detector import SharedSileroAnalyzer, load_detector

PARAMS = VADParams(confidence=0.6, start_secs=0.1, stop_secs=0.15, min_volume=0.0)


def make() -> SharedSileroAnalyzer:
    analyzer = SharedSileroAnalyzer(PARAMS)
    analyzer.set_sample_rate(16_000)
    return analyzer


def question() -> bytes:
    sound = soxr.resample(read_audio(Path(__file__).parents[1] / "data/mars.wav", length_s_max=9.0), 48_000, 16_000)
    return bytes((np.concatenate([sound, np.zeros(8_000)]) * 32_767).astype("<i2").tobytes())


async def states(analyzer: SharedSileroAnalyzer, pcm: bytes) -> list[VADState]:
    return [await analyzer.analyze_audio(pcm[at : at + 640]) for at in range(0, len(pcm) - 640, 640)]


async def test_speech_begins_and_ends_once() -> None:
    found = await states(make(), question())
    changes = [state for state, before in zip(found[1:], found, strict=False) if state is not before]
    assert changes == [VADState.STARTING, VADState.SPEAKING, VADState.STOPPING, VADState.QUIET]
    # 1.62 s is the end of the recording's speech; the detector's own delay and 150 ms of silence follow.
    assert 0.15 < found.index(VADState.QUIET, found.index(VADState.SPEAKING)) * 0.02 - 1.62 < 0.35


async def test_sessions_share_the_model_and_nothing_else() -> None:
    assert load_detector() is load_detector()
    alone = await states(make(), question())
    one, other = make(), make()
    pcm = question()
    noise = np.random.default_rng(0).normal(0, 3_000, len(pcm) // 2).astype("<i2").tobytes()
    together: list[VADState] = []
    for at in range(0, len(pcm) - 640, 640):
        await other.analyze_audio(noise[at : at + 640])
        together.append(await one.analyze_audio(pcm[at : at + 640]))
    assert together == alone


async def test_silence_and_noise_are_no_speech() -> None:
    noise = np.random.default_rng(1).normal(0, 600, 32_000).astype("<i2").tobytes()
    assert set(await states(make(), bytes(64_000))) == {VADState.QUIET}
    assert VADState.SPEAKING not in await states(make(), noise)

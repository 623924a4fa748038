"""Recorded questions as microphone packets, for tests of the ear."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtests.audio import VoiceEncoder, read_audio
from loadtests.signals import end_of_speech, level_dbov, start_of_speech

_DATA = Path(__file__).parents[1] / "data"


@cache
def recording(name: str) -> tuple[NDArray[np.float32], float, float]:
    """48 kHz sound in whole packets with 0.5 s of quiet around it, and where its speech starts and ends in seconds."""
    sound = read_audio(_DATA / f"{name}.wav", length_s_max=30.0)
    sound = np.concatenate((np.zeros(24_000, np.float32), sound, np.zeros(24_000, np.float32)))
    sound = sound[: len(sound) // 2_880 * 2_880]
    start, end = start_of_speech(sound, 48_000), end_of_speech(sound, 48_000)
    assert start is not None
    assert end is not None
    return sound, start, end


def encode(sound: NDArray[np.float32]) -> list[tuple[bytes, int]]:
    """Opus packets of 20 ms with their RFC 6464 levels."""
    encoder = VoiceEncoder()
    blocks = sound[: len(sound) // 960 * 960].reshape(-1, 960)
    return [(encoder.encode(block), level_dbov(block)) for block in blocks]

"""A mirror against a real origin and POP: who speaks sees and hears itself as the character."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.limits import MEDIA_CLOCK_HZ
from core.session.claims import MODE_MIRROR
from loadtests.audio import read_audio
from loadtests.stack import Stack
from loadtests.viewer import TransportChoice, Viewer

pytestmark = pytest.mark.asyncio(loop_scope="package")

DATA = Path(__file__).parents[1] / "data"
_BLOCK = MEDIA_CLOCK_HZ // 100


def loudness(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """RMS per 10 ms."""
    blocks = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).astype(np.float64)
    return np.asarray(np.sqrt((blocks * blocks).mean(axis=1)))


@pytest.mark.parametrize("transport", ["webrtc", "webtransport"])
async def test_who_speaks_sees_and_hears_itself(stack: Stack, transport: TransportChoice) -> None:
    sound = read_audio(DATA / "mars.wav", length_s_max=10.0)
    async with Viewer.connect(
        origin=stack.origin_url, pop=stack.pop_url, transport=transport, mode=MODE_MIRROR
    ) as viewer:
        await asyncio.sleep(1.0)
        viewer.recording.clear()
        viewer.say(sound)
        await asyncio.sleep(len(sound) / MEDIA_CLOCK_HZ + 1.5)
        heard = np.concatenate([piece.samples for piece in viewer.recording.heard])
        jaw = np.array([drawn.jaw_open for drawn in viewer.recording.drawn])
        spoken, received = loudness(sound), loudness(heard)
        spoken -= spoken.mean()
        received = np.concatenate([received, np.zeros(len(spoken))])
        likeness = [
            float(np.corrcoef(spoken, received[lag : lag + len(spoken)])[0, 1])
            for lag in range(len(received) - len(spoken))
            if received[lag : lag + len(spoken)].std() > 0
        ]
        assert max(likeness) > 0.9
        assert int(np.argmax(likeness)) * 0.01 < 1.0, "well within a second"
        assert jaw.max() > 0.2
        assert jaw.std() > 0.03

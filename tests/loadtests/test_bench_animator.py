"""The benchmark of faces: what its sessions do, and how it draws its line."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from core.limits import PHASES_PER_TICK
from core.speech.messages import PhonemeSpan, SpeechPacket
from loadtests.audio import VoiceEncoder
from loadtests.bench import animator
from loadtests.bench.animator import _Faces, _line

_TICKS = 30


@pytest.fixture(scope="module")
def speech() -> list[SpeechPacket]:
    """A short utterance, again and again."""
    encoder, rng = VoiceEncoder(), np.random.default_rng(0)
    return [
        SpeechPacket(
            utterance_id=0,
            index=index,
            opus=encoder.encode((0.1 * rng.standard_normal(960)).astype(np.float32)),
            phonemes=(PhonemeSpan("ɑ", index * 960, index * 960 + 960, 2),) if index % 4 == 0 else (),
            log_mel=bytes([100 + index]) * 40,
        )
        for index in range(_TICKS)
    ]


@pytest.mark.parametrize(("live_share", "live"), [(0.0, 0), (0.1, 2), (1.0, 20)])
def test_its_sessions_speak_without_a_pause(speech: list[SpeechPacket], live_share: float, live: int) -> None:
    faces = _Faces(speech, "high", "fp32")
    faces.renew(20, live_share)
    assert sum(face._live is not None for face in faces.faces) == live
    by_phase = [sum(face._live is not None for face in faces.faces[phase::4]) for phase in range(PHASES_PER_TICK)]
    assert max(by_phase) - min(by_phase) <= 1
    made = 0
    for phase in range(PHASES_PER_TICK * 3 * _TICKS):
        faces.hear(phase % PHASES_PER_TICK)
        made += faces.conductor.step(phase % PHASES_PER_TICK, 0.0, 0.0)
    assert made == 20 * 3 * _TICKS
    for face in faces.faces:
        assert face._utterance_id >= 3
        assert face._track.holes == 0
        assert face._live is not None or face._track.underruns == 0
    assert faces.voices.failures == 0
    assert faces.student.mended == 0
    faces.clear()


def test_the_line_is_the_cost_of_one_frame_more() -> None:
    costs = [{"sessions": sessions, "ms_per_phase": 0.2 + sessions / 4 * 0.015} for sessions in (100, 400, 700)]
    slope_us, straightness = _line(costs)
    assert slope_us == pytest.approx(15.0)
    assert straightness == pytest.approx(1.0)


def test_it_knows_its_flags() -> None:
    parser = argparse.ArgumentParser()
    animator.add_arguments(parser)
    options = parser.parse_args(["--tier", "rules", "--seconds", "1"])
    assert (options.tier, options.seconds, options.precision) == ("rules", 1.0, None)

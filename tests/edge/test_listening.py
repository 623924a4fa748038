"""Ears that listen together hear what each would hear alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from core.limits import TICK_S, TICK_SAMPLES
from edge.ear import Ear, EarEvent
from edge.inference import VadState, VoiceActivity
from edge.listening import ListeningRound
from edge.transports.link import MicrophoneUnit
from tests.edge.speech import encode, recording


class CountingVoiceActivity(VoiceActivity):
    def __init__(self) -> None:
        super().__init__()
        self.runs: list[int] = []

    def run(self, states: Sequence[VadState], windows: NDArray[np.float32]) -> NDArray[np.float32]:
        self.runs.append(len(states))
        return super().run(states, windows)


def units(name: str) -> list[MicrophoneUnit]:
    sound, _, _ = recording(name)
    return [
        MicrophoneUnit(
            payload=packet, timestamp=index * TICK_SAMPLES, sequence_number=index, level_dbov=level, voice=True
        )
        for index, (packet, level) in enumerate(encode(sound))
    ]


@pytest.fixture(scope="module")
def vad() -> CountingVoiceActivity:
    return CountingVoiceActivity()


def together(
    vad: VoiceActivity, said: Sequence[Sequence[MicrophoneUnit]], packets_per_round: int = 1
) -> list[list[EarEvent]]:
    work: list[Callable[[], None]] = []
    listening = ListeningRound(vad, work.append)
    ears = [Ear(vad) for _ in said]
    events: list[list[EarEvent]] = [[] for _ in said]
    for first in range(0, max(map(len, said)), packets_per_round):
        for ear, heard, packets in zip(ears, events, said, strict=True):
            for index, unit in enumerate(packets[first : first + packets_per_round], first):
                listening.add(ear, unit, index * TICK_S, heard.extend, pytest.fail)
        assert len(work) == 1
        work.pop()()
    return events


def alone(vad: VoiceActivity, packets: Sequence[MicrophoneUnit]) -> list[EarEvent]:
    ear = Ear(vad)
    return [event for index, unit in enumerate(packets) for event in ear.receive(unit, index * TICK_S)]


@pytest.mark.parametrize("packets_per_round", [1, 3])
def test_what_ears_notice_together_is_what_each_notices_alone(
    vad: CountingVoiceActivity, packets_per_round: int
) -> None:
    said = [units("hello"), units("moon"), units("hello")[7:]]
    vad.runs.clear()
    heard = together(vad, said, packets_per_round)
    shared = vad.runs.copy()
    assert heard == [alone(vad, packets) for packets in said]
    assert all(any(event.kind == "started" for event in events) for events in heard)
    assert max(shared) == len(said)
    assert len(shared) < sum(shared)


def test_an_ear_that_breaks_breaks_alone(vad: CountingVoiceActivity, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_packet: bytes) -> NDArray[np.float32]:
        raise RuntimeError("out of order")

    work: list[Callable[[], None]] = []
    listening = ListeningRound(vad, work.append)
    loud = MicrophoneUnit(payload=units("hello")[40].payload, timestamp=0, sequence_number=0, level_dbov=20, voice=True)
    failed, told = list[int](), list[list[EarEvent]]()
    for number, ear in enumerate((Ear(vad), Ear(vad, broken), Ear(vad))):
        listening.add(ear, loud, 0.0, told.append, lambda number=number: failed.append(number))  # type: ignore[misc]
    work.pop()()
    assert failed == [1]
    assert len(told) == 2
    assert "an ear failed" in caplog.text

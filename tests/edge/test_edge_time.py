"""What the edge adds, as the viewer is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.speech.messages import SpeechStart
from edge.edge_time import EdgeTime
from edge.narrator import Narrator
from tests.reachable import reachable_bytes


class Told:
    def __init__(self, fabric_s: float | None = 0.002) -> None:
        self.messages: list[dict[str, Any]] = []
        narrator = Narrator(send=self.tell, keep=self.tell, wall_clock=lambda: 0.0)
        narrator.receive(SpeechStart(utterance_id=1, turn_id=7))
        self.time = EdgeTime(narrator=narrator, fabric_latency_s=lambda: fabric_s)

    def tell(self, text: str) -> None:
        self.messages.append(json.loads(text))

    @property
    def stages(self) -> list[dict[str, Any]]:
        return [message["data"]["d"] for message in self.messages]


def test_the_first_packet_says_how_long_its_way_through_the_edge_was() -> None:
    told = Told()
    told.time.utterance_begins()
    told.time.voice_arrived(1.0)
    told.time.voice_arrived(1.5)
    told.time.first_left(1, 1.5, 1.012)
    assert told.stages == [{"turn_id": 7, "stages": {"edge": pytest.approx(12.0), "fabric": 2.0}}]


def test_a_fabric_that_nobody_measured_is_not_mentioned() -> None:
    told = Told(fabric_s=None)
    told.time.first_left(1, 1.0, 1.004)
    assert told.stages[0]["stages"] == {"edge": pytest.approx(4.0)}


def test_at_the_end_the_slowest_packets_are_told_once() -> None:
    told = Told()
    for index in range(100):
        told.time.voice_left(index / 1e3)
    told.time.voice_over(1)
    told.time.voice_over(1)
    assert len(told.stages) == 1
    assert 99.0 <= told.stages[0]["edge_added_ms_p99"] <= 1.02 * 99.0
    assert told.stages[0]["edge_units"] == 100


@pytest.mark.parametrize("added_s", [0.0, 9e-6, 1.01e-5, 0.00031, 0.02, 0.9, 30.0])
def test_a_delay_is_told_to_two_per_cent(added_s: float) -> None:
    told = Told()
    told.time.voice_left(added_s)
    told.time.voice_over(1)
    found = told.stages[0]["edge_added_ms_p99"] / 1e3
    if added_s < 1e-5:
        assert found == 0.0
    elif added_s < 1.0:
        assert added_s <= found <= 1.0201 * added_s
    else:
        assert found >= 1.0


def test_an_hour_of_packets_takes_no_more_memory_than_a_second() -> None:
    told = Told()
    before = reachable_bytes(told.time)
    for index in range(180_000):
        told.time.voice_left(1.7e-7 * index)
    assert reachable_bytes(told.time) - before < 100
    told.time.voice_over(1)
    assert told.stages[0]["edge_units"] == 180_000
    assert told.stages[0]["edge_added_ms_p99"] == pytest.approx(30.3, rel=0.02)

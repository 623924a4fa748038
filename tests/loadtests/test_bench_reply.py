from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from core.errors import ConfigError
from loadtests.bench import reply
from loadtests.turn import Turn

TURN = Turn(
    transcript="tell me about mars",
    reply_text="Mars is red.",
    first_motion_ms=100.0,
    first_audio_ms=400.0,
    edge_added_ms_p99=5.0,
    edge_units=100,
    av_offset_ms=-8.0,
    frames=100,
    mean_frame_bytes=20.0,
    stages={"think": 1.0},
    false_reactions=0,
    speech_s=2.0,
    faults=(),
    reply_audio=np.zeros(0, dtype=np.float32),
)


def asked(*turns: Turn) -> list[reply.Asked]:
    questions = reply.make_questions(len(turns), 1)
    return [
        reply.Asked(dataclasses.replace(q, parts=("Tell me about Mars.",)), t)
        for q, t in zip(questions, turns, strict=True)
    ]


def test_the_same_seed_asks_the_same_and_another_one_differs() -> None:
    assert reply.make_questions(30, 1) == reply.make_questions(30, 1)
    assert reply.make_questions(30, 1) != reply.make_questions(30, 2)
    names = [question.name for question in reply.make_questions(30, 1)]
    assert len(set(names)) == 30


def test_figures_are_over_all_turns() -> None:
    slow = dataclasses.replace(TURN, first_audio_ms=900.0, av_offset_ms=12.0, false_reactions=1, edge_added_ms_p99=7.0)
    figures = reply.summarise(asked(TURN, TURN, slow), {}).figures
    assert figures["first_audio_ms_p50"] == 400.0
    assert figures["first_audio_ms_p95"] == 900.0
    assert figures["edge_added_ms_p99"] == 7.0
    assert figures["av_offset_ms_p50"] == 8.0
    assert figures["av_offset_ms_p95"] == 12.0
    assert figures["false_reactions_per_min"] == pytest.approx(10.0)
    assert figures["word_error_rate"] == 0.0
    assert figures["unanswered"] == 0


def test_a_question_without_an_answer_is_counted_and_does_not_hide_in_an_average() -> None:
    silent = dataclasses.replace(TURN, first_audio_ms=None, av_offset_ms=None, edge_added_ms_p99=None, transcript="")
    result = reply.summarise(asked(TURN, silent), {})
    assert result.figures["unanswered"] == 1
    assert result.figures["word_error_rate"] == 0.5
    assert result.details["per_question"][1]["first_audio_ms"] is None


def test_added_by_the_edge_is_bounded_by_the_histogram_with_all_slow_units_taken_for_voice() -> None:
    rare = dataclasses.replace(TURN, edge_added_ms_p99=33.0, edge_units=1_000)
    histogram = {5.0: 2_900.0, 7.5: 2_991.0, 10.0: 2_999.0, math.inf: 3_000.0}
    assert reply.edge_added_ms_p99([rare, rare], histogram) == 7.5
    assert reply.edge_added_ms_p99([rare], {5.0: 2_900.0, 7.5: 2_980.0, math.inf: 3_000.0}) == 33.0
    assert reply.edge_added_ms_p99([TURN], {}) == 5.0


def test_no_answer_at_all_is_an_error_and_no_figure() -> None:
    silent = dataclasses.replace(TURN, first_audio_ms=None, first_motion_ms=None)
    with pytest.raises(ConfigError, match="motion, sound"):
        reply.summarise(asked(silent), {})

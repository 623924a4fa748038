from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.session.budget import STAGES
from origin.dialogue.state import TurnMarks


def test_stages_of_a_spoken_turn() -> None:
    marks = TurnMarks(
        speech_ended=10.0, detected=10.22, transcribed=10.24, ended=10.30, first_clause=10.31, first_packet=10.33
    )
    stages = marks.stages()
    # The pause after the words were known was spent on noticing that the turn had ended.
    assert stages == pytest.approx({"detect": 280.0, "transcribe": 20.0, "think": 10.0, "speak": 20.0})
    assert list(stages) == [stage.name for stage in STAGES][:4]


def test_stages_of_typed_text_begin_with_it() -> None:
    marks = TurnMarks(ended=10.0, first_clause=10.01, first_packet=10.03)
    assert marks.stages() == pytest.approx({"think": 10.0, "speak": 20.0})


@given(st.lists(st.floats(1.0, 9.0), min_size=5, max_size=5), st.floats(1.0, 9.0), st.sets(st.integers(1, 4)))
def test_stages_are_never_negative_and_add_up(moments: list[float], first_packet: float, unknown: set[int]) -> None:
    """Whatever the order in which the moments were noted, and whichever are missing."""
    speech_ended, *others = [min(moment, first_packet) for moment in moments]
    others = [0.0 if index + 1 in unknown else moment for index, moment in enumerate(others)]
    detected, transcribed, ended, first_clause = others
    marks = TurnMarks(speech_ended, detected, transcribed, ended, first_clause, first_packet)
    stages = marks.stages()
    assert all(ms >= 0.0 for ms in stages.values())
    assert sum(stages.values()) == pytest.approx(1e3 * (first_packet - speech_ended), abs=0.05)


@given(st.lists(st.floats(1.0, 9.0), min_size=6, max_size=6))
def test_moments_in_order_are_their_own_gaps(moments: list[float]) -> None:
    marks = TurnMarks(*sorted(moments))
    gaps = [1e3 * (late - early) for early, late in itertools.pairwise(sorted(moments))]
    assert list(marks.stages().values()) == pytest.approx([gaps[0] + gaps[2], gaps[1], gaps[3], gaps[4]], abs=0.05)

from __future__ import annotations

import math

import pytest

from origin.dialogue.recogniser import trust_grammar


@pytest.mark.parametrize(
    ("score_gap", "likeness", "trusted"),
    [(0.0, 1.0, True), (-20.0, 0.0, False), (-25.0, 0.3, True), (10.0, 0.5, False), (math.inf, 1.0, False)],
)
def test_a_phrase_is_believed_when_it_scores_or_sounds_like_what_was_said(
    score_gap: float, likeness: float, trusted: bool
) -> None:
    assert trust_grammar(score_gap, likeness) is trusted

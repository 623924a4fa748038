from __future__ import annotations

from core.limits import LOG_MEL_BANDS
from core.speech import student_layout as layout


def test_numbers_fit_each_other() -> None:
    assert len(set(layout.OUTPUTS)) == len(layout.OUTPUTS)
    assert layout.OUTPUTS[: len(layout.MOUTH)] == layout.MOUTH
    assert len(layout.PLAN) + LOG_MEL_BANDS + len(layout.MOOD) == layout.INPUTS
    assert layout.TRUNK_WIDTH >= LOG_MEL_BANDS + 1, "the slow mean has a row of the state"


def test_a_lower_fidelity_is_part_of_the_higher() -> None:
    widths = [layout.HIDDEN_WIDTHS[name] for name in layout.FIDELITIES]
    assert widths == sorted(widths, reverse=True)


def test_the_receptive_field_is_a_quarter_of_a_second() -> None:
    assert 1 + 2 * sum(layout.DILATIONS) in range(11, 15)

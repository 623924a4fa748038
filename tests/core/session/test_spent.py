"""What may be used once is used once, and is forgotten when it would be refused anyway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import AdmissionError
from core.session.spent import SpentIds

NOW = 1_800_000_000


def test_ids_are_forgotten_when_they_have_expired() -> None:
    spent = SpentIds(capacity=3)
    for number in range(3):
        spent.spend(f"t{number}", NOW + number + 1, NOW)
    with pytest.raises(AdmissionError, match="Nobody") as caught:
        spent.spend("t9", NOW + 60, NOW)
    assert caught.value.code == "overloaded"
    spent.spend("t9", NOW + 60, NOW + 1)
    assert len(spent) == 3
    with pytest.raises(AdmissionError, match="used"):
        spent.spend("t9", NOW + 60, NOW + 1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10)), max_size=40))
def test_nothing_is_used_twice_before_it_expires(uses: list[tuple[int, int]]) -> None:
    spent, until, now = SpentIds(code="again"), dict[int, int](), NOW
    for number, wait_s in uses:
        now += wait_s
        good = until.get(number, 0) <= now
        try:
            spent.spend(str(number), now + 15, now)
        except AdmissionError as error:
            assert not good and error.code == "again"
        else:
            assert good
            until[number] = now + 15
        assert len(spent) <= 6

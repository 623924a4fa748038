"""Rows of tables as bytes: they come back as they were, and what is none changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from core.avatar.slot_tables import load_rows, save_rows
from core.errors import RemoteProtocolError


def tables() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(3, 2, 4)).astype(np.float32), rng.normal(size=3), np.array([True, False, True])


def test_a_row_goes_into_another_slot() -> None:
    one, two = tables(), tuple(np.zeros_like(table) for table in tables())
    load_rows(two, 2, save_rows(one, 1))
    for table, other in zip(one, two, strict=True):
        assert np.array_equal(other[2], table[1])
        assert not other[:2].any()


def test_infinity_is_a_number() -> None:
    table = np.array([[np.inf, -np.inf]])
    load_rows((table,), 0, save_rows((table,), 0))


@pytest.mark.parametrize("rows", [[], [b""], [b"\x00" * 7], [np.array([np.nan]).tobytes()], [bytes(8), bytes(8)]])
def test_what_is_no_row_is_refused(rows: list[bytes]) -> None:
    table = np.array([1.0])
    with pytest.raises(RemoteProtocolError) as refused:
        load_rows((table,), 0, rows)
    assert refused.value.code == "bad-state"
    assert table[0] == 1.0

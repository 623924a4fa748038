"""One face's rows of structure-of-arrays tables as bytes, for another process that goes on with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.errors import RemoteProtocolError

__all__ = ["load_rows", "save_rows"]


def save_rows(tables: Sequence[Any], slot: int) -> list[bytes]:
    """Row `slot` of each table (numpy arrays whose first axis is the slot), in the machine's little-endian order."""
    return [np.ascontiguousarray(table[slot]).tobytes() for table in tables]


def load_rows(tables: Sequence[Any], slot: int, rows: Sequence[bytes]) -> None:
    """Put the rows of `save_rows` back, all or none.

    Raises: RemoteProtocolError: `bad-state`, a row of another size, or with numbers that are NaN.
    """
    if len(rows) != len(tables):
        raise RemoteProtocolError("bad-state", f"{len(rows)} rows for {len(tables)} tables")
    values: list[Any] = []
    for table, row in zip(tables, rows, strict=True):
        if len(row) != table[slot].nbytes:
            raise RemoteProtocolError("bad-state", f"a row of {len(row)} bytes, not {table[slot].nbytes}")
        value = np.frombuffer(row, dtype=table.dtype).reshape(table.shape[1:])
        if np.isnan(value).any():
            raise RemoteProtocolError("bad-state", "a row with numbers that are none")
        values.append(value)
    for table, value in zip(tables, values, strict=True):
        table[slot] = value

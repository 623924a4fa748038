"""Arithmetic in GF(256) on whole byte strings, and the coefficients of repair symbols. SPEC.md section 9.

A product of a constant and a string is one `bytes.translate`, a sum of strings is one XOR of integers: both run in C.
The field is that of RFC 8681 section 3.1 (and RFC 5510 section 8.1): polynomial x^8 + x^4 + x^3 + x^2 + 1.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COEFFICIENTS", "COEFFICIENT_TABLES", "INVERSE", "MULTIPLY", "coefficient"]

_POLYNOMIAL: Final = 0x11D


def _multiply_tables() -> tuple[bytes, ...]:
    """Row c holds c · x for every x: multiplying by 2 makes the rows of powers of two, XOR of rows makes the others."""
    rows = [bytes(256), bytes(range(256))]
    double = bytes(2 * x ^ (_POLYNOMIAL if x & 0x80 else 0) for x in range(256))
    for c in range(2, 256):
        high = 1 << c.bit_length() - 1
        if c == high:
            rows.append(rows[c >> 1].translate(double))
        else:
            mixed = int.from_bytes(rows[high], "little") ^ int.from_bytes(rows[c ^ high], "little")
            rows.append(mixed.to_bytes(256, "little"))
    return tuple(rows)


MULTIPLY: Final = _multiply_tables()
"""MULTIPLY[c] is a table for `bytes.translate` that multiplies every byte by c; MULTIPLY[a][b] is the product a · b."""
INVERSE: Final = bytes((0, *(MULTIPLY[c].index(1) for c in range(1, 256))))
"""INVERSE[c] · c = 1; INVERSE[0] is 0 and means nothing."""
COEFFICIENTS: Final = bytes(INVERSE[0x80 | x] for x in range(128))
"""COEFFICIENTS[(n ^ u) & 127]: what unit u is multiplied by in the symbol of packet n, see `coefficient`."""
COEFFICIENT_TABLES: Final = tuple(MULTIPLY[c] for c in COEFFICIENTS)
"""The same as tables for `bytes.translate`."""


def coefficient(sequence_number: int, unit: int) -> int:
    """What unit `unit` is multiplied by in the repair symbol of packet `sequence_number`, 1 to 255.

    1 / (x_n + y_u) with x_n = n mod 128 and y_u = 128 + u mod 128: a Cauchy matrix. Every square part of it is regular,
    so that k symbols over the same k lost units always repair them, where random coefficients (RFC 8681 section 3.5)
    fail about once in 255 times; and there is no generator to keep in step.
    """
    return COEFFICIENTS[(sequence_number ^ unit) & 127]

"""The field is a field, and its coefficients make regular matrices."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from core.stream.galois import COEFFICIENT_TABLES, COEFFICIENTS, INVERSE, MULTIPLY, coefficient

_BYTE = st.integers(0, 255)


def _by_hand(a: int, b: int) -> int:
    """Carry-less product modulo x^8 + x^4 + x^3 + x^2 + 1, bit by bit."""
    product = 0
    for bit in range(8):
        product ^= (a << bit) * (b >> bit & 1)
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << bit - 8
    return product


def test_tables_are_the_products() -> None:
    assert all(MULTIPLY[a][b] == _by_hand(a, b) for a in range(256) for b in range(0, 256, 7))
    assert [MULTIPLY[2][0x80], MULTIPLY[0x53][0xCA], INVERSE[2]] == [0x1D, _by_hand(0x53, 0xCA), 0x8E]


@given(_BYTE, _BYTE, _BYTE)
def test_it_is_a_field(a: int, b: int, c: int) -> None:
    assert MULTIPLY[a][b] == MULTIPLY[b][a]
    assert MULTIPLY[a][MULTIPLY[b][c]] == MULTIPLY[MULTIPLY[a][b]][c]
    assert MULTIPLY[a][b ^ c] == MULTIPLY[a][b] ^ MULTIPLY[a][c]
    assert MULTIPLY[a][1] == a
    assert MULTIPLY[a][INVERSE[a]] == (1 if a else 0)


def test_coefficients_are_never_zero_and_follow_the_numbers() -> None:
    assert 0 not in COEFFICIENTS
    assert len(set(COEFFICIENTS)) == 128
    for number in (0, 5, 127, 128, 65535):
        for unit in range(number - 15, number):
            expected = INVERSE[(number & 127) ^ (0x80 | unit & 127)]
            assert coefficient(number, unit) == coefficient(number + 65536, unit + 65536) == expected
            assert COEFFICIENT_TABLES[(number ^ unit) & 127] == MULTIPLY[expected]


def _determinant(matrix: list[list[int]]) -> int:
    if len(matrix) == 1:
        return matrix[0][0]
    total = 0
    for column, factor in enumerate(matrix[0]):
        minor = [row[:column] + row[column + 1 :] for row in matrix[1:]]
        total ^= MULTIPLY[factor][_determinant(minor)]
    return total


def test_any_symbols_repair_as_many_losses() -> None:
    """Every square part of the matrix of one window is regular."""
    units = range(65530, 65536)
    for size in (1, 2, 3):
        for lost in combinations(units, size):
            for numbers in combinations(range(65536, 65542), size):
                assert _determinant([[coefficient(number, unit) for unit in lost] for number in numbers])

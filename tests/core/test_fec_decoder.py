"""Lost units come back, never a wrong one; and no input whatever makes the decoder raise or grow."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Dropped
from core.limits import FEC_HISTORY_UNITS
from core.stream.fec import FecEncoder, FecTier
from core.stream.fec_decoder import FecDecoder


def _block(number: int) -> bytes:
    """Blocks of many lengths, some of which end in zeros or are all zeros."""
    return bytes((number * 37 + place) & 0xFF if place % 3 else 0 for place in range(number * 7 % 23))


@dataclass
class _Track:
    """What a sender has sent: sequence number, block and field of each unit."""

    tier: FecTier
    window: int
    first: int = 65_500
    units: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def send(self, count: int) -> list[tuple[int, bytes, bytes]]:
        encoder = FecEncoder(sound=False)
        for index in range(count):
            number, block = self.first + index & 0xFFFF, _block(index)
            fec = encoder.protect(number, block, tier=self.tier, window=self.window)
            self.units.append((number, block, fec))
        return self.units


def _receive(decoder: FecDecoder, unit: tuple[int, bytes, bytes]) -> dict[int, bytes]:
    result = decoder.receive(*unit)
    assert not isinstance(result, Dropped)
    return dict(result)


def test_one_symbol_brings_one_unit_back() -> None:
    units = _Track(FecTier.F1, 6).send(10)
    decoder = FecDecoder(sound=False)
    for index in (0, 1, 2, 4):
        restored = _receive(decoder, units[index])
        assert restored == ({units[3][0]: units[3][1]} if index == 4 else {})
    assert (decoder.restored, decoder.rows) == (1, 0)


@pytest.mark.parametrize("burst", range(1, 7))
@pytest.mark.parametrize("tier", [FecTier.F1, FecTier.F2, FecTier.F3])
def test_a_burst_comes_back_once_as_many_symbols_have_come(tier: FecTier, burst: int) -> None:
    """F1 needs as many units as were lost; all of them cover the burst while it lasts no longer than half a window."""
    units = _Track(tier, 12).send(40)
    decoder = FecDecoder(sound=False)
    found: dict[int, bytes] = {}
    for index in range(20):
        _receive(decoder, units[index])
    for index in range(20 + burst, 20 + 2 * burst):
        found |= _receive(decoder, units[index])
    assert found == {units[index][0]: units[index][1] for index in range(20, 20 + burst)}


def test_copies_bring_back_in_time_what_a_burst_as_long_as_the_window_took() -> None:
    """Symbols alone need as long again as the burst lasted: all units come back, and all but the last too late."""
    for tier, expected in ((FecTier.F1, 1), (FecTier.F2, 6)):
        units = _Track(tier, 6).send(40)
        decoder = FecDecoder(sound=False)
        for index in range(20):
            _receive(decoder, units[index])
        in_time = 0
        for index in range(26, 33):
            in_time += len(
                _receive(decoder, units[index]).keys() & {number for number, _, _ in units[index - 6 : index]}
            )
        assert (in_time, decoder.restored) == (expected, 6)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([FecTier.F1, FecTier.F2, FecTier.F3]),
    st.integers(1, 15),
    st.lists(st.booleans(), min_size=80, max_size=80),
    st.integers(0, 65_535),
)
def test_nothing_wrong_ever_comes_back(tier: FecTier, window: int, arrived: list[bool], first: int) -> None:
    units = _Track(tier, window, first).send(80)
    decoder = FecDecoder(sound=False)
    sent = {number: block for number, block, _ in units}
    received = {unit[0] for unit, came in zip(units, arrived, strict=True) if came}
    for unit, came in zip(units, arrived, strict=True):
        if not came:
            continue
        for number, block in _receive(decoder, unit).items():
            assert number not in received
            assert sent[number] == block
            sent[number] = b"once only"
        assert decoder.rows <= FEC_HISTORY_UNITS
    assert not set(decoder.dropped) - {"expired"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_order_and_repetition_do_not_matter(data: st.DataObject) -> None:
    """Within a window of reordering, what comes back is what the same units in order bring back."""
    units = _Track(FecTier.F2, 8).send(40)
    kept = [unit for unit in units if data.draw(st.integers(0, 3))]
    jumbled = sorted(range(len(kept)), key=lambda index: index + data.draw(st.integers(0, 6)))
    straight, crooked = FecDecoder(sound=False), FecDecoder(sound=False)
    expected = {number for unit in kept for number in _receive(straight, unit)}
    found: set[int] = set()
    for index in jumbled:
        found |= set(_receive(crooked, kept[index]))
        assert crooked.receive(*kept[index]) == Dropped("duplicate")
    assert expected <= found | {number for number, _, _ in kept}
    assert crooked.dropped["contradiction"] == 0
    assert crooked.dropped["duplicate"] == len(kept)


def _rank_says(units: list[tuple[int, bytes, bytes]], window: int, arrived: list[bool]) -> int:
    """How many lost units the symbols determine, by elimination over all of them at once."""
    from core.stream.galois import INVERSE, MULTIPLY, coefficient

    lost = [index for index, came in enumerate(arrived) if not came]
    rows = []
    for index, came in enumerate(arrived):
        reach = range(max(0, index - window), index)
        row = [coefficient(units[index][0], units[each][0]) if each in reach else 0 for each in lost]
        if came and any(row):
            rows.append(row)
    pivots: list[int] = []
    for column in range(len(lost)):
        pivot = next((row for row in rows[len(pivots) :] if row[column]), None)
        if pivot is None:
            continue
        place = len(pivots)
        rows[rows.index(pivot, place)], rows[place] = rows[place], pivot
        table = MULTIPLY[INVERSE[pivot[column]]]
        pivot[:] = [table[value] for value in pivot]
        for row in rows:
            if row is not pivot and row[column]:
                factor = MULTIPLY[row[column]]
                row[:] = [value ^ factor[mine] for value, mine in zip(row, pivot, strict=True)]
        pivots.append(column)
    return sum(sum(map(bool, row)) == 1 for row in rows[: len(pivots)])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 15), st.lists(st.integers(0, 4), min_size=30, max_size=30))
def test_it_finds_all_that_can_be_found(window: int, draws: list[int]) -> None:
    arrived = [bool(draw) for draw in draws]
    arrived[0] = True
    units = _Track(FecTier.F1, window).send(30)
    decoder = FecDecoder(sound=False)
    for unit, came in zip(units, arrived, strict=True):
        if came:
            decoder.receive(*unit)
    assert decoder.restored == _rank_says(units, window, arrived)


def test_a_late_original_agrees_with_what_was_restored() -> None:
    units = _Track(FecTier.F1, 4).send(10)
    decoder = FecDecoder(sound=False)
    for index in (0, 1, 3):
        decoder.receive(*units[index])
    assert decoder.restored == 1
    assert _receive(decoder, units[2]) == {}
    assert decoder.dropped["contradiction"] == 0
    assert decoder.receive(*units[2]) == Dropped("duplicate")


def test_a_unit_older_than_the_history_is_late() -> None:
    units = _Track(FecTier.F1, 4).send(60)
    decoder = FecDecoder(sound=False)
    decoder.receive(*units[50])
    assert decoder.receive(*units[50 - FEC_HISTORY_UNITS]) == Dropped("late")
    assert decoder.receive(*units[50 - FEC_HISTORY_UNITS + 1]) == ()
    assert decoder.dropped["late"] == 1


def test_an_outage_forgets_and_goes_on() -> None:
    units = _Track(FecTier.F1, 6).send(1_500 + 60)
    decoder = FecDecoder(sound=False)
    for index in [*range(20), *range(1_520, 1_540), 1_541]:
        restored = _receive(decoder, units[index])
    assert restored == {units[1_540][0]: units[1_540][1]}


def test_one_forged_number_does_not_lock_the_track_out() -> None:
    units = _Track(FecTier.F1, 6).send(30)
    decoder = FecDecoder(sound=False)
    for index in range(10):
        decoder.receive(*units[index])
    decoder.receive(units[10][0] + 20_000 & 0xFFFF, b"forged", b"")
    assert decoder.receive(*units[10]) == Dropped("late")
    assert decoder.receive(*units[11]) == ()
    restored = [_receive(decoder, units[index]) for index in range(13, 18)]  # the first symbols hold forgotten units
    assert restored[-1][units[12][0]] == units[12][1]


def test_lies_are_counted_and_sweep_the_equations_away() -> None:
    units = _Track(FecTier.F2, 3).send(20)
    decoder = FecDecoder(sound=False)
    for index in range(6):
        decoder.receive(*units[index])
    number, block, fec = units[6]
    decoder.receive(number, block, fec[:1] + b"\x03lie" + fec[-1:])
    assert decoder.dropped["contradiction"] == 1
    assert decoder.rows == 0


def test_a_symbol_shorter_than_what_it_combines_is_a_lie() -> None:
    decoder = FecDecoder(sound=False)
    decoder.receive(1, b"long enough", b"")
    decoder.receive(3, b"x", b"\x02?")
    assert (decoder.dropped["contradiction"], decoder.rows) == (1, 0)


def test_a_symbol_that_solves_to_no_block_is_a_lie() -> None:
    decoder = FecDecoder(sound=False)
    decoder.receive(1, b"", b"")
    assert decoder.receive(3, b"x", b"\x01" + b"\xff" * 4) == ()
    assert decoder.dropped["contradiction"] == 1


def test_equations_that_exclude_each_other_are_a_lie() -> None:
    decoder = FecDecoder(sound=False)
    first = FecEncoder(sound=False)
    for number in range(5):
        fec = first.protect(number, bytes((number,)), tier=FecTier.F1, window=2)
    decoder.receive(4, b"\4", fec)
    decoder.receive(5, b"\5", b"\x13\x01\x02" + b"\x01\x07")  # copy of 2, a symbol over 3 and 4
    assert decoder.dropped["contradiction"] + decoder.restored >= 1
    assert decoder.rows == 0


def test_other_blocks_and_broken_fields_are_counted_while_the_unit_is_kept() -> None:
    units = _Track(FecTier.F1, 3).send(9)
    decoder = FecDecoder(sound=True)
    assert decoder.receive(*units[3]) == ()
    assert decoder.receive(units[4][0], units[4][1], b"\x80") == ()
    assert decoder.dropped == {"other-blocks": 1, "bad-fec": 1}
    assert decoder.receive(*units[4]) == Dropped("duplicate")


def test_symbols_over_forgotten_units_are_expired() -> None:
    encoder = FecEncoder(sound=False)
    for number in range(16):
        fec = encoder.protect(number, b"x", tier=FecTier.F2, window=15)
    decoder = FecDecoder(sound=False)
    decoder.receive(40, b"x", b"")
    assert decoder.receive(15, b"x", fec) == ()
    assert decoder.dropped["expired"] == 2


def test_a_reset_forgets_the_track() -> None:
    units = _Track(FecTier.F1, 6).send(10)
    decoder = FecDecoder(sound=False)
    for index in (0, 1, 5):
        decoder.receive(*units[index])
    assert decoder.rows == 1
    decoder.reset()
    assert decoder.rows == 0
    assert decoder.receive(*units[0]) == ()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 65_535) | st.integers(0, 40), st.binary(max_size=12), st.binary(max_size=30)),
        max_size=60,
    )
)
def test_any_input_is_survived_in_bounded_space(stream: list[tuple[int, bytes, bytes]]) -> None:
    decoder = FecDecoder(sound=False)
    for number, block, fec in stream:
        result = decoder.receive(number, block, fec)
        assert isinstance(result, (tuple, Dropped))
        assert decoder.rows <= FEC_HISTORY_UNITS
        assert decoder.known <= FEC_HISTORY_UNITS


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 59), st.integers(0, 40), st.integers(0, 255)), max_size=80))
def test_damaged_fields_are_survived(stream: list[tuple[int, int, int]]) -> None:
    units = _Track(FecTier.F3, 7).send(60)
    decoder = FecDecoder(sound=False)
    for index, place, value in stream:
        number, block, fec = units[index]
        damaged = bytearray(fec[: place + 5])
        if place < len(damaged):
            damaged[place] = value
        decoder.receive(number, block, bytes(damaged))
        assert decoder.rows <= FEC_HISTORY_UNITS
        assert decoder.known <= FEC_HISTORY_UNITS

"""Blocks and FEC fields: what is written can be read, and nothing else can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import LocalProtocolError, RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX, FEC_WINDOW_UNITS_MAX, TICK_SAMPLES
from core.session.state import FaceState
from core.stream.fec import (
    FecEncoder,
    FecTier,
    decode_block,
    decode_field,
    encode_block,
    read_length,
    window_units,
    write_length,
)
from core.stream.galois import MULTIPLY, coefficient
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit, encode_access_unit
from core.wire.opus_padding import silence, strip

_VOICE = b"\x78" + bytes(range(60))


def _unit(number: int = 5, frame: bytes = b"frame", fec: bytes = b"") -> AccessUnit:
    flags = AccessUnitFlags.SPEECH | AccessUnitFlags.DUCK
    return AccessUnit(epoch=7, sequence_number=number, flags=flags, state=FaceState.SPEAKING, frame=frame, fec=fec)


def _source(block: bytes) -> bytes:
    return write_length(len(block)) + block


@given(st.binary(max_size=300), st.integers(1, 255), st.binary(max_size=200) | st.none())
def test_a_block_gives_its_unit_back(frame: bytes, span: int, opus: bytes | None) -> None:
    block = encode_block(_unit(frame=frame), span_ticks=120 * span, opus=opus)
    restored = decode_block(block, epoch=7, sequence_number=5, sound=opus is not None)
    assert (restored.unit, restored.span_ticks, restored.opus) == (_unit(frame=frame), 120 * span, opus)


def test_a_block_leaves_redundancy_out() -> None:
    packet = encode_access_unit(_unit(fec=b"redundancy"), _VOICE)
    received = decode_access_unit(packet)
    assert received is not None
    block = encode_block(received, span_ticks=TICK_SAMPLES, opus=strip(packet))
    assert block == encode_block(_unit(), span_ticks=TICK_SAMPLES, opus=_VOICE)
    assert b"redundancy" not in block


@pytest.mark.parametrize("span_ticks", [0, -120, 60, 121, 256 * 120])
def test_a_span_that_does_not_fit_is_refused(span_ticks: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_block(_unit(), span_ticks=span_ticks)


@given(st.binary(max_size=40), st.booleans())
def test_any_bytes_are_a_block_or_an_error(data: bytes, sound: bool) -> None:
    try:
        restored = decode_block(data, epoch=1, sequence_number=2, sound=sound)
    except RemoteProtocolError as error:
        assert error.code == "bad-fec"
    else:
        again = decode_block(
            encode_block(restored.unit, span_ticks=restored.span_ticks, opus=restored.opus),
            epoch=1, sequence_number=2, sound=sound,
        )  # fmt: skip
        assert again == restored


@given(st.integers(0, 0x7FFF))
def test_lengths_round_trip(length: int) -> None:
    data = write_length(length)
    assert len(data) == (1 if length < 128 else 2)
    assert read_length(b"x" + data, 1) == (length, 1 + len(data))


def test_a_length_over_15_bits_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        write_length(0x8000)


@pytest.mark.parametrize(
    ("delay_s", "packet_s", "window"),
    [(0.133, 0.02, 6), (0.03, 0.02, 1), (0.06, 0.02, 3), (0.133, 0.08, 1), (5.0, 0.02, FEC_WINDOW_UNITS_MAX),
     (0.0, 0.02, 1), (-1.0, 0.02, 1), (float("nan"), 0.02, 1), (float("inf"), 0.02, FEC_WINDOW_UNITS_MAX),
     (0.1, 0.0, 1), (0.1, float("nan"), 1)],
)  # fmt: skip
def test_the_window_is_the_playout_delay_in_packets(delay_s: float, packet_s: float, window: int) -> None:
    assert window_units(delay_s, packet_s) == window


def _fields(tier: FecTier, window: int, blocks: list[bytes], **limit: int) -> list[bytes]:
    encoder = FecEncoder(sound=False)
    return [
        encoder.protect(65534 + number & 0xFFFF, block, tier=tier, window=window, **limit)
        for number, block in enumerate(blocks)
    ]


_BLOCKS = [bytes((number,)) * (5 + number) for number in range(12)]


def test_the_first_unit_has_nothing_to_repeat() -> None:
    assert all(_fields(tier, 6, _BLOCKS)[0] == b"" for tier in FecTier)
    assert set(_fields(FecTier.F0, 6, _BLOCKS)) == {b""}


def test_a_symbol_is_the_linear_combination_of_the_window() -> None:
    field = decode_field(_fields(FecTier.F1, 3, _BLOCKS)[6])
    expected = bytearray(1 + len(_BLOCKS[5]))
    for distance in (1, 2, 3):
        factor = coefficient(65534 + 6, 65534 + 6 - distance)
        for place, byte in enumerate(_source(_BLOCKS[6 - distance])):
            expected[place] ^= MULTIPLY[factor][byte]
    assert (field.copies, field.covered, field.symbol) == ((), (1, 2, 3), bytes(expected))


def test_tiers_add_copies_which_the_symbol_then_leaves_out() -> None:
    second = decode_field(_fields(FecTier.F2, 6, _BLOCKS)[8])
    assert (second.copies, second.covered) == (((6, _source(_BLOCKS[2])),), (1, 2, 3, 4, 5))
    third = decode_field(_fields(FecTier.F3, 6, _BLOCKS)[8])
    assert third.copies == ((6, _source(_BLOCKS[2])), (3, _source(_BLOCKS[5])))
    assert third.covered == (1, 2, 4, 5)
    assert len(third.symbol) == 1 + len(_BLOCKS[7])


def test_where_copies_say_everything_there_is_no_symbol() -> None:
    for tier, window, copies in ((FecTier.F2, 1, 1), (FecTier.F3, 1, 1), (FecTier.F3, 2, 2)):
        field = decode_field(_fields(tier, window, _BLOCKS)[5])
        assert (len(field.copies), field.covered, field.symbol) == (copies, (), b"")


def test_the_window_grows_with_the_track_and_ends_where_the_wire_ends() -> None:
    fields = [decode_field(field) for field in _fields(FecTier.F1, 99, [b"x"] * 20)[1:]]
    assert [len(field.covered) for field in fields] == [min(n, FEC_WINDOW_UNITS_MAX) for n in range(1, 20)]
    assert [len(decode_field(field).covered) for field in _fields(FecTier.F1, -5, [b"x"] * 3)[1:]] == [1, 1]


@given(st.sampled_from(FecTier), st.integers(1, 15), st.integers(0, 120))
def test_what_does_not_fit_is_left_out(tier: FecTier, window: int, size_bytes_max: int) -> None:
    for field in _fields(tier, window, _BLOCKS, size_bytes_max=size_bytes_max):
        assert len(field) <= size_bytes_max
        if field:
            decode_field(field)
    full = max(map(len, _fields(FecTier.F3, 6, _BLOCKS)))
    assert _fields(FecTier.F3, 6, _BLOCKS, size_bytes_max=full) == _fields(FecTier.F3, 6, _BLOCKS)


def test_a_field_in_a_unit_survives_the_wire() -> None:
    field = _fields(FecTier.F3, 6, _BLOCKS)[9]
    unit = decode_access_unit(encode_access_unit(_unit(fec=field), silence()))
    assert unit is not None
    assert unit.fec == field
    assert len(encode_access_unit(unit, _VOICE)) < ACCESS_UNIT_SIZE_BYTES_MAX


def test_numbers_must_continue_until_a_reset() -> None:
    encoder = FecEncoder(sound=True)
    encoder.protect(65535, b"a", tier=FecTier.F1, window=3)
    assert decode_field(encoder.protect(0, b"b", tier=FecTier.F1, window=3)).sound
    for number in (0, 2, 65535):
        with pytest.raises(LocalProtocolError):
            encoder.protect(number, b"c", tier=FecTier.F1, window=3)
    encoder.reset()
    assert encoder.protect(500, b"c", tier=FecTier.F1, window=3) == b""


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80", b"\x81xx", b"\x00", b"\x10", b"\x12", b"\x12\x05abc", b"\x12\x80", b"\x32\x01a", b"\x11\x01ab"],
    ids=["empty", "reserved", "reserved bit", "no window", "copy of no window", "length cut off", "copy cut off",
         "long length cut off", "second copy missing", "bytes behind the only copy"],
)  # fmt: skip
def test_a_broken_field_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_field(data)
    assert caught.value.code == "bad-fec"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_field_or_an_error(data: bytes) -> None:
    try:
        field = decode_field(data)
    except RemoteProtocolError as error:
        assert error.code == "bad-fec"
    else:
        assert all(1 <= distance <= FEC_WINDOW_UNITS_MAX for distance, _ in field.copies)
        assert 1 + sum(len(source) for _, source in field.copies) + len(field.symbol) == len(data)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RemoteProtocolError
from core.wire.bits import BitReader, BitWriter

_FIELDS = st.lists(
    st.one_of(
        st.tuples(st.just("bits"), st.integers(1, 40), st.integers(0, (1 << 40) - 1)),
        st.tuples(st.just("rice"), st.integers(0, 7), st.integers(0, 3_000)),
    ),
    max_size=30,
)


@given(fields=_FIELDS)
def test_round_trip(fields: list[tuple[str, int, int]]) -> None:
    writer = BitWriter()
    for kind, size, value in fields:
        if kind == "bits":
            writer.write(value & ((1 << size) - 1), size)
        else:
            writer.write_rice(value, size)
    data = writer.to_bytes()
    assert len(data) == (writer.size + 7) // 8
    reader = BitReader(data)
    for kind, size, value in fields:
        if kind == "bits":
            assert reader.read(size) == value & ((1 << size) - 1)
        else:
            assert reader.read_rice(size) == value
    reader.finish()


def test_rice_codes_are_those_of_the_specification() -> None:
    writer = BitWriter()
    writer.write_rice(0, 0)
    writer.write_rice(5, 1)
    writer.write_rice(6, 3)
    assert f"{int.from_bytes(writer.to_bytes(), 'big'):016b}" == "1001" + "1" + "1110" + "0000000"


@pytest.mark.parametrize("data", [b"", b"\x01"])
def test_running_out_is_an_error(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="cut off"):
        BitReader(data).read(9)
    with pytest.raises(RemoteProtocolError, match="cut off"):
        BitReader(data).read_rice(2)


@pytest.mark.parametrize("data", [b"\x00\x00", b"\x10"])
def test_only_fill_bits_may_be_left(data: bytes) -> None:
    reader = BitReader(data)
    reader.read(3)
    with pytest.raises(RemoteProtocolError, match="behind"):
        reader.finish()

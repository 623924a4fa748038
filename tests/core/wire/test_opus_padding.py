from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import LocalProtocolError, RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX, MICROPHONE_PACKET_SIZE_BYTES_MAX
from core.wire.opus_padding import duration_samples, embed, extract, silence, strip
from tests.core.wire.strategies import frame_samples, mutated, opus_packets


@given(packet=opus_packets(), side=st.binary(max_size=300))
def test_what_is_embedded_is_extracted(packet: bytes, side: bytes) -> None:
    data = embed(packet, side, size_bytes_max=4_000)
    assert extract(data) == side
    assert duration_samples(data) == duration_samples(packet)
    assert strip(data) == strip(packet)
    assert data[0] == packet[0] | 3
    if packet[0] & 3 < 3:
        assert strip(data) == packet


@given(packet=opus_packets(), first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_embedding_twice_replaces(packet: bytes, first: bytes, second: bytes) -> None:
    assert embed(embed(packet, first, size_bytes_max=4_000), second, size_bytes_max=4_000) == embed(
        packet, second, size_bytes_max=4_000
    )


@given(packet=opus_packets())
def test_foreign_packets_carry_nothing_of_ours(packet: bytes) -> None:
    assert extract(packet) is None


@given(data=st.data(), packet=opus_packets(), side=st.binary(max_size=40))
def test_any_bytes_give_a_value_or_an_error(data: st.DataObject, packet: bytes, side: bytes) -> None:
    damaged = mutated(embed(packet, side, size_bytes_max=4_000), data.draw)
    try:
        extract(damaged)
        assert 120 <= duration_samples(damaged) <= 5_760
        assert strip(strip(damaged)) == strip(damaged)
    except RemoteProtocolError as error:
        assert error.code == "bad-opus"


@given(data=st.binary(max_size=64))
def test_random_bytes_give_a_value_or_an_error(data: bytes) -> None:
    try:
        extract(data)
    except RemoteProtocolError as error:
        assert error.code == "bad-opus"


@pytest.mark.parametrize(
    ("padding", "length"),
    [(4, "04"), (253, "fd"), (254, "fe"), (255, "ff01"), (508, "fffe"), (509, "ffff01"), (1016, "fffffffe")],
)
def test_padding_lengths_are_those_of_the_rfc(padding: int, length: str) -> None:
    packet = embed(b"\xf8\xff\xfe", bytes(padding - 4))
    head = bytes.fromhex("fb41" + length)
    assert packet == head + b"\xff\xfe" + b"\0\0vv" + bytes(padding - 4)


def test_silence_has_the_size_of_dtx() -> None:
    assert silence() == bytes.fromhex("f8fffe")
    for frames in range(2, 7):
        assert silence(frames) == bytes((0xFB, frames)) + b"\xff\xfe" * frames
        assert duration_samples(silence(frames)) == 960 * frames
    for frames in (0, 7, -1):
        with pytest.raises(LocalProtocolError, match="1 to 6"):
            silence(frames)


def test_size_is_bounded() -> None:
    overhead = len(embed(silence(), bytes(1_100))) - 1_100
    assert len(embed(silence(), bytes(ACCESS_UNIT_SIZE_BYTES_MAX - overhead))) == ACCESS_UNIT_SIZE_BYTES_MAX
    with pytest.raises(LocalProtocolError, match="1151 bytes"):
        embed(silence(), bytes(ACCESS_UNIT_SIZE_BYTES_MAX - overhead + 1))
    with pytest.raises(LocalProtocolError):
        embed(silence(), bytes(1_400), size_bytes_max=MICROPHONE_PACKET_SIZE_BYTES_MAX)


def test_all_configurations_have_the_duration_of_the_rfc() -> None:
    for config in range(32):
        assert duration_samples(bytes((config << 3, 1, 2))) == frame_samples(config << 3)

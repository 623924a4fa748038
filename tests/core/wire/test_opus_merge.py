"""Packets become one: the same frames in the shortest form. How they sound is in test_decoders_hear_nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import LocalProtocolError, RemoteProtocolError
from core.wire.opus_merge import can_merge, merge
from core.wire.opus_padding import duration_samples, embed, silence, split, strip
from tests.core.wire.strategies import length, opus_packets


@st.composite
def _likes(draw: st.DrawFn) -> list[bytes]:
    """Packets of one configuration, of every code, no longer than 120 ms together."""
    toc = draw(opus_packets())[0] & 0xFC
    packets: list[bytes] = []
    for packet in draw(st.lists(opus_packets(), min_size=1, max_size=6)):
        like = bytes((toc | packet[0] & 3,)) + packet[1:]
        try:
            fits = duration_samples(like) + sum(map(duration_samples, packets)) <= 5_760
        except RemoteProtocolError:
            continue
        if fits:
            packets.append(like)
    assume(packets)
    return packets


@given(packets=_likes())
def test_all_frames_are_there_in_order(packets: list[bytes]) -> None:
    merged = merge(packets)
    assert split(merged) == [frame for packet in packets for frame in split(packet)]
    assert duration_samples(merged) == sum(map(duration_samples, packets))
    assert merged[0] & 0xFC == packets[0][0] & 0xFC


@given(packets=_likes(), side=st.binary(max_size=60))
def test_the_form_is_the_shortest_so_that_both_ends_of_a_link_see_the_same_bytes(
    packets: list[bytes], side: bytes
) -> None:
    merged = merge(packets)
    assert strip(embed(merged, side, size_bytes_max=10_000)) == merged
    assert merge([merged]) == merged


@given(sizes=st.lists(st.integers(0, 1_275), min_size=2, max_size=6))
def test_frames_of_any_size(sizes: list[int]) -> None:
    packets = [b"\x78" + bytes([index]) * size for index, size in enumerate(sizes)]
    assert split(merge(packets)) == [packet[1:] for packet in packets]


def test_three_packets_of_20_ms_cost_one_header() -> None:
    packets = [b"\x78" + bytes(40)] * 3
    assert merge(packets) == b"\x7b\x03" + bytes(120)
    unequal = [b"\x78" + bytes(size) for size in (300, 40, 41)]
    assert merge(unequal) == b"\x7b\x83" + length(300) + b"\x28" + bytes(381)


def test_two_packets_take_the_codes_for_two() -> None:
    assert merge([b"\x78ab", b"\x78cd"]) == b"\x79abcd"
    assert merge([b"\x78abc", b"\x78cd"]) == b"\x7a\x03abccd"


def test_silence_is_what_silence_is() -> None:
    assert merge([silence(1)] * 3) == silence(3)


def test_what_differs_stays_apart() -> None:
    silk, celt, stereo = b"\x48ab", b"\x78ab", b"\x7cab"
    for first, second in pairwise((silk, celt, stereo, b"")):
        assert not can_merge(first, second)
        with pytest.raises(LocalProtocolError):
            merge([first, second])
    assert can_merge(b"\x78ab", b"\x7b\x02abcd")


def test_nothing_and_too_much_are_refused() -> None:
    with pytest.raises(LocalProtocolError):
        merge([])
    with pytest.raises(LocalProtocolError, match="120 ms"):
        merge([silence(1)] * 7)
    with pytest.raises(RemoteProtocolError) as refused:
        merge([b"\x78ab", b"\x7b"])
    assert refused.value.code == "bad-opus"

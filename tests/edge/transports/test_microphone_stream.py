"""Microphone datagrams, in and out of order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.errors import Dropped
from core.wire.webtransport import MicrophoneDatagram, encode_microphone
from edge.transports.link import MicrophoneUnit
from edge.transports.webtransport.microphone import MicrophoneStream


def datagram(number: int) -> bytes:
    return encode_microphone(MicrophoneDatagram(b"opus", number * 960, number, 30, True))


def test_numbers_and_times_go_on_beyond_their_bits() -> None:
    stream = MicrophoneStream()
    first = 65_530
    for number in range(first, first + 200_000, 97):
        unit = stream.receive(datagram(number))
        assert unit == MicrophoneUnit(b"opus", number * 960, number, 30, True)


def test_repeated_and_old_packets() -> None:
    stream = MicrophoneStream()
    for number in (1_000, 1_002, 1_001):
        assert isinstance(stream.receive(datagram(number)), MicrophoneUnit)
    for number in (1_000, 1_001, 1_002):
        assert stream.receive(datagram(number)) == Dropped("microphone-duplicate")
    assert stream.receive(datagram(1_002 - 128)) == Dropped("microphone-late")
    assert isinstance(stream.receive(datagram(1_002 - 127)), MicrophoneUnit)
    assert isinstance(stream.receive(datagram(2_000)), MicrophoneUnit)
    assert stream.receive(datagram(1_002)) == Dropped("microphone-late")
    assert stream.packets == 5
    assert stream.receive(b"\x31") == Dropped("datagram-short")


@given(st.lists(st.integers(0, 300), max_size=80))
def test_no_number_passes_twice(numbers: list[int]) -> None:
    stream = MicrophoneStream()
    passed = [unit.sequence_number for n in numbers if isinstance(unit := stream.receive(datagram(n)), MicrophoneUnit)]
    assert len(passed) == len(set(passed)) == stream.packets
    assert set(passed) <= set(numbers)

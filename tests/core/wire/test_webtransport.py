"""Datagrams, control messages and capsules of WebTransport, whole and broken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Dropped, LocalProtocolError, RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX, CONTROL_MESSAGE_SIZE_BYTES_MAX, MICROPHONE_PACKET_SIZE_BYTES_MAX
from core.wire.webtransport import (
    CONTROL_HELLO,
    CapsuleReader,
    Close,
    ControlReader,
    Hello,
    MicrophoneDatagram,
    decode_hello,
    decode_microphone,
    decode_unit,
    encode_close,
    encode_control,
    encode_hello,
    encode_microphone,
    encode_unit,
    encode_welcome,
    session_of_path,
    session_path,
)

GREASE = bytes.fromhex("c2ac3c98139271a50cac46920bbba4bf61503458df")
"""A capsule as Chromium sends it before all others: type 0x02ac3c98139271a5, 12 bytes."""


@given(payload=st.binary(min_size=1, max_size=64), timestamp=st.integers(0, 1 << 40))
def test_units(payload: bytes, timestamp: int) -> None:
    assert decode_unit(encode_unit(payload, timestamp)) == (payload, timestamp & 0xFFFFFFFF)


@given(
    payload=st.binary(min_size=1, max_size=64),
    timestamp=st.integers(0, (1 << 32) - 1),
    sequence_number=st.integers(0, 65_535),
    level=st.integers(0, 127),
    voice=st.booleans(),
)
def test_microphone(payload: bytes, timestamp: int, sequence_number: int, level: int, voice: bool) -> None:
    unit = MicrophoneDatagram(payload, timestamp, sequence_number, level, voice)
    assert decode_microphone(encode_microphone(unit)) == unit


@given(st.binary(max_size=32))
def test_any_datagram_is_one_or_dropped(data: bytes) -> None:
    assert isinstance(decode_unit(data), (tuple, Dropped))
    assert isinstance(decode_microphone(data), (MicrophoneDatagram, Dropped))


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "datagram-kind"),
        (b"\x31", "datagram-short"),
        (b"\x31" + bytes(7), "datagram-short"),
        (b"\x41" + bytes(20), "datagram-kind"),
        (b"\x31" + bytes(8 + MICROPHONE_PACKET_SIZE_BYTES_MAX), "oversize"),
    ],
)
def test_bad_microphone_datagrams(datagram: bytes, reason: str) -> None:
    assert decode_microphone(datagram) == Dropped(reason)


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "datagram-kind"),
        (b"\x41" + bytes(4), "datagram-short"),
        (b"\x41" + bytes(5 + ACCESS_UNIT_SIZE_BYTES_MAX), "oversize"),
    ],
)
def test_bad_unit_datagrams(datagram: bytes, reason: str) -> None:
    assert decode_unit(datagram) == Dropped(reason)


@given(
    messages=st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8),
    cuts=st.lists(st.integers(1, 20)),
)
def test_control_messages_however_they_are_cut(messages: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(encode_control(kind, content) for kind, content in messages)
    reader, found = ControlReader(), []
    for size in [*cuts, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        found += reader.receive(piece)
    assert found == messages


def test_a_control_message_has_a_bound() -> None:
    whole = encode_control(1, bytes(CONTROL_MESSAGE_SIZE_BYTES_MAX))
    assert ControlReader().receive(whole) == [(1, bytes(CONTROL_MESSAGE_SIZE_BYTES_MAX))]
    with pytest.raises(LocalProtocolError):
        encode_control(1, bytes(CONTROL_MESSAGE_SIZE_BYTES_MAX + 1))
    with pytest.raises(RemoteProtocolError) as refused:
        ControlReader().receive(b"\x01" + (CONTROL_MESSAGE_SIZE_BYTES_MAX + 1).to_bytes(3, "big"))
    assert refused.value.code == "control-too-large"


def test_hello() -> None:
    ((kind, content),) = ControlReader().receive(encode_hello("vvr_x"))
    assert kind == CONTROL_HELLO
    assert decode_hello(content) == Hello("vvr_x")
    ((_, content),) = ControlReader().receive(encode_hello("vvr_x", "proof"))
    assert decode_hello(content) == Hello("vvr_x", "proof")
    for proof in (7, None, "x" * 5_000):
        with pytest.raises(RemoteProtocolError) as refused:
            decode_hello(json.dumps({"version": 1, "token": "t", "proof": proof}).encode())
        assert refused.value.code == "bad-hello"
    ((kind, content),) = ControlReader().receive(encode_welcome())
    assert kind == CONTROL_HELLO
    assert json.loads(content) == {"version": 1}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "bad-hello"),
        (b"\xff\xfe", "bad-hello"),
        (b"[" * 100_000, "bad-hello"),
        (b"[]", "bad-hello"),
        (b"{}", "bad-hello"),
        (b'{"version": "1", "token": "x"}', "bad-hello"),
        (b'{"version": 2, "token": "x"}', "unknown-version"),
        (b'{"version": 1}', "bad-hello"),
        (b'{"version": 1, "token": ""}', "bad-hello"),
        (b'{"version": 1, "token": 7}', "bad-hello"),
        (json.dumps({"version": 1, "token": "x" * 5_000}).encode(), "bad-hello"),
    ],
)
def test_bad_hellos(content: bytes, code: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        decode_hello(content)
    assert refused.value.code == code


@given(code=st.integers(0, (1 << 32) - 1), reason=st.text(max_size=80), cut=st.integers(0, 60), grease=st.booleans())
def test_close_capsules_however_they_are_cut(code: int, reason: str, cut: int, grease: bool) -> None:
    data = (GREASE if grease else b"") + encode_close(code, reason)
    reader = CapsuleReader()
    first = reader.receive(data[:cut])
    assert (first or reader.receive(data[cut:])) == Close(code, reason)


def test_other_capsules_are_passed_over_without_keeping_them() -> None:
    reader = CapsuleReader()
    assert reader.receive(b"\x21\x80\x0f\x42\x40") is None  # a million bytes follow
    for _ in range(1_000):
        assert reader.receive(bytes(1_000)) is None
    assert len(reader._buffer) == 0
    assert reader.receive(encode_close(0, "bye")) == Close(0, "bye")


@pytest.mark.parametrize("size", [b"\x03", b"\x44\x05"])
def test_bad_close_capsules(size: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        CapsuleReader().receive(b"\x68\x43" + size + bytes(8))
    assert refused.value.code == "bad-capsule"


@given(st.lists(st.binary(max_size=16), max_size=6))
def test_any_capsules(pieces: list[bytes]) -> None:
    reader = CapsuleReader()
    try:
        for piece in pieces:
            reader.receive(piece)
    except RemoteProtocolError:
        pass


def test_paths() -> None:
    assert session_of_path(session_path("a-B_9")) == "a-B_9"
    assert session_of_path("/v1/sessions/x/webtransport?trace=1") == "x"
    for path in ("/", "/v1/sessions//webtransport", "/v1/sessions/x/webrtc", "/v1/sessions/a%20b/webtransport"):
        assert session_of_path(path) is None

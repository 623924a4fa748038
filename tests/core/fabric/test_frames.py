from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import limits
from core.errors import RemoteProtocolError
from core.fabric import frames
from core.fabric.frames import FrameSplitter, decode_client, decode_server, encode

number = st.integers(0, 2**63 - 1)
client_frames = st.one_of(
    st.builds(frames.Hello, number),
    st.builds(frames.Publish, st.text(), st.binary()),
    st.builds(frames.Subscribe, number, number, st.text()),
    st.builds(frames.Unsubscribe, number),
    st.builds(frames.Request, number, st.text(), st.binary(), st.floats(0, 60)),
    st.builds(frames.Respond, number, number, st.text()),
    st.builds(frames.Answer, number, st.binary(), st.text(), st.text()),
    st.builds(frames.StoreCall, number, st.text(), st.text(), st.binary(), number),
    st.builds(frames.WatchKeys, number, number, st.text(), number, st.lists(st.text(), max_size=3)),
)
server_frames = st.one_of(
    st.builds(frames.Welcome, number),
    st.builds(frames.Deliver, number, st.text(), st.binary()),
    st.builds(frames.Ask, number, number, st.text(), st.binary()),
    st.builds(frames.Done, number, st.binary(), number, st.lists(st.text(), max_size=3)),
    st.builds(frames.Failed, number, st.text(), st.text()),
    st.builds(frames.Changed, number, st.text(), st.none() | st.binary(), number),
    st.builds(frames.Synced, number, number),
)


@given(st.lists(client_frames, max_size=5), st.data())
def test_what_is_sent_is_what_arrives_however_it_is_cut(sent: list[frames.ClientFrame], data: st.DataObject) -> None:
    stream = b"".join(encode(frame) for frame in sent)
    splitter, received, position = FrameSplitter(), [], 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream) - position))
        received += [decode_client(body) for body in splitter.push(stream[position : position + size])]
        position += size
    assert received == sent


@given(server_frames)
def test_server_frames_round_trip(frame: frames.ServerFrame) -> None:
    (body,) = FrameSplitter().push(encode(frame))
    assert decode_server(body) == frame


@given(st.binary(max_size=64))
def test_any_bytes_are_a_frame_or_refused(body: bytes) -> None:
    for decode in (decode_client, decode_server):
        try:
            decode(body)
        except RemoteProtocolError as error:
            assert error.code == "bad-frame"


def test_a_client_does_not_speak_like_a_server() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_client(encode(frames.Welcome(1))[4:])
    with pytest.raises(RemoteProtocolError):
        decode_server(encode(frames.Hello(1))[4:])


def test_a_length_beyond_all_frames_is_refused_before_it_is_awaited() -> None:
    splitter = FrameSplitter()
    too_long = (2 * limits.FABRIC_MESSAGE_SIZE_BYTES_MAX).to_bytes(4, "big")
    with pytest.raises(RemoteProtocolError, match="bytes"):
        list(splitter.push(encode(frames.Hello(1)) + too_long))


def test_the_largest_message_fits_into_a_frame() -> None:
    frame = frames.Publish("x" * 256, bytes(limits.FABRIC_MESSAGE_SIZE_BYTES_MAX))
    assert [decode_client(body) for body in FrameSplitter().push(encode(frame))] == [frame]

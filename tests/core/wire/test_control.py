from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Dropped, LocalProtocolError, RemoteProtocolError
from core.limits import CONTROL_MESSAGE_SIZE_BYTES_MAX
from core.wire.control import ControlMessage, ControlType, decode_control, encode_control

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(kind=st.sampled_from(ControlType), data=st.dictionaries(_TEXT, _JSON, max_size=5), message_id=_TEXT)
def test_round_trip(kind: ControlType, data: dict[str, Any], message_id: str) -> None:
    text = encode_control(kind, data, message_id)
    assert decode_control(text) == decode_control(text.encode()) == ControlMessage(kind, data, message_id)
    assert json.loads(text)["label"] == "rtvi-ai"


@given(data=st.binary(max_size=80) | st.text(max_size=80))
def test_any_input_gives_a_value_or_an_error(data: bytes | str) -> None:
    try:
        decode_control(data)
    except RemoteProtocolError as error:
        assert error.code in {"bad-control", "unknown-label"}


@given(data=_JSON)
def test_any_json_gives_a_value_or_an_error(data: Any) -> None:
    envelope = {"label": "rtvi-ai", "type": data, "data": data, "id": data}
    for value in (data, envelope, envelope | {"type": "error", "id": "x"}):
        try:
            decode_control(json.dumps(value))
        except RemoteProtocolError as error:
            assert error.code in {"bad-control", "unknown-label"}


def test_unknown_words_are_dropped_and_named() -> None:
    assert decode_control('{"label":"rtvi-ai","type":"append-to-context","data":{}}') == Dropped("unknown-control-type")


def test_depth_is_harmless() -> None:
    depth = 8_000
    with pytest.raises(RemoteProtocolError) as caught:
        decode_control('{"label":"rtvi-ai","type":"error","data":{"x":' + "[" * depth + "]" * depth + "}}")
    assert caught.value.code == "bad-control"


def test_size_is_bounded_both_ways() -> None:
    room = CONTROL_MESSAGE_SIZE_BYTES_MAX - len(encode_control("send-text", {"content": ""}))
    fits = encode_control("send-text", {"content": "x" * room})
    assert isinstance(decode_control(fits), ControlMessage)
    with pytest.raises(LocalProtocolError, match="16385 bytes"):
        encode_control("send-text", {"content": "x" * (room + 1)})
    with pytest.raises(RemoteProtocolError) as caught:
        decode_control(fits + " ")
    assert caught.value.code == "control-too-large"


@pytest.mark.parametrize("data", [{"x": object()}, {"x": "\ud800"}])
def test_what_json_cannot_say_is_a_local_error(data: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_control("error", data)


def test_an_unknown_type_is_a_local_error() -> None:
    with pytest.raises(LocalProtocolError, match="no type 'shout'"):
        encode_control("shout")

"""Bytes of somebody else: a value or an error with a code, never anything else."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RemoteProtocolError
from core.packed import unpack

WORDS = msgspec.msgpack.Decoder(list[str])


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert all(isinstance(word, str) for word in unpack(WORDS, data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"\xc0", "Expected `array`"),
        (b"\x91\xa1\xff", "utf-8"),
        (b"\x91" * 100_000, "not a list"),
        (msgspec.msgpack.encode(["x" * 99]), "a list of 102 bytes"),
    ],
)
def test_what_is_wrong_with_it(data: bytes, why: str) -> None:
    bound = 100 if why.startswith("a list") else None
    with pytest.raises(RemoteProtocolError, match=f"(?i){why}") as caught:
        unpack(WORDS, data, "a list", code="bad-list", size_bytes_max=bound)
    assert caught.value.code == "bad-list"


def test_what_is_right() -> None:
    assert unpack(WORDS, memoryview(msgspec.msgpack.encode(["a"])), size_bytes_max=3) == ["a"]

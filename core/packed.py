"""MessagePack from somebody else: a value of the expected type, or RemoteProtocolError, whatever the bytes are."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from core.errors import RemoteProtocolError

__all__ = ["unpack"]

T = TypeVar("T")


def unpack(
    decoder: msgspec.msgpack.Decoder[T],
    data: bytes | memoryview,
    what: str = "a message",
    *,
    code: str = "bad-message",
    size_bytes_max: int | None = None,
) -> T:
    """Decode one value.

    Args:
        what: it should be, with its article; for people.
        code: of the error.
        size_bytes_max: what is larger is not looked at; None: whoever carries it has a bound.
    Raises: RemoteProtocolError: `code`.
    """
    if size_bytes_max is not None and len(data) > size_bytes_max:
        raise RemoteProtocolError(code, f"{what} of {len(data)} bytes")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(code, f"not {what} ({error})") from error

"""What the two ends of the local fabric say to each other: a four-byte big-endian length, then msgpack `[tag, …]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from core import limits
from core.errors import FabricError, RemoteProtocolError
from core.packed import unpack

__all__ = [
    "VERSION",
    "Answer",
    "Ask",
    "Changed",
    "ClientFrame",
    "Deliver",
    "Done",
    "Failed",
    "FrameSplitter",
    "Hello",
    "Publish",
    "Request",
    "Respond",
    "ServerFrame",
    "StoreCall",
    "Subscribe",
    "Synced",
    "Unsubscribe",
    "WatchKeys",
    "Welcome",
    "decode_client",
    "decode_server",
    "encode",
]

VERSION: Final = 1
_HEADER_SIZE: Final = 4
_FRAME_SIZE_MAX: Final = limits.FABRIC_MESSAGE_SIZE_BYTES_MAX + 4_096
"""The largest payload and the longest names around it; also what a list of all keys must fit into."""


class _Frame(msgspec.Struct, frozen=True, array_like=True):
    pass


# --- client → server ---------------------------------------------------------------------------------------------


class Hello(_Frame, frozen=True, array_like=True, tag=0):
    """The client's first frame."""

    version: int


class Publish(_Frame, frozen=True, array_like=True, tag=1):
    """Pass a message on; no answer."""

    subject: str
    payload: bytes


class Subscribe(_Frame, frozen=True, array_like=True, tag=2):
    """Deliver what is published under `pattern` as `route`; answered by Done."""

    call: int
    route: int
    pattern: str


class Unsubscribe(_Frame, frozen=True, array_like=True, tag=3):
    """End a subscription, a responder or a watch; no answer."""

    route: int


class Request(_Frame, frozen=True, array_like=True, tag=4):
    """Ask whoever answers on `subject`; answered by Done (payload) or Failed."""

    call: int
    subject: str
    payload: bytes
    timeout_s: float


class Respond(_Frame, frozen=True, array_like=True, tag=5):
    """This client answers requests under `pattern`; answered by Done."""

    call: int
    route: int
    pattern: str


class Answer(_Frame, frozen=True, array_like=True, tag=6):
    """The answer to an Ask; `code` is empty when all went well."""

    ask: int
    payload: bytes
    code: str = ""
    message: str = ""


class StoreCall(_Frame, frozen=True, array_like=True, tag=7):
    """One store operation: create, get, update, put, delete or keys; answered by Done or Failed."""

    call: int
    verb: str
    key: str
    value: bytes = b""
    revision: int = 0


class WatchKeys(_Frame, frozen=True, array_like=True, tag=8):
    """Send Changed for the current entries newer than `from_revision`, Synced, then Changed as things change.

    Attributes:
        known: keys that the client has seen alive; those that are gone are reported as deleted before Synced, so that
            a client that was away (or whose server has lost its memory) misses no deletion.
    """

    call: int
    route: int
    prefix: str
    from_revision: int
    known: list[str]


# --- server → client ---------------------------------------------------------------------------------------------


class Welcome(_Frame, frozen=True, array_like=True, tag=20):
    """The server's first frame."""

    version: int


class Deliver(_Frame, frozen=True, array_like=True, tag=21):
    """A message for a subscription."""

    route: int
    subject: str
    payload: bytes


class Ask(_Frame, frozen=True, array_like=True, tag=22):
    """A request for a responder."""

    ask: int
    route: int
    subject: str
    payload: bytes


class Done(_Frame, frozen=True, array_like=True, tag=23):
    """A call went well; which fields matter depends on the call."""

    call: int
    payload: bytes = b""
    revision: int = 0
    names: list[str] = []


class Failed(_Frame, frozen=True, array_like=True, tag=24):
    """A call failed with a FabricError."""

    call: int
    code: str
    message: str


class Changed(_Frame, frozen=True, array_like=True, tag=25):
    """A watched key changed; value None: deleted."""

    route: int
    key: str
    value: bytes | None
    revision: int


class Synced(_Frame, frozen=True, array_like=True, tag=26):
    """All current entries of a watch have been sent."""

    route: int
    revision: int


ClientFrame = Hello | Publish | Subscribe | Unsubscribe | Request | Respond | Answer | StoreCall | WatchKeys
ServerFrame = Welcome | Deliver | Ask | Done | Failed | Changed | Synced

_encoder: Final = msgspec.msgpack.Encoder()
_client: Final[msgspec.msgpack.Decoder[ClientFrame]] = msgspec.msgpack.Decoder(ClientFrame)
_server: Final[msgspec.msgpack.Decoder[ServerFrame]] = msgspec.msgpack.Decoder(ServerFrame)


def encode(frame: ClientFrame | ServerFrame) -> bytes:
    """Header and body of one frame.

    Raises: FabricError: `too-large`; only lists of very many keys can be.
    """
    buffer = bytearray(_HEADER_SIZE)
    _encoder.encode_into(frame, buffer, _HEADER_SIZE)
    if len(buffer) > _HEADER_SIZE + _FRAME_SIZE_MAX:
        raise FabricError("too-large", f"{len(buffer)} bytes do not fit into one frame of the local fabric")
    buffer[:_HEADER_SIZE] = (len(buffer) - _HEADER_SIZE).to_bytes(_HEADER_SIZE, "big")
    return bytes(buffer)


def decode_client(body: bytes | memoryview) -> ClientFrame:
    """A frame as the server reads it. Raises: RemoteProtocolError: code `bad-frame`."""
    return unpack(_client, body, "a frame", code="bad-frame")


def decode_server(body: bytes | memoryview) -> ServerFrame:
    """A frame as the client reads it. Raises: RemoteProtocolError: code `bad-frame`."""
    return unpack(_server, body, "a frame", code="bad-frame")


class FrameSplitter:
    """Finds the frames in a byte stream. Holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def push(self, data: bytes) -> Iterator[bytes]:
        """Bodies completed by `data`, in order.

        Raises: RemoteProtocolError: code `bad-frame`, a length beyond what any frame may have; the stream is lost.
        """
        # The usual case is whole frames and nothing left over: then they are sliced without being copied together.
        if self._buffer:
            self._buffer += data
            data = bytes(self._buffer)
            self._buffer.clear()
        position, end = 0, len(data)
        while end - position >= _HEADER_SIZE:
            size = int.from_bytes(data[position : position + _HEADER_SIZE], "big")
            if size > _FRAME_SIZE_MAX:
                raise RemoteProtocolError("bad-frame", f"a frame of {size} bytes, at most {_FRAME_SIZE_MAX} may be")
            body_end = position + _HEADER_SIZE + size
            if body_end > end:
                break
            yield data[position + _HEADER_SIZE : body_end]
            position = body_end
        self._buffer += data[position:]

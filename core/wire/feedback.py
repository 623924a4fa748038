"""What a viewer tells the POP all the time: in its microphone's packets, or bare on the control channel. SPEC.md 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.errors import LocalProtocolError, RemoteProtocolError
from core.limits import MICROPHONE_PACKET_SIZE_BYTES_MAX
from core.wire import opus_padding

__all__ = ["KIND", "VERSION", "Feedback", "decode_feedback", "embed_feedback", "encode_feedback", "extract_feedback"]

KIND: Final = 2
VERSION: Final = 1

_KEYFRAME_REQUEST: Final = 0x01
_ACKNOWLEDGED: Final = 0x02
_RECEIVED: Final = 0x04
_PLAYOUT: Final = 0x08
_EPOCH: Final = 0x10
_CRITICAL: Final = 0xC0


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A viewer's view; every field may be absent.

    Attributes:
        acknowledged: sequence number of the newest frame the viewer has decoded, 16 bits.
        playout_timestamp: 32-bit RTP timestamp that is audible now.
        keyframe_request: the viewer lacks a baseline; frames must refer to the rest pose until it acknowledges again.
        received: 32 bits; bit i says that unit `acknowledged - 1 - i` arrived. Only together with `acknowledged`.
        epoch: epoch of the units that `acknowledged` counts, 16 bits.
    """

    acknowledged: int | None = None
    playout_timestamp: int | None = None
    keyframe_request: bool = False
    received: int | None = None
    epoch: int | None = None


_FIELDS: Final = (
    (_ACKNOWLEDGED, "acknowledged", 2),
    (_RECEIVED, "received", 4),
    (_PLAYOUT, "playout_timestamp", 4),
    (_EPOCH, "epoch", 2),
)
"""Flag, attribute and size in bytes, in wire order."""


def encode_feedback(feedback: Feedback) -> bytes:
    """2 to 14 bytes.

    Raises: LocalProtocolError: a field is out of range, or `received` stands without `acknowledged`.
    """
    if feedback.received is not None and feedback.acknowledged is None:
        raise LocalProtocolError("received counts from acknowledged, which is missing")
    flags, parts = _KEYFRAME_REQUEST if feedback.keyframe_request else 0, [b""]
    for flag, name, size in _FIELDS:
        value: int | None = getattr(feedback, name)
        if value is None:
            continue
        if not 0 <= value < 1 << 8 * size:
            raise LocalProtocolError(f"{name} has {8 * size} bits, {value} does not fit")
        flags |= flag
        parts.append(value.to_bytes(size, "big"))
    parts[0] = bytes((KIND << 4 | VERSION, flags))
    return b"".join(parts)


def decode_feedback(data: bytes) -> Feedback:
    """What a viewer said; bytes behind the known fields belong to later versions' fields and are ignored.

    Raises: RemoteProtocolError: codes `too-short`, `unknown-kind`, `unknown-version`, `unknown-flags`.
    """
    if not data:
        raise RemoteProtocolError("too-short", "feedback without a first byte")
    if data[0] >> 4 != KIND:
        raise RemoteProtocolError("unknown-kind", f"side data of kind {data[0] >> 4}")
    if data[0] & 15 != VERSION:
        raise RemoteProtocolError("unknown-version", f"feedback version {data[0] & 15}")
    if len(data) < 2:
        raise RemoteProtocolError("too-short", "feedback without flags")
    flags, position = data[1], 2
    if flags & _CRITICAL or (flags & _RECEIVED and not flags & _ACKNOWLEDGED):
        raise RemoteProtocolError("unknown-flags", f"flags {flags:#04x}")
    values: dict[str, int] = {}
    for flag, name, size in _FIELDS:
        if not flags & flag:
            continue
        if position + size > len(data):
            raise RemoteProtocolError("too-short", f"{name} is cut off")
        values[name] = int.from_bytes(data[position : position + size], "big")
        position += size
    return Feedback(
        acknowledged=values.get("acknowledged"),
        playout_timestamp=values.get("playout_timestamp"),
        keyframe_request=bool(flags & _KEYFRAME_REQUEST),
        received=values.get("received"),
        epoch=values.get("epoch"),
    )


def embed_feedback(opus: bytes, feedback: Feedback) -> bytes:
    """A microphone packet with `feedback` in its padding, at most limits.MICROPHONE_PACKET_SIZE_BYTES_MAX bytes.

    Raises:
        LocalProtocolError: a field is out of range or the packet would be too large.
        RemoteProtocolError: `opus` is not Opus (code `bad-opus`).
    """
    return opus_padding.embed(opus, encode_feedback(feedback), size_bytes_max=MICROPHONE_PACKET_SIZE_BYTES_MAX)


def extract_feedback(opus: bytes) -> Feedback | None:
    """The feedback in a microphone packet, None when there is none.

    Raises: RemoteProtocolError: as `decode_feedback`, and `bad-opus`.
    """
    side = opus_padding.extract(opus)
    if side is None or (side and side[0] >> 4 != KIND):
        return None
    return decode_feedback(side)

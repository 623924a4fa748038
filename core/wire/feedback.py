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
_EXTENSION: Final = 0x20
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
        owd_gradient: growth of the one-way delay in tenths of a millisecond per second, 16 bits with sign.
        playout_delay_ms: from a unit's arrival to its playout, 16 bits: repairs that take longer are useless.
    """

    acknowledged: int | None = None
    playout_timestamp: int | None = None
    keyframe_request: bool = False
    received: int | None = None
    epoch: int | None = None
    owd_gradient: int | None = None
    playout_delay_ms: int | None = None


_FIELDS: Final = (
    (_ACKNOWLEDGED, "acknowledged", 2, False),
    (_RECEIVED, "received", 4, False),
    (_PLAYOUT, "playout_timestamp", 4, False),
    (_EPOCH, "epoch", 2, False),
)
"""Flag, attribute, size in bytes and whether it has a sign, in wire order."""
_EXTENSION_FIELDS: Final = (
    (0x01, "owd_gradient", 2, True),
    (0x02, "playout_delay_ms", 2, False),
)
"""The same for the extension, whose own flags stand in front of its fields."""
_Fields = tuple[tuple[int, str, int, bool], ...]


def encode_feedback(feedback: Feedback) -> bytes:
    """2 to 19 bytes.

    Raises: LocalProtocolError: a field is out of range, or `received` stands without `acknowledged`.
    """
    if feedback.received is not None and feedback.acknowledged is None:
        raise LocalProtocolError("received counts from acknowledged, which is missing")
    flags, fields = _write(feedback, _FIELDS)
    extension, more = _write(feedback, _EXTENSION_FIELDS)
    if feedback.keyframe_request:
        flags |= _KEYFRAME_REQUEST
    if extension:
        flags |= _EXTENSION
        fields += bytes((extension,)) + more
    return bytes((KIND << 4 | VERSION, flags)) + fields


def _write(feedback: Feedback, fields: _Fields) -> tuple[int, bytes]:
    """Flags and bytes of those fields that are there."""
    flags = 0
    parts: list[bytes] = []
    for flag, name, size, signed in fields:
        value: int | None = getattr(feedback, name)
        if value is None:
            continue
        try:
            parts.append(value.to_bytes(size, "big", signed=signed))
        except OverflowError:
            raise LocalProtocolError(f"{name} has {8 * size} bits, {value} does not fit") from None
        flags |= flag
    return flags, b"".join(parts)


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
    flags = data[1]
    if flags & _CRITICAL or (flags & _RECEIVED and not flags & _ACKNOWLEDGED):
        raise RemoteProtocolError("unknown-flags", f"flags {flags:#04x}")
    values: dict[str, int] = {}
    position = _read(data, 2, flags, _FIELDS, values)
    if flags & _EXTENSION:
        if position >= len(data):
            raise RemoteProtocolError("too-short", "extension without flags")
        _read(data, position + 1, data[position], _EXTENSION_FIELDS, values)
    return Feedback(
        acknowledged=values.get("acknowledged"),
        playout_timestamp=values.get("playout_timestamp"),
        keyframe_request=bool(flags & _KEYFRAME_REQUEST),
        received=values.get("received"),
        epoch=values.get("epoch"),
        owd_gradient=values.get("owd_gradient"),
        playout_delay_ms=values.get("playout_delay_ms"),
    )


def _read(data: bytes, position: int, flags: int, fields: _Fields, values: dict[str, int]) -> int:
    """Read those fields whose flags are set; gives the position behind them."""
    for flag, name, size, signed in fields:
        if not flags & flag:
            continue
        if position + size > len(data):
            raise RemoteProtocolError("too-short", f"{name} is cut off")
        values[name] = int.from_bytes(data[position : position + size], "big", signed=signed)
        position += size
    return position


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

"""Access unit: what one tick needs, as one valid Opus packet. SPEC.md section 3."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from struct import Struct
from typing import Final

from core.errors import LocalProtocolError, RemoteProtocolError
from core.session.state import FaceState
from core.wire import opus_padding

__all__ = ["KIND", "NO_FLAGS", "VERSION", "AccessUnit", "AccessUnitFlags", "decode_access_unit", "encode_access_unit"]

KIND: Final = 1
"""High nibble of the first byte of side data that is an access unit."""
VERSION: Final = 1
"""Low nibble of that byte."""

_HEADER: Final = Struct(">BHHH")
_LENGTH: Final = Struct(">H")
_STATE_MASK: Final = 0x0003
_FEC: Final = 0x0100
_CRITICAL: Final = 0xFF00


class AccessUnitFlags(IntFlag):
    """What a unit says beside its frame. Bits 0 and 1 of the field are the `FaceState`, bits 8 to 15 are critical."""

    SPEECH = 0x04
    """The character's voice is in this packet."""
    DUCK = 0x08
    """Play the voice quieter: the user may be starting to speak."""
    CUT = 0x10
    """The voice was cut: mute what is still buffered."""
    PREVIEW = 0x20
    """From a POP that does not own the session yet: decode for warming up, never draw."""


NO_FLAGS: Final = AccessUnitFlags(0)
_KNOWN: Final = AccessUnitFlags.SPEECH | AccessUnitFlags.DUCK | AccessUnitFlags.CUT | AccessUnitFlags.PREVIEW


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessUnit:
    """Everything a packet says beside its voice.

    Attributes:
        epoch: ownership epoch of the session, 16 bits; greater wins.
        sequence_number: 16 bits, plus one per unit, wraps.
        flags: see `AccessUnitFlags`.
        state: what the face is doing.
        frame: `core.wire.frame_codec` bytes; b"" = no motion in this unit.
        fec: repair symbols; b"" = none.
    """

    epoch: int
    sequence_number: int
    flags: AccessUnitFlags
    state: FaceState
    frame: bytes
    fec: bytes = b""


def encode_access_unit(unit: AccessUnit, opus_packet: bytes) -> bytes:
    """One Opus packet that plays `opus_packet` and carries `unit`.

    Returns: at most limits.ACCESS_UNIT_SIZE_BYTES_MAX bytes.
    Raises:
        LocalProtocolError: a field is out of range or the packet would be too large.
        RemoteProtocolError: `opus_packet` is not Opus (code `bad-opus`).
    """
    if not (0 <= unit.epoch <= 0xFFFF and 0 <= unit.sequence_number <= 0xFFFF):
        raise LocalProtocolError("epoch and sequence number have 16 bits")
    flags = int(unit.flags)
    if flags & ~int(_KNOWN):
        raise LocalProtocolError(f"flags {flags:#06x} are not all known")
    flags |= unit.state | (_FEC if unit.fec else 0)
    side = _HEADER.pack(KIND << 4 | VERSION, flags, unit.epoch, unit.sequence_number)
    if unit.fec:
        side += _LENGTH.pack(len(unit.frame))
    return opus_padding.embed(opus_packet, side + unit.frame + unit.fec)


def decode_access_unit(packet: bytes) -> AccessUnit | None:
    """What a packet carries; None when it is plain Opus or carries something of another kind.

    Raises: RemoteProtocolError: codes `bad-opus`, `too-short`, `unknown-version`, `unknown-flags`, `bad-length`.
    """
    side = opus_padding.extract(packet)
    if side is None:
        return None
    if not side:
        raise RemoteProtocolError("too-short", "side data without a first byte")
    if side[0] >> 4 != KIND:
        return None
    if side[0] & 15 != VERSION:
        raise RemoteProtocolError("unknown-version", f"access unit version {side[0] & 15}")
    if len(side) < _HEADER.size:
        raise RemoteProtocolError("too-short", f"access unit of {len(side)} bytes")
    _, flags, epoch, sequence_number = _HEADER.unpack_from(side)
    if flags & _CRITICAL & ~_FEC:
        raise RemoteProtocolError("unknown-flags", f"flags {flags:#06x}")
    frame, fec = side[_HEADER.size :], b""
    if flags & _FEC:
        if len(frame) < _LENGTH.size:
            raise RemoteProtocolError("too-short", "frame length is cut off")
        start = _LENGTH.size
        end = start + _LENGTH.unpack_from(frame)[0]
        if end >= len(frame):
            raise RemoteProtocolError("bad-length", f"frame ends at {end} of {len(frame)} bytes, FEC must follow")
        frame, fec = frame[start:end], frame[end:]
    return AccessUnit(
        epoch=epoch,
        sequence_number=sequence_number,
        flags=AccessUnitFlags(flags & _KNOWN),
        state=FaceState(flags & _STATE_MASK),
        frame=frame,
        fec=fec,
    )

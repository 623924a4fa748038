"""Forward error correction inside packets: what later packets say again about earlier ones. SPEC.md section 9.

Headers are most of what a packet costs, so redundancy never has packets of its own. A *block* is what protection brings
back of a unit: its frame and, where our own playout plays the sound too, its Opus packet; never its own redundancy. The
field of unit n holds copies of single earlier blocks and one *symbol*, a linear combination of the other W last ones
(systematic sliding window after RFC 8681). W is the playout delay in packets: later repairs would come too late.

How a POP uses it: one `FecEncoder(sound=…)` per viewer; after encoding the frame of unit n
```
block = encode_block(unit, span_ticks=TICK_SAMPLES, opus=strip(opus) if sound else b"")
fec = encoder.protect(n, block, tier=decision.tier, window=window_units(playout_delay_s, TICK_S), size_bytes_max=room)
packet = encode_access_unit(replace(unit, fec=fec), opus)
```
and `reset()` with a new epoch. A viewer hands each unit's block and field to a `core.stream.fec_decoder.FecDecoder`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from core.errors import LocalProtocolError, RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX, FEC_WINDOW_UNITS_MAX
from core.session.state import FaceState
from core.stream.galois import COEFFICIENT_TABLES
from core.wire.access_unit import AccessUnit, AccessUnitFlags

__all__ = [
    "FecEncoder",
    "FecField",
    "FecTier",
    "RestoredUnit",
    "decode_block",
    "decode_field",
    "encode_block",
    "read_length",
    "window_units",
    "write_length",
]

SPAN_TICKS: Final = 120
"""Unit of a block's span: the shortest Opus frame, 2.5 ms."""

_RESERVED: Final = 0x80
_SOUND: Final = 0x40
_NEAR: Final = 0x20
_FAR: Final = 0x10
_WINDOW: Final = 0x0F
_SEQUENCE_MASK: Final = 0xFFFF
_LENGTH_MAX: Final = 0x7FFF
_FRAME_FLAGS: Final = 0x3C
_STATE: Final = 0x03


class FecTier(IntEnum):
    """How much redundancy a packet carries."""

    F0 = 0
    """None."""
    F1 = 1
    """One symbol over the last W blocks."""
    F2 = 2
    """F1 and a copy of block n - W: what a burst took comes back when it has ended."""
    F3 = 3
    """F2 and a copy of block n - W // 2."""


_COPIES: Final = (0, 0, _FAR, _FAR | _NEAR)


def window_units(playout_delay_s: float, packet_s: float) -> int:
    """How many packets fit into the playout delay: 1 to limits.FEC_WINDOW_UNITS_MAX, also for absurd arguments."""
    if not playout_delay_s > 0 or not packet_s > 0:
        return 1
    return int(max(1, min(FEC_WINDOW_UNITS_MAX, playout_delay_s / packet_s + 1e-6)))


def write_length(length: int) -> bytes:
    """One byte below 128, otherwise two with the highest bit set. Raises: LocalProtocolError: over 15 bits."""
    if length < 0x80:
        return bytes((length,))
    if length > _LENGTH_MAX:
        raise LocalProtocolError(f"length {length} has more than 15 bits")
    return bytes((0x80 | length >> 8, length & 0xFF))


def read_length(data: bytes, position: int) -> tuple[int, int]:
    """A length and the position behind it. Raises: RemoteProtocolError: it is cut off (code `bad-fec`)."""
    if position >= len(data):
        raise RemoteProtocolError("bad-fec", "length is cut off")
    first = data[position]
    if first < 0x80:
        return first, position + 1
    if position + 1 >= len(data):
        raise RemoteProtocolError("bad-fec", "length is cut off")
    return (first & 0x7F) << 8 | data[position + 1], position + 2


def encode_block(unit: AccessUnit, *, span_ticks: int, opus: bytes | None = None) -> bytes:
    """What protection brings back of a unit.

    Args:
        unit: its flags, state and frame are protected; epoch and sequence number are known to whoever repairs.
        span_ticks: duration of its packet in 48 kHz ticks, a multiple of 120 up to 30,600.
        opus: its packet without padding (`opus_padding.strip`), where sound is protected; None = motion alone.
    Raises: LocalProtocolError: the span is no such multiple.
    """
    span, odd = divmod(span_ticks, SPAN_TICKS)
    if odd or not 0 < span <= 0xFF:
        raise LocalProtocolError(f"a span of {span_ticks} ticks is not 1 to 255 times {SPAN_TICKS}")
    head = bytes((int(unit.flags) | unit.state, span))  # int(): the | of flags takes a microsecond
    if opus is None:
        return head + unit.frame
    return b"".join((head, write_length(len(unit.frame)), unit.frame, opus))


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredUnit:
    """A unit that came back.

    Attributes:
        unit: as it was sent, without its redundancy.
        span_ticks: duration of its packet; the RTP timestamp of unit n is that of n + 1 less the span of n.
        opus: its packet without padding; None where motion alone is protected.
    """

    unit: AccessUnit
    span_ticks: int
    opus: bytes | None


def decode_block(block: bytes, *, epoch: int, sequence_number: int, sound: bool) -> RestoredUnit:
    """The unit of a block. Raises: RemoteProtocolError: it is none (code `bad-fec`)."""
    if len(block) < 2 or block[0] & ~(_FRAME_FLAGS | _STATE) or not block[1]:
        raise RemoteProtocolError("bad-fec", "not a block")
    frame, opus = block[2:], None
    if sound:
        length, start = read_length(block, 2)
        if start + length > len(block):
            raise RemoteProtocolError("bad-fec", "frame of a block is cut off")
        frame, opus = block[start : start + length], block[start + length :]
    unit = AccessUnit(
        epoch=epoch,
        sequence_number=sequence_number,
        flags=AccessUnitFlags(block[0] & _FRAME_FLAGS),
        state=FaceState(block[0] & _STATE),
        frame=frame,
    )
    return RestoredUnit(unit=unit, span_ticks=block[1] * SPAN_TICKS, opus=opus)


@dataclass(frozen=True, slots=True)
class FecField:
    """The FEC field of a unit, taken apart. Distances count units back from the one that carries it.

    Attributes:
        sound: blocks hold sound and motion, not motion alone.
        copies: (distance, source) of each copy; a source is a block with its length in front.
        covered: distances that the symbol combines.
        symbol: b"" = none.
    """

    sound: bool
    copies: tuple[tuple[int, bytes], ...]
    covered: tuple[int, ...]
    symbol: bytes


def _layout(header: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Distances of the copies that a header announces, far first, and those that its symbol covers."""
    window = header & _WINDOW
    near = window // 2 if header & _NEAR else 0
    far = (window,) if header & _FAR else ()
    copied = (*far, near) if near else far
    return copied, tuple(distance for distance in range(1, window + 1) if distance not in copied)


_LAYOUTS: Final = tuple(_layout(header) for header in range(_RESERVED))
"""Of every header without the reserved bit."""


def decode_field(data: bytes) -> FecField:
    """Take a FEC field apart. Raises: RemoteProtocolError: it is none (code `bad-fec`)."""
    if not data or data[0] & _RESERVED or not data[0] & _WINDOW:
        raise RemoteProtocolError("bad-fec", "no FEC header that is known here")
    header, position = data[0], 1
    copied, covered = _LAYOUTS[header]
    copies: list[tuple[int, bytes]] = []
    for distance in copied:
        length, start = read_length(data, position)
        end = start + length
        if end > len(data):
            raise RemoteProtocolError("bad-fec", "copy is cut off")
        copies.append((distance, data[position:end]))
        position = end
    if position < len(data) and not covered:
        raise RemoteProtocolError("bad-fec", "bytes behind the last copy")
    return FecField(bool(header & _SOUND), tuple(copies), covered, data[position:])


class FecEncoder:
    """Writes the FEC fields of one viewer's track. Keeps the last limits.FEC_WINDOW_UNITS_MAX blocks, nothing else.

    Args:
        sound: blocks hold sound and motion (our own playout); otherwise motion alone. Written into every field.
    """

    def __init__(self, *, sound: bool) -> None:
        self._sound = _SOUND if sound else 0
        self._sources: deque[bytes] = deque(maxlen=FEC_WINDOW_UNITS_MAX)
        self._last: int | None = None

    def reset(self) -> None:
        """Forget all blocks: the next unit may have any number (a new epoch)."""
        self._sources.clear()
        self._last = None

    def protect(
        self,
        sequence_number: int,
        block: bytes,
        *,
        tier: FecTier,
        window: int,
        size_bytes_max: int = ACCESS_UNIT_SIZE_BYTES_MAX,
    ) -> bytes:
        """The FEC field of this unit; its block is remembered for the fields to come.

        Args:
            sequence_number: 16 bits, one more than the last.
            block: see `encode_block`.
            tier: the most redundancy; near copy, far copy and symbol are left out in this order when they do not fit.
            window: how many units back repairs are in time, 1 to limits.FEC_WINDOW_UNITS_MAX; bounded to that.
            size_bytes_max: bound of the field.
        Returns: b"" when there is nothing to say or no room.
        Raises: LocalProtocolError: the sequence number does not continue, or the block is too long.
        """
        if self._last is not None and sequence_number != (self._last + 1) & _SEQUENCE_MASK:
            raise LocalProtocolError(f"unit {sequence_number} does not follow {self._last}")
        source = write_length(len(block)) + block
        window = min(max(window, 1), len(self._sources))
        field = self._field(sequence_number, tier, window, size_bytes_max) if tier and self._sources else b""
        self._last = sequence_number
        self._sources.appendleft(source)
        return field

    def _field(self, sequence_number: int, tier: FecTier, window: int, size_bytes_max: int) -> bytes:
        sources, to_number = self._sources, int.from_bytes
        for copies in _COPIES[tier::-1]:
            header = self._sound | copies | window
            copied, covered = _LAYOUTS[header]
            parts = [bytes((header,)), *[sources[distance - 1] for distance in copied]]
            combined = [sources[distance - 1] for distance in covered]
            symbol_size = max(map(len, combined), default=0)
            if sum(map(len, parts)) + symbol_size <= size_bytes_max:
                total = 0
                for distance, source in zip(covered, combined, strict=True):
                    table = COEFFICIENT_TABLES[(sequence_number ^ sequence_number - distance) & 127]
                    total ^= to_number(source.translate(table), "little")
                parts.append(total.to_bytes(symbol_size, "little"))
                return b"".join(parts)
        return b""

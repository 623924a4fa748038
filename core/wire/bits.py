"""Bits into bytes and back, most significant first. Big integers do the work: one shift per field."""

from __future__ import annotations

from core.errors import RemoteProtocolError

__all__ = ["BitReader", "BitWriter"]


class BitWriter:
    """Collects bits.

    Attributes:
        size: bits so far.
    """

    __slots__ = ("_bits", "size")

    def __init__(self) -> None:
        self._bits = 0
        self.size = 0

    def write(self, value: int, size: int) -> None:
        """Append the `size` low bits of `value`, which has no others."""
        self._bits = self._bits << size | value
        self.size += size

    def write_rice(self, value: int, parameter: int) -> None:
        """Append a Rice code: `value >> parameter` zeros, a one, then the `parameter` low bits of `value`."""
        size = (value >> parameter) + 1 + parameter
        self._bits = self._bits << size | 1 << parameter | value & ((1 << parameter) - 1)
        self.size += size

    def to_bytes(self) -> bytes:
        """All bits, filled up with zeros to a whole byte."""
        fill = -self.size & 7
        return (self._bits << fill).to_bytes((self.size + fill) >> 3, "big")


class BitReader:
    """Takes bits off the front of `data`. Running out of them is a RemoteProtocolError with code `bad-frame`."""

    __slots__ = ("_bits", "_left")

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, size: int) -> int:
        """The next `size` bits."""
        left = self._left - size
        if left < 0:
            raise RemoteProtocolError("bad-frame", "frame is cut off")
        value = self._bits >> left
        self._bits ^= value << left
        self._left = left
        return value

    def read_rice(self, parameter: int) -> int:
        """The next Rice code."""
        # What was read is 0 by now, so the number's length says where the next one stands.
        stop = self._bits.bit_length() - 1
        left = stop - parameter
        if left < 0:
            raise RemoteProtocolError("bad-frame", "frame is cut off")
        value = self._bits >> left
        zeros = self._left - stop - 1
        self._bits ^= value << left
        self._left = left
        return zeros << parameter | value ^ 1 << parameter

    def finish(self) -> None:
        """Nothing but fill bits may be left."""
        if self._left >= 8 or self._bits:
            raise RemoteProtocolError("bad-frame", "bytes behind the frame")

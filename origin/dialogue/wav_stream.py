"""A WAV that comes in pieces, as voices send it: its format first, then its sound as it comes.

Source: Microsoft "Multiple Channel Audio Data and WAVE Files" (chunks may come in any number before `data`); a voice
that does not know the length yet writes 0 or the largest there is, and means "until the end".
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["WavError", "WavStream"]

_PCM: Final = 1
_EXTENSIBLE: Final = 0xFFFE
_RATE_HZ_MIN: Final = 4_000
_RATE_HZ_MAX: Final = 192_000
_CHANNELS_MAX: Final = 8
_HEADER_BYTES_MAX: Final = 65_536
_UNKNOWN: Final = 0x7FFF_0000
"""A length from here on means that nobody knows it."""


class WavError(Exception):
    """What comes is no WAV, or none that is understood; the text says why."""


class WavStream:
    """Fed with bytes, gives 16-bit PCM.

    Attributes:
        rate_hz, channels: of the sound, 0 until they are known.
    """

    def __init__(self) -> None:
        self.rate_hz = 0
        self.channels = 0
        self._head = bytearray()
        self._sounding = False
        self._left: int | None = None

    def push(self, data: bytes) -> bytes:
        """More of it. Returns: the sound in it. Raises: WavError."""
        if not self._sounding:
            self._head += data
            begin = self._read_head()
            if begin is None:
                if len(self._head) > _HEADER_BYTES_MAX:
                    raise WavError("no sound comes after its header")
                return b""
            data = bytes(self._head[begin:])
            self._head.clear()
            self._sounding = True
        if self._left is None:
            return data
        sound = data[: self._left]
        self._left -= len(sound)
        return sound

    @property
    def missing(self) -> bool:
        """It promised more than it gave, or did not even say what it is."""
        return not self._sounding or bool(self._left)

    def _read_head(self) -> int | None:
        """Where the sound begins; None: more is needed."""
        head = self._head
        if len(head) < 12:
            return None
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            raise WavError("it does not begin as a WAV does")
        at = 12
        while len(head) >= at + 8:
            name, size = struct.unpack_from("<4sI", head, at)
            if name == b"data":
                if not self.rate_hz:
                    raise WavError("its sound comes before its format")
                self._left = None if not size or size >= _UNKNOWN else size
                return at + 8
            if name == b"fmt ":
                if len(head) < at + 8 + 16:
                    return None
                self._read_format(at + 8)
            at += 8 + size + size % 2
        return None

    def _read_format(self, at: int) -> None:
        kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", self._head, at)
        if kind not in (_PCM, _EXTENSIBLE) or bits != 16:
            raise WavError(f"its samples have {bits} bits in format {kind}; 16-bit PCM is needed")
        if not _RATE_HZ_MIN <= rate_hz <= _RATE_HZ_MAX or not 1 <= channels <= _CHANNELS_MAX:
            raise WavError(f"{channels} channels at {rate_hz} Hz are not understood")
        self.rate_hz, self.channels = rate_hz, channels

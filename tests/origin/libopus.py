"""A decoder with everything that a jitter buffer asks of libopus: PyAV's has neither in-band FEC nor concealment."""

from __future__ import annotations

import ctypes
import ctypes.util
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from core.limits import MEDIA_CLOCK_HZ, TICK_SAMPLES

__all__ = ["OpusDecoder", "has_fec"]


def _load() -> ctypes.CDLL:
    """The library that PyAV brings along, or the system's."""
    along = sorted((Path(av.__file__).parent.parent / "av.libs").glob("libopus*"))
    library = ctypes.CDLL(str(along[0]) if along else ctypes.util.find_library("opus") or "libopus.so.0")
    library.opus_decoder_create.restype = ctypes.c_void_p
    library.opus_decode.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int, ctypes.c_int,
    ]  # fmt: skip
    library.opus_decoder_destroy.argtypes = [ctypes.c_void_p]
    return library


_LIBRARY = _load()


class OpusDecoder:
    """Mono, 48 kHz, packets of 20 ms."""

    def __init__(self) -> None:
        error = ctypes.c_int()
        self._state = _LIBRARY.opus_decoder_create(MEDIA_CLOCK_HZ, 1, ctypes.byref(error))
        assert error.value == 0

    def __del__(self) -> None:
        _LIBRARY.opus_decoder_destroy(self._state)

    def decode(self, packet: bytes | None, *, fec: bool = False) -> npt.NDArray[np.float64]:
        """20 ms of sound.

        Args:
            packet: None: it is missing, and is concealed.
            fec: what the packet says about the one before it instead of about itself.
        """
        pcm = np.zeros(TICK_SAMPLES, np.int16)
        size = len(packet) if packet is not None else 0
        count = _LIBRARY.opus_decode(self._state, packet, size, pcm.ctypes.data, TICK_SAMPLES, int(fec))
        assert count == TICK_SAMPLES, count
        return pcm.astype(np.float64)


def has_fec(packet: bytes) -> bool:
    """Whether a mono packet with one SILK or hybrid frame of 20 ms has an LBRR frame (RFC 6716 section 4.2.3): its
    first bit is the voice activity, its second says this."""
    hears_silk = packet[0] >> 3 < 16
    assert packet[0] & 3 == 0
    return hears_silk and len(packet) > 1 and bool(packet[1] & 0x40)

"""Microphone packets into sound: one Opus decoder per session, 16 kHz out."""

from __future__ import annotations

from math import log10
from typing import Final

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

__all__ = ["MicrophoneDecoder", "level_decibels"]

_TAPS: Final = 36
_FACTOR: Final = 3


def _lowpass() -> NDArray[np.float32]:
    """Half band edge at 7.2 kHz, 36 taps, for 48 kHz → 16 kHz."""
    time = np.arange(_TAPS) - (_TAPS - 1) / 2
    taps = np.sinc(2 * 7_200 / 48_000 * time) * np.hamming(_TAPS)
    return np.asarray(taps / taps.sum(), np.float32)


def _bank(block: int) -> NDArray[np.float32]:
    """The filter for `block` neighbouring samples of 16 kHz at once, float32[taps of all of them, block]."""
    bank = np.zeros((_FACTOR * (block - 1) + _TAPS, block), np.float32)
    for index in range(block):
        bank[_FACTOR * index : _FACTOR * index + _TAPS, index] = _lowpass()
    return bank


_BLOCK: Final = 40
"""2.5 ms at 16 kHz: every Opus packet has a multiple of that."""
_LOWPASS: Final = _bank(_BLOCK)


class MicrophoneDecoder:
    """libopus at 48 kHz, filtered and thinned to 16 kHz mono.

    Attributes:
        failures: packets that the decoder refused.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._codec = self._open()
        self._tail = np.zeros(_TAPS - _FACTOR, np.float32)

    def decode(self, packet: bytes) -> NDArray[np.float32]:
        """The sound of one Opus packet; padding in it is skipped by the decoder.

        Returns: float32[n] in [-1, 1] at 16 kHz; empty when the decoder refuses the packet.
        """
        if not packet:  # to the decoder an empty one is the end, after which it takes no more
            self.failures += 1
            return np.zeros(0, np.float32)
        try:
            frames = self._codec.decode(av.Packet(packet))
        except (av.error.FFmpegError, ValueError):
            self.failures += 1
            return np.zeros(0, np.float32)
        pieces = [np.frombuffer(memoryview(frame.planes[0]), np.float32, frame.samples) for frame in frames]
        if not pieces:
            return np.zeros(0, np.float32)
        return self._thin(np.concatenate(pieces) if len(pieces) > 1 else pieces[0])

    def _thin(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = np.concatenate((self._tail, sound))
        # Blocks overlap by the filter's length: one small matrix product instead of a long one of strides.
        blocks = len(sound) // (_FACTOR * _BLOCK)
        windows = np.ndarray((blocks, len(_LOWPASS)), np.float32, whole, 0, (4 * _FACTOR * _BLOCK, 4))
        self._tail = whole[blocks * _FACTOR * _BLOCK :]
        return (windows @ _LOWPASS).reshape(-1)

    @staticmethod
    def _open() -> AudioCodecContext:
        codec = av.CodecContext.create("libopus", "r")
        codec.sample_rate = 48_000
        codec.layout = "mono"  # libopus mixes stereo packets down itself
        codec.options = {"request_sample_fmt": "flt"}
        return codec


def level_decibels(sound: NDArray[np.float32]) -> float:
    """RMS of a piece in dB below full scale, at least -127."""
    if not len(sound):
        return -127.0
    return max(-127.0, 10.0 * log10(float(sound.dot(sound)) / len(sound) + 1e-13))

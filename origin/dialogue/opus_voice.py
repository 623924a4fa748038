"""The character's voice as 20 ms Opus packets whose decoded sound is exactly on the utterance's clock.

libopus looks ahead: what a decoder gives out for packet k begins 312 samples (6.5 ms at 48 kHz, the `pre-skip` of
RFC 7845) before the sound that was put into packet k. Files carry the pre-skip and players drop that many samples; RTP
has no such place. So the utterance's clock is that of the *decoded* sound: everything that names a time in the PCM
(phonemes, words, log-mel) is shifted later by `VoiceEncoder.delay_samples`, read from the encoder itself.
"""

from __future__ import annotations

import struct
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from core.limits import MEDIA_CLOCK_HZ, PTIME_MS, TICK_SAMPLES

__all__ = ["MicrophoneDecoder", "VoiceEncoder"]

_PRE_SKIP: Final = struct.Struct("<8sBBH")
"""OpusHead: magic, version, channels, pre-skip (RFC 7845 section 5.1)."""


class VoiceEncoder:
    """One utterance's encoder: mono, 48 kHz, VOIP tuning, variable bit rate.

    Args:
        bitrate_bps: aim.

    Attributes:
        delay_samples: how much later than in the input a sound is in the decoded output.
    """

    def __init__(self, bitrate_bps: int) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, av.AudioCodecContext)
        codec.sample_rate = MEDIA_CLOCK_HZ
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = bitrate_bps
        codec.options = {"application": "voip", "frame_duration": str(PTIME_MS), "vbr": "on"}
        codec.open()
        assert codec.extradata is not None
        self.delay_samples: int = _PRE_SKIP.unpack_from(codec.extradata)[3]
        self._codec = codec
        self._position = 0

    def encode(self, pcm: npt.NDArray[np.int16]) -> bytes:
        """Encode 20 ms.

        Args:
            pcm: int16, shape (960,).

        Returns: one Opus packet.
        """
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, TICK_SAMPLES), format="s16", layout="mono")
        frame.sample_rate = MEDIA_CLOCK_HZ
        frame.pts = self._position
        self._position += TICK_SAMPLES
        (packet,) = self._codec.encode(frame)
        return bytes(packet)


class MicrophoneDecoder:
    """Turns a viewer's microphone packets into 16 kHz mono 16-bit PCM; libopus keeps its state across packets."""

    def __init__(self, sample_rate_hz: int) -> None:
        codec = av.CodecContext.create("libopus", "r")
        assert isinstance(codec, av.AudioCodecContext)
        codec.sample_rate = MEDIA_CLOCK_HZ
        codec.layout = "mono"
        self._codec = codec
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=sample_rate_hz)

    def decode(self, opus: bytes) -> bytes:
        """Decode one packet.

        Raises: ValueError: it is not Opus.
        """
        if not opus:
            raise ValueError("an empty packet")
        try:
            frames = self._codec.decode(av.Packet(opus))
            parts = [
                resampled.to_ndarray().tobytes() for frame in frames for resampled in self._resampler.resample(frame)
            ]
        except av.FFmpegError as error:
            raise ValueError(str(error)) from None
        return b"".join(parts)

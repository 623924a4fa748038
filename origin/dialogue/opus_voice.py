"""The character's voice as 20 ms Opus packets whose decoded sound is exactly on the utterance's clock.

libopus looks ahead: what a decoder gives out for packet k begins 312 samples (6.5 ms at 48 kHz, the `pre-skip` of
RFC 7845) before the sound that was put into packet k. Files carry the pre-skip and players drop that many samples; RTP
has no such place. So the utterance's clock is that of the *decoded* sound: everything that names a time in the PCM
(phonemes, words, log-mel) is shifted later by `VoiceEncoder.delay_samples`, read from the encoder itself.

On a link that loses packets the voice carries Opus' in-band FEC: each packet also says, more coarsely, what the one
before it said (RFC 6716 section 2.1.7), which a browser's jitter buffer uses where a packet is missing. It comes out of
the same bitrate, and where that is too low libopus leaves it out: at 12 kbit/s. A link that allows no more is crowded,
and redundancy would crowd it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from core.limits import MEDIA_CLOCK_HZ, PTIME_MS, TICK_SAMPLES, VOICE_BITRATE_BPS_MAX, VOICE_BITRATE_BPS_MIN

__all__ = ["MicrophoneDecoder", "VoiceEncoder", "VoiceEncoding"]

_PRE_SKIP: Final = struct.Struct("<8sBBH")
"""OpusHead: magic, version, channels, pre-skip (RFC 7845 section 5.1)."""


_LOSS_STEP_PERCENT: Final = 10
"""A loss is rounded up to a multiple of this. It fluctuates, and a change costs a new encoder; and told of less than
10 %, libopus leaves most redundancy out at 18 and at 24 kbit/s."""
_PAUSE_PACKETS: Final = 3
"""So long a decoder needs for a sound to fade away. Shorter gaps are within words."""
_SILENT_PEAK: Final = 100
"""Greatest sample of a pause, 50 dB below full scale: a recorded voice's noise is below it, its speech above."""


@dataclass(frozen=True, slots=True)
class VoiceEncoding:
    """How a voice is encoded.

    Attributes:
        bitrate_bps: aim, VOICE_BITRATE_BPS_MIN to _MAX.
        loss_percent: packets in 100 that in-band FEC is made for, 0 to 100; 0 = no FEC.
    """

    bitrate_bps: int
    loss_percent: int = 0

    @classmethod
    def nearest(cls, bitrate_bps: int, loss_percent: int) -> VoiceEncoding:
        """The possible encoding that comes nearest to what was asked for."""
        loss_percent = min(max(loss_percent, 0), 100)
        return cls(
            bitrate_bps=min(max(bitrate_bps, VOICE_BITRATE_BPS_MIN), VOICE_BITRATE_BPS_MAX),
            loss_percent=-(-loss_percent // _LOSS_STEP_PERCENT) * _LOSS_STEP_PERCENT,
        )


class VoiceEncoder:
    """One utterance's encoder: mono, 48 kHz, VOIP tuning, variable bit rate.

    Args:
        encoding: how to begin.

    Attributes:
        delay_samples: how much later than in the input a sound is in the decoded output.
    """

    def __init__(self, encoding: VoiceEncoding) -> None:
        self._codec = _open_codec(encoding)
        self._encoding = self._wanted = encoding
        self._latest = np.zeros(TICK_SAMPLES, np.int16)
        self._silent_packets = 0
        assert self._codec.extradata is not None
        self.delay_samples: int = _PRE_SKIP.unpack_from(self._codec.extradata)[3]

    def follow(self, encoding: VoiceEncoding) -> None:
        """Encode like this from the next pause on: libopus as we have it cannot be changed while it runs, and another
        encoder in the middle of a sound would click."""
        self._wanted = encoding

    def encode(self, pcm: npt.NDArray[np.int16]) -> bytes:
        """Encode 20 ms.

        Args:
            pcm: int16, shape (960,).

        Returns: one Opus packet.
        """
        self._silent_packets = self._silent_packets + 1 if _silent(pcm) else 0
        if self._wanted != self._encoding and self._silent_packets >= _PAUSE_PACKETS:
            self._codec, self._encoding = _open_codec(self._wanted), self._wanted
            _encode(self._codec, self._latest)  # its last samples come out with this packet
        self._latest = pcm
        return _encode(self._codec, pcm)


def _open_codec(encoding: VoiceEncoding) -> av.AudioCodecContext:
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate = MEDIA_CLOCK_HZ
    codec.layout = "mono"
    codec.format = "s16"
    codec.bit_rate = encoding.bitrate_bps
    codec.options = {
        "application": "voip",
        "frame_duration": str(PTIME_MS),
        "vbr": "on",
        "fec": str(int(encoding.loss_percent > 0)),
        "packet_loss": str(encoding.loss_percent),
    }
    codec.open()
    return codec


def _encode(codec: av.AudioCodecContext, pcm: npt.NDArray[np.int16]) -> bytes:
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, TICK_SAMPLES), format="s16", layout="mono")
    frame.sample_rate = MEDIA_CLOCK_HZ
    (packet,) = codec.encode(frame)
    return bytes(packet)


def _silent(pcm: npt.NDArray[np.int16]) -> bool:
    return int(np.abs(pcm.astype(np.int32)).max()) <= _SILENT_PEAK


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

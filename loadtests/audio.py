"""Sound in and out of the headless viewer: files of any kind in, Opus both ways, WAV out."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av import AudioFrame, AudioResampler
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ, TICK_SAMPLES

__all__ = ["VoiceDecoder", "VoiceEncoder", "read_audio", "write_wav"]

Samples = NDArray[np.float32]
_TIME_BASE: Final = Fraction(1, MEDIA_CLOCK_HZ)


def read_audio(path: Path, *, length_s_max: float) -> Samples:
    """Decode an audio file of any format, rate and channel count.

    Args:
        path: the file.
        length_s_max: longest recording accepted; decoding stops there.
    Returns: float32[n] in [-1, 1], mono, 48 kHz.
    Raises:
        ConfigError: missing, unreadable, not audio, empty or too long; one sentence that names the file.
    """
    if not path.exists():
        raise ConfigError(f"{path}: there is no such file.")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give an audio file.")
    try:
        if path.stat().st_size == 0:
            raise ConfigError(f"{path} is empty.")
        samples = _decode(path, length_s_max)
    except PermissionError as error:
        raise ConfigError(f"{path} cannot be read: permission denied.") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise ConfigError(f"{path} is not an audio file that can be decoded.") from error
    if samples.size == 0:
        raise ConfigError(f"{path} holds no sound: it is 0 s long.")
    return samples


def _decode(path: Path, length_s_max: float) -> Samples:
    resampler = AudioResampler(format="fltp", rate=MEDIA_CLOCK_HZ)  # keeps the channels
    pieces: list[Samples] = []
    count = 0
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise ConfigError(f"{path} holds no audio track.")
        for frame in container.decode(container.streams.audio[0]):
            for resampled in resampler.resample(frame):
                pieces.append(_mono(resampled))
                count += pieces[-1].size
            if count > length_s_max * MEDIA_CLOCK_HZ:
                raise ConfigError(f"{path} is too long: at most {length_s_max:.0f} s of sound can be sent.")
        if pieces:
            pieces += [_mono(tail) for tail in resampler.resample(None)]
    return np.clip(np.nan_to_num(np.concatenate(pieces)), -1.0, 1.0) if pieces else np.empty(0, dtype=np.float32)


def _mono(frame: AudioFrame) -> Samples:
    # The mean of the channels: a downmix matrix would change the level, and levels are what is measured.
    return np.asarray(frame.to_ndarray().mean(axis=0), dtype=np.float32)


def write_wav(path: Path, samples: Samples) -> None:
    """Write mono 48 kHz sound as 16-bit WAV.

    Raises:
        ConfigError: the file cannot be written.
    """
    pcm = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
    try:
        with path.open("wb") as target, wave.open(target, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(MEDIA_CLOCK_HZ)
            file.writeframes(pcm.tobytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from error


class VoiceEncoder:
    """A microphone's Opus encoder: mono, 20 ms, tuned for speech."""

    def __init__(self, *, rate_bps: int = 32_000) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate = MEDIA_CLOCK_HZ
        codec.layout = "mono"
        codec.format = "flt"
        codec.bit_rate = rate_bps
        codec.time_base = _TIME_BASE
        codec.options = {"application": "voip", "frame_duration": "20"}
        self._codec = codec
        self._pts = 0

    def encode(self, samples: Samples) -> bytes:
        """One packet.

        Args:
            samples: float32[960].
        """
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), format="flt", layout="mono")
        frame.sample_rate = MEDIA_CLOCK_HZ
        frame.time_base = _TIME_BASE
        frame.pts = self._pts
        self._pts += TICK_SAMPLES
        packets = self._codec.encode(frame)
        # libopus has no delay in packets: 960 samples in, one packet out.
        assert len(packets) == 1
        return bytes(packets[0])


class VoiceDecoder:
    """A viewer's Opus decoder: mono float PCM."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("libopus", "r")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate = MEDIA_CLOCK_HZ
        codec.layout = "mono"
        self._codec = codec

    def decode(self, packet: bytes) -> Samples | None:
        """PCM of one packet, padding ignored; None when it is not Opus.

        Returns: float32[n] in [-1, 1], 48 kHz.
        """
        try:
            frames = self._codec.decode(av.Packet(packet))
        except av.error.FFmpegError:
            return None
        pieces = [frame.to_ndarray().reshape(-1).astype(np.float32) / 32768.0 for frame in frames]
        return np.concatenate(pieces) if pieces else None

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import ConfigError
from loadtests.audio import VoiceDecoder, VoiceEncoder, read_audio, write_wav


def write_tone(path: Path, *, rate_hz: int, channels: int, seconds: float, width: int = 2) -> Path:
    times = np.arange(round(rate_hz * seconds)) / rate_hz
    tone = np.round(0.3 * np.sin(2 * np.pi * 440 * times) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(np.repeat(tone, channels).tobytes())
    return path


def pitch_hz(samples: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.argmax(spectrum)) * 48_000 / samples.size


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channel_count_becomes_48_khz_mono(tmp_path: Path, rate_hz: int, channels: int) -> None:
    samples = read_audio(
        write_tone(tmp_path / "tone.wav", rate_hz=rate_hz, channels=channels, seconds=0.5), length_s_max=10
    )
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert samples.size == pytest.approx(24_000, abs=100)
    assert pitch_hz(samples) == pytest.approx(440, abs=3)
    assert float(np.abs(samples[2_000:-2_000]).max()) == pytest.approx(0.3, abs=0.1)


def test_compressed_audio_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "tone.ogg"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
        frame = av.AudioFrame.from_ndarray(tone.astype(np.float32).reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    samples = read_audio(path, length_s_max=10)
    assert pitch_hz(samples) == pytest.approx(440, abs=3)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_audio(tmp_path / "absent.wav", length_s_max=10)


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        read_audio(tmp_path, length_s_max=10)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(ConfigError, match="is empty"):
        read_audio(path, length_s_max=10)


@pytest.mark.parametrize(
    "content", [b"not audio at all, only words " * 50, b"RIFF\x00\x00\x00\x00WAVE", b"\x00" * 4096]
)
def test_not_audio(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"odd\.wav"):
        read_audio(path, length_s_max=10)


def test_header_without_sound(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "hollow.wav", rate_hz=16_000, channels=1, seconds=0.0)
    with pytest.raises(ConfigError, match=r"hollow\.wav"):
        read_audio(path, length_s_max=10)


def test_ten_minutes_are_refused_before_they_are_all_read(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "long.wav", rate_hz=8_000, channels=1, seconds=600.0)
    with pytest.raises(ConfigError, match="at most 60 s"):
        read_audio(path, length_s_max=60)


def test_written_wav_reads_back(tmp_path: Path) -> None:
    sound = np.linspace(-1.5, 1.5, 4_800, dtype=np.float32)
    write_wav(tmp_path / "out.wav", sound)
    assert np.allclose(read_audio(tmp_path / "out.wav", length_s_max=1), np.clip(sound, -1, 1), atol=1e-4)


def test_wav_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_wav(tmp_path / "absent" / "out.wav", np.zeros(10, dtype=np.float32))


def test_opus_round_trip_keeps_the_tone_and_one_packet_per_20_ms() -> None:
    encoder, decoder = VoiceEncoder(), VoiceDecoder()
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)
    pieces = [decoder.decode(encoder.encode(tone[start : start + 960])) for start in range(0, tone.size, 960)]
    decoded = np.concatenate([piece for piece in pieces if piece is not None])
    assert decoded.size == tone.size
    assert pitch_hz(decoded[4_800:]) == pytest.approx(440, abs=3)


def test_what_is_not_opus_decodes_to_nothing() -> None:
    assert VoiceDecoder().decode(b"\xff\xff\xff") is None

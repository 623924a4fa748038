"""What lies between a synthetic voice in silence and a person at a microphone: room, noise, tone, codec, level, speed.

Two kinds. `Recorder` works on sound and is slow enough to be done once per corpus. `vary_log_mel` works on log-mel
frames and is cheap enough to be drawn anew for every training batch: a tone control, a vocal tract of another length, a
noise floor, a narrow telephone band, a level.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import av
import numpy as np
import soxr
from av import AudioFrame
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from core.limits import LOG_MEL_BANDS, MEDIA_CLOCK_HZ, TICK_SAMPLES
from core.speech.features import CEILING_DB, FLOOR_DB

__all__ = ["change_speed", "in_a_room", "record", "through_opus", "vary_log_mel", "with_noise", "with_tone"]

Samples = NDArray[np.float32]

_OPUS_DELAY_SAMPLES: Final = 312
"""libopus looks 6.5 ms ahead; what comes out is late by that."""
_OPUS_RATES_BPS: Final = (12_000, 16_000, 24_000, 32_000)
_ECHOES: Final = 0.33
_STEPS_PER_DB: Final = 255.0 / (CEILING_DB - FLOOR_DB)


def change_speed(pcm: Samples, factor: float) -> Samples:
    """Play faster (factor > 1): pitch and formants rise with it, all times shrink by the factor."""
    return np.asarray(soxr.resample(pcm, MEDIA_CLOCK_HZ * factor, MEDIA_CLOCK_HZ, quality="MQ"), dtype=np.float32)


def in_a_room(pcm: Samples, rng: np.random.Generator) -> Samples:
    """Convolve with a synthetic room: a direct path, then noise that dies away in 0.1 to 0.6 s, duller as it dies."""
    rt60_s = float(rng.uniform(0.1, 0.6))
    length = round(rt60_s * MEDIA_CLOCK_HZ)
    times = np.arange(length) / MEDIA_CLOCK_HZ
    tail = rng.standard_normal(length) * 10.0 ** (-3.0 * times / rt60_s)
    dull = np.cumsum(tail)  # integrating weakens the highs by 6 dB per octave
    tail = 0.5 * tail / np.sqrt(np.mean(tail**2)) + 0.5 * (dull - dull.mean()) / (np.std(dull) + 1e-9) * (
        times < rt60_s
    )
    tail *= 10.0 ** (-3.0 * times / rt60_s)
    tail[: round(0.002 * MEDIA_CLOCK_HZ)] = 0.0
    direct_to_tail_db = float(rng.uniform(2.0, 18.0))
    tail *= 10.0 ** (-direct_to_tail_db / 20.0) / np.sqrt(np.sum(tail**2) + 1e-12)
    tail[0] = 1.0
    size = 1 << (len(pcm) + length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(pcm, size) * np.fft.rfft(tail, size), size)[: len(pcm)]
    return np.asarray(wet, dtype=np.float32)


def with_tone(pcm: Samples, rng: np.random.Generator) -> Samples:
    """A microphone's and a mouth's own tone: a smooth random curve of up to ±9 dB, a low cut, sometimes a high cut."""
    size = 1 << (len(pcm) - 1).bit_length()
    frequencies = np.fft.rfftfreq(size, 1.0 / MEDIA_CLOCK_HZ)
    knots_hz = np.array([50, 150, 400, 1000, 2200, 4500, 9000, 24000])
    curve_db = np.interp(np.log(frequencies + 20.0), np.log(knots_hz + 20.0), rng.uniform(-9.0, 9.0, len(knots_hz)))
    low_cut_hz = rng.uniform(20.0, 180.0)
    curve_db -= 10.0 * np.log10(1.0 + (low_cut_hz / np.maximum(frequencies, 1.0)) ** 4)
    if rng.random() < 0.35:
        high_cut_hz = rng.choice([3_400.0, 5_500.0, 7_200.0])
        curve_db -= 10.0 * np.log10(1.0 + (frequencies / high_cut_hz) ** 12)
    toned = np.fft.irfft(np.fft.rfft(pcm, size) * 10.0 ** (curve_db / 20.0), size)[: len(pcm)]
    return np.asarray(toned, dtype=np.float32)


def with_noise(pcm: Samples, rng: np.random.Generator) -> Samples:
    """Hiss or rumble 8 to 45 dB under the voice, sometimes with a 50 Hz hum."""
    noise = rng.standard_normal(len(pcm))
    if rng.random() < 0.6:
        spectrum = np.fft.rfft(noise)
        slope = rng.uniform(0.3, 1.1)
        spectrum *= (np.arange(len(spectrum)) + 20.0) ** -slope
        noise = np.fft.irfft(spectrum, len(pcm))
    if rng.random() < 0.15:
        noise += 2.0 * np.std(noise) * np.sin(2.0 * np.pi * 50.0 * np.arange(len(pcm)) / MEDIA_CLOCK_HZ)
    snr_db = float(rng.uniform(8.0, 45.0))
    noise *= np.sqrt(np.mean(pcm**2) / (np.mean(noise**2) + 1e-20)) * 10.0 ** (-snr_db / 20.0)
    return np.asarray(pcm + noise, dtype=np.float32)


def through_opus(pcm: Samples, rate_bps: int) -> Samples:
    """An Opus round trip, the codec's delay taken out again.

    Args:
        pcm: float32[n], 48 kHz. rate_bps: 6,000-64,000.
    """
    encoder, decoder = av.CodecContext.create("libopus", "w"), av.CodecContext.create("libopus", "r")
    assert isinstance(encoder, AudioCodecContext) and isinstance(decoder, AudioCodecContext)
    encoder.sample_rate = decoder.sample_rate = MEDIA_CLOCK_HZ
    encoder.layout = decoder.layout = "mono"
    encoder.format = "flt"
    encoder.bit_rate = rate_bps
    encoder.time_base = Fraction(1, MEDIA_CLOCK_HZ)
    encoder.options = {"application": "voip", "frame_duration": "20", "compression_level": "3"}
    count = -(-(len(pcm) + _OPUS_DELAY_SAMPLES) // TICK_SAMPLES)
    padded = np.zeros(count * TICK_SAMPLES, dtype=np.float32)
    padded[: len(pcm)] = pcm
    pieces = []
    for index, block in enumerate(padded.reshape(count, 1, TICK_SAMPLES)):
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(block), format="flt", layout="mono")
        frame.sample_rate = MEDIA_CLOCK_HZ
        frame.time_base = encoder.time_base
        frame.pts = index * TICK_SAMPLES
        for packet in encoder.encode(frame):
            pieces += [decoded.to_ndarray().reshape(-1) for decoded in decoder.decode(av.Packet(bytes(packet)))]
    heard = np.concatenate(pieces)
    if heard.dtype != np.float32:
        heard = heard.astype(np.float32) / np.float32(32768.0)
    return np.asarray(heard[_OPUS_DELAY_SAMPLES : _OPUS_DELAY_SAMPLES + len(pcm)], dtype=np.float32)


def record(pcm: Samples, rng: np.random.Generator) -> Samples:
    """One drawn recording situation; the same length and times as the clean sound."""
    heard = pcm
    if rng.random() < 0.85:
        heard = with_tone(heard, rng)
    if rng.random() < 0.6:
        heard = in_a_room(heard, rng)
    if rng.random() < 0.7:
        heard = with_noise(heard, rng)
    peak = float(np.abs(heard).max()) + 1e-9
    heard = heard * np.float32(10.0 ** (rng.uniform(-22.0, 0.0) / 20.0) / peak)
    if rng.random() < 0.05:
        heard = np.clip(heard * 4.0, -1.0, 1.0)  # somebody shouts into a cheap microphone
    if rng.random() < 0.6:
        heard = through_opus(heard, int(rng.choice(_OPUS_RATES_BPS)))
    return np.asarray(heard, dtype=np.float32)


def vary_log_mel(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one more recording situation, on log-mel frames, for every sequence of a batch.

    Args:
        frames: uint8[batch, time, 40].
    Returns: float32[batch, time, 40] in [0, 255].
    """
    batch = len(frames)
    bands = np.arange(LOG_MEL_BANDS, dtype=np.float32)
    # Another vocal tract: formants move by up to 20 %, which on the mel scale is nearly a stretch of the upper bands.
    stretch = rng.uniform(0.82, 1.2, (batch, 1)).astype(np.float32)
    source = np.clip(bands * stretch + rng.uniform(-1.2, 1.2, (batch, 1)).astype(np.float32), 0, LOG_MEL_BANDS - 1.001)
    low = source.astype(np.intp)
    part = (source - low)[:, None, :]
    values = frames.astype(np.float32)
    rows = np.arange(batch)[:, None]
    lower = values.transpose(0, 2, 1)[rows, low].transpose(0, 2, 1)
    upper = values.transpose(0, 2, 1)[rows, low + 1].transpose(0, 2, 1)
    values = lower + (upper - lower) * part
    # Formants as wide or as narrow as this speaker has them, and peaks that stand out more or less.
    around = np.concatenate([values[:, :, :1], values, values[:, :, -1:]], axis=2)
    around = 0.25 * around[:, :, :-2] + 0.5 * around[:, :, 1:-1] + 0.25 * around[:, :, 2:]
    values += (around - values) * rng.uniform(-0.8, 1.0, (batch, 1, 1)).astype(np.float32)
    middle = values.mean(axis=2, keepdims=True)
    values = middle + (values - middle) * rng.uniform(0.75, 1.2, (batch, 1, 1)).astype(np.float32)
    knots = np.linspace(0, LOG_MEL_BANDS - 1, 7)
    tone = np.stack([np.interp(bands, knots, draw) for draw in rng.normal(0.0, 4.0, (batch, 7))])
    level = rng.normal(0.0, 5.0, (batch, 1))
    values += ((tone + level) * _STEPS_PER_DB)[:, None, :].astype(np.float32)
    values = _echoed(values, rng)
    # A floor of noise of its own tone, 20 to 80 dB below full scale; most recordings are quiet.
    floor_db = np.where(rng.random((batch, 1)) < 0.4, rng.uniform(-80.0, -45.0, (batch, 1)), -100.0)
    slope = rng.uniform(-12.0, 4.0, (batch, 1)) * (bands / LOG_MEL_BANDS)
    floor = ((floor_db + slope - FLOOR_DB) * _STEPS_PER_DB)[:, None, :].astype(np.float32)
    flutter = rng.normal(0.0, 4.0, values.shape).astype(np.float32)
    values = np.maximum(values, floor + flutter)
    values += flutter * 0.4
    return np.asarray(np.clip(values, 0.0, 255.0), dtype=np.float32)


def _echoed(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A third of the sequences with a wall nearby: each frame once more, 20 to 140 ms later and 3 to 20 dB weaker."""
    heard = values.copy()
    for row in np.flatnonzero(rng.random(len(values)) < _ECHOES):
        delay, weaker = int(rng.integers(1, 8)), float(rng.uniform(3.0, 20.0)) * _STEPS_PER_DB
        for late, level in ((delay, weaker), (2 * delay, 2.0 * weaker)):
            if late < values.shape[1]:
                np.maximum(heard[row, late:], values[row, :-late] - np.float32(level), out=heard[row, late:])
    return heard

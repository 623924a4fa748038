"""A decoder that knows nothing plays the same samples with and without side data."""

from __future__ import annotations

import random
import wave
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from core.wire.opus_merge import can_merge, merge
from core.wire.opus_padding import duration_samples, embed, extract, silence

_HELLO = Path(__file__).parents[2] / "data" / "hello.wav"
_FIRST_BYTES = (b"", b"\x00", b"\x01", b"\xf4", b"\xf5\x03", b"\xff\xff", b"\x02\x03", b"\xfc", b"\x7f")


@lru_cache
def _speech(bit_rate: int, frame_ms: int, application: str, extra: tuple[tuple[str, str], ...]) -> tuple[bytes, ...]:
    """Two seconds of the recording and half a second of silence through libopus."""
    with wave.open(str(_HELLO)) as file:
        rate = file.getframerate()
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")[: 2 * rate]
    pcm = np.concatenate([pcm, np.zeros(rate // 2, dtype=np.int16)])
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", av.AudioFormat("s16")
    encoder.bit_rate = bit_rate
    encoder.options = {"application": application, "frame_duration": str(frame_ms), **dict(extra)}
    encoder.open()
    resampler = av.AudioResampler("s16", "mono", 48_000, frame_size=encoder.frame_size)
    frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    packets = [bytes(packet) for part in frames for packet in encoder.encode(part)]
    packets += [bytes(packet) for packet in encoder.encode(None)]
    return tuple(packet for packet in packets if packet)


def _decode(codec: str, packets: list[bytes]) -> NDArray[np.float32]:
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = 48_000, "mono"
    # OpusHead (RFC 7845 section 5.1): version 1, mono, no pre-skip.
    decoder.extradata = b"OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00\x00\x00\x00"
    sound = []
    for index, data in enumerate(packets):
        packet = av.Packet(data)
        packet.pts, packet.time_base = index * 960, Fraction(1, 48_000)
        sound += [part.to_ndarray().astype(np.float32) for part in decoder.decode(packet)]
    return np.concatenate(sound, axis=1)


def _assert_same(packets: list[bytes], seed: int, codecs: tuple[str, ...] = ("libopus", "opus")) -> None:
    source = random.Random(seed)
    padded = []
    for index, packet in enumerate(packets):
        side = _FIRST_BYTES[index % len(_FIRST_BYTES)] + source.randbytes(source.choice((0, 5, 20, 60, 255, 500)))
        padded.append(embed(packet, side))
        assert extract(padded[-1]) == side
    for codec in codecs:
        expected = _decode(codec, packets)
        assert expected.shape[1] >= 0.9 * sum(map(duration_samples, packets))
        np.testing.assert_array_equal(_decode(codec, padded), expected, err_msg=codec)


@pytest.mark.parametrize(
    ("bit_rate", "frame_ms", "application", "modes"),
    [
        (12_000, 20, "voip", {"silk", "hybrid"}),
        (24_000, 20, "voip", {"silk", "hybrid"}),
        (32_000, 20, "voip", {"hybrid"}),
        (16_000, 60, "voip", {"silk"}),
        (48_000, 20, "audio", {"hybrid", "celt"}),
        (96_000, 20, "audio", {"celt"}),
        (64_000, 10, "lowdelay", {"celt"}),
    ],
)
def test_speech_sounds_the_same(bit_rate: int, frame_ms: int, application: str, modes: set[str]) -> None:
    packets = list(_speech(bit_rate, frame_ms, application, ()))
    used = {"silk" if p[0] >> 3 < 12 else "hybrid" if p[0] >> 3 < 16 else "celt" for p in packets}
    assert used & modes
    assert np.abs(_decode("libopus", packets)).max() > 0.02
    _assert_same(packets, bit_rate)


def test_dtx_packets_sound_the_same() -> None:
    packets = list(_speech(16_000, 20, "voip", ()))
    voice = packets[:30]
    _assert_same([*voice, *([silence()] * 10), *voice], 1)
    # A lone TOC byte: FFmpeg's native decoder reads past such a frame and gives other samples on every run, with or
    # without padding, so there is nothing to compare for it.
    lone = [bytes((voice[-1][0] & 0xFC,))] * 10
    _assert_same([*voice, *lone, *voice, *([silence()] * 5), *voice], 2, ("libopus",))


def test_silence_is_silent_and_carries_anything() -> None:
    for frames in (1, 4, 6):
        packets = [silence(frames)] * 20
        for codec in ("libopus", "opus"):
            assert not _decode(codec, packets).any()
        _assert_same(packets, frames)


@pytest.mark.parametrize("code", [1, 2, 3])
def test_packets_of_several_frames_sound_the_same(code: int) -> None:
    packets = list(_speech(64_000, 20, "audio", (("vbr", "off"),)))
    assert {packet[0] & 3 for packet in packets} <= {0, 3}
    bodies = [(packet[0] & 0xFC, _body(packet)) for packet in packets]
    merged = []
    for (toc, first), (other, second) in zip(bodies[::2], bodies[1::2], strict=False):
        if toc != other or len(first) >= 252 or (code == 1 and len(first) != len(second)):
            continue
        if code == 3:
            merged.append(bytes((toc | 3, 0x82, len(first))) + first + second)
        else:
            merged.append(bytes((toc | code,)) + (b"" if code == 1 else bytes((len(first),))) + first + second)
    assert len(merged) > 20
    _assert_same(merged, code)


@pytest.mark.parametrize(("bit_rate", "application"), [(12_000, "voip"), (24_000, "voip"), (64_000, "audio")])
@pytest.mark.parametrize("count", [2, 3])
def test_merged_packets_sound_as_their_parts_do(bit_rate: int, application: str, count: int) -> None:
    packets = list(_speech(bit_rate, 20, application, ()))
    merged: list[bytes] = []
    group: list[bytes] = []
    for packet in packets:
        if group and (len(group) == count or not can_merge(group[0], packet)):
            merged.append(merge(group))
            group = []
        group.append(packet)
    merged.append(merge(group))
    assert len(merged) < len(packets) * 0.7
    # FFmpeg's native decoder treats some frames of such a packet differently, whoever made it; browsers have libopus.
    np.testing.assert_array_equal(_decode("libopus", merged), _decode("libopus", packets))


def _body(packet: bytes) -> bytes:
    from core.wire.opus_padding import strip

    plain = strip(packet)
    assert plain[0] & 3 == 0
    return plain[1:]

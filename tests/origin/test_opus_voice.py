from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.limits import TICK_SAMPLES, VOICE_BITRATE_BPS_MAX, VOICE_BITRATE_BPS_MIN
from loadtests.audio import read_audio
from origin.dialogue.opus_voice import MicrophoneDecoder, VoiceEncoder, VoiceEncoding
from tests.origin.libopus import OpusDecoder, has_fec

Samples = npt.NDArray[np.int16]

_SPEECH = Path(__file__).parents[1] / "data" / "moon.wav"


def _speech() -> Samples:
    return (read_audio(_SPEECH, length_s_max=10.0) * 32_767).astype(np.int16)


def _ticks(pcm: Samples) -> list[Samples]:
    return list(pcm[: pcm.size // TICK_SAMPLES * TICK_SAMPLES].reshape(-1, TICK_SAMPLES))


def _tone(ticks: int) -> Samples:
    return (8_000 * np.sin(2 * np.pi * 300 * np.arange(ticks * TICK_SAMPLES) / 48_000)).astype(np.int16)


def test_the_clock_is_that_of_the_decoded_sound() -> None:
    encoder, decoder = VoiceEncoder(VoiceEncoding(28_000)), OpusDecoder()
    pcm = np.zeros(TICK_SAMPLES * 10, np.int16)
    pcm[4_000:6_000] = _tone(3)[:2_000] * np.hanning(2_000)
    decoded = np.concatenate([decoder.decode(encoder.encode(tick)) for tick in _ticks(pcm)])
    lag = int(np.argmax(np.correlate(decoded, pcm.astype(np.float64), "full"))) - (len(pcm) - 1)
    assert encoder.delay_samples == 312
    assert abs(lag - encoder.delay_samples) <= 24  # half a millisecond


def _error_db(packets: list[bytes], *, fec: bool) -> float:
    """Every tenth packet is lost: what is heard in its place, against what it says, in dB of the latter."""
    reference, decoder = OpusDecoder(), OpusDecoder()
    error = signal = 0.0
    for index, packet in enumerate(packets[:-1]):
        meant = reference.decode(packet)
        if index % 10 != 5:
            decoder.decode(packet)
            continue
        heard = decoder.decode(packets[index + 1], fec=True) if fec else decoder.decode(None)
        error += float(np.sum((heard - meant) ** 2))
        signal += float(np.sum(meant**2))
    return float(10 * np.log10(error / signal))


@pytest.mark.parametrize(
    "encoding", [VoiceEncoding.nearest(24_000, 1), VoiceEncoding(24_000, 20), VoiceEncoding(18_000, 10)]
)
def test_with_loss_each_packet_tells_what_the_one_before_it_said(encoding: VoiceEncoding) -> None:
    encoder = VoiceEncoder(encoding)
    packets = [encoder.encode(tick) for tick in _ticks(_speech())]
    assert sum(map(has_fec, packets)) > 0.5 * len(packets)
    assert sum(map(len, packets)) * 8 * 50 / len(packets) < 1.1 * encoding.bitrate_bps
    repaired, concealed = _error_db(packets, fec=True), _error_db(packets, fec=False)
    print(f"{encoding}: error {repaired:.1f} dB with in-band FEC, {concealed:.1f} dB concealed")
    assert repaired < concealed - 6.0


@pytest.mark.parametrize("encoding", [VoiceEncoding(24_000, 0), VoiceEncoding(12_000, 20)])
def test_without_loss_or_without_room_there_is_no_redundancy(encoding: VoiceEncoding) -> None:
    encoder = VoiceEncoder(encoding)
    packets = [encoder.encode(tick) for tick in _ticks(_speech())]
    assert not any(map(has_fec, packets))
    assert sum(map(len, packets)) * 8 * 50 / len(packets) < 1.1 * encoding.bitrate_bps


def test_an_encoding_changes_in_a_pause_and_nobody_hears_it() -> None:
    # A pause in the middle: packets 0 to 19 sound, 20 to 29 are quiet, 30 on sound again.
    pcm = _tone(50)
    pcm[20 * TICK_SAMPLES : 30 * TICK_SAMPLES] = np.random.default_rng(1).normal(scale=8, size=10 * TICK_SAMPLES)
    steady, changing = VoiceEncoder(VoiceEncoding(48_000)), VoiceEncoder(VoiceEncoding(48_000))
    as_it_was, changed = [], []
    for index, tick in enumerate(_ticks(pcm)):
        if index == 10:
            changing.follow(VoiceEncoding(12_000))
        as_it_was.append(steady.encode(tick))
        changed.append(changing.encode(tick))
    assert changed[:22] == as_it_was[:22]  # not while it sounds, nor while it fades away
    assert changed[22:] != as_it_was[22:]
    assert sum(map(len, changed[30:])) < 0.5 * sum(map(len, as_it_was[30:]))
    decoder = OpusDecoder()
    heard = np.array([np.abs(decoder.decode(packet)).max() for packet in changed])
    assert heard[21:30].max() < 100.0  # no click
    assert heard[31:].min() > 4_000.0


def test_the_first_sound_after_a_change_is_where_it_was() -> None:
    pcm = np.zeros(20 * TICK_SAMPLES, np.int16)
    pcm[10 * TICK_SAMPLES :] = _tone(10)
    onsets = []
    for change in (False, True):
        encoder, decoder = VoiceEncoder(VoiceEncoding(24_000)), OpusDecoder()
        if change:
            encoder.follow(VoiceEncoding(18_000, 10))
        heard = np.concatenate([decoder.decode(encoder.encode(tick)) for tick in _ticks(pcm)])
        onsets.append(int(np.flatnonzero(np.abs(heard) > 2_000)[0]))
    assert abs(onsets[0] - onsets[1]) < 48  # one millisecond


@given(st.integers(-(1 << 60), 1 << 60), st.integers(-(1 << 60), 1 << 60))
def test_what_is_asked_for_becomes_possible(bitrate_bps: int, loss_percent: int) -> None:
    found = VoiceEncoding.nearest(bitrate_bps, loss_percent)
    assert VOICE_BITRATE_BPS_MIN <= found.bitrate_bps <= VOICE_BITRATE_BPS_MAX
    assert 0 <= found.loss_percent <= 100 and found.loss_percent % 10 == 0
    if 0 <= loss_percent <= 100:
        assert loss_percent <= found.loss_percent < loss_percent + 10
    VoiceEncoder(found).encode(np.zeros(TICK_SAMPLES, np.int16))


def test_a_microphone_packet_that_is_not_opus() -> None:
    decoder = MicrophoneDecoder(16_000)
    for packet in (b"", b"\xff" * 5, b"\x03"):
        with pytest.raises(ValueError, match=r".+"):
            decoder.decode(packet)
    good = VoiceEncoder(VoiceEncoding(28_000)).encode(np.zeros(TICK_SAMPLES, np.int16))
    total = sum(len(decoder.decode(good)) for _ in range(50))
    assert abs(total - 32_000) < 2_000

from __future__ import annotations

import av
import numpy as np
import pytest

from core.limits import TICK_SAMPLES
from origin.dialogue.opus_voice import MicrophoneDecoder, VoiceEncoder


def test_the_clock_is_that_of_the_decoded_sound() -> None:
    encoder = VoiceEncoder(28_000)
    pcm = np.zeros(TICK_SAMPLES * 10, np.int16)
    time_s = np.arange(2_000) / 48_000
    pcm[4_000:6_000] = (8_000 * np.sin(2 * np.pi * 300 * time_s) * np.hanning(2_000)).astype(np.int16)
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = 48_000, "mono"
    out: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    for start in range(0, len(pcm), TICK_SAMPLES):
        packet = av.Packet(encoder.encode(pcm[start : start + TICK_SAMPLES]))
        out += [frame.to_ndarray().reshape(-1).astype(np.float64) for frame in decoder.decode(packet)]
    decoded = np.concatenate(out)
    lag = int(np.argmax(np.correlate(decoded, pcm.astype(np.float64), "full"))) - (len(pcm) - 1)
    assert encoder.delay_samples == 312
    assert abs(lag - encoder.delay_samples) <= 24  # half a millisecond


def test_a_microphone_packet_that_is_not_opus() -> None:
    decoder = MicrophoneDecoder(16_000)
    for packet in (b"", b"\xff" * 5, b"\x03"):
        with pytest.raises(ValueError, match=r".+"):
            decoder.decode(packet)
    good = VoiceEncoder(28_000).encode(np.zeros(TICK_SAMPLES, np.int16))
    total = sum(len(decoder.decode(good)) for _ in range(50))
    assert abs(total - 32_000) < 2_000

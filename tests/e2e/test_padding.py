"""A browser's own Opus decoder does not care what lies in the padding."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser

from core.limits import TICK_SAMPLES
from core.session.state import FaceState
from core.wire.access_unit import AccessUnit, AccessUnitFlags, encode_access_unit
from loadtests.audio import VoiceEncoder, read_audio
from loadtests.stack import Stack
from tests.e2e.browser import visit

pytestmark = pytest.mark.asyncio(loop_scope="package")

DATA = Path(__file__).parents[1] / "data"

_COMPARE = """
async ([plain, padded]) => {
  const decode = async (packets) => {
    const pcm = [];
    let failure = null;
    const decoder = new AudioDecoder({
      output(data) {
        const samples = new Float32Array(data.numberOfFrames);
        data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
        pcm.push(...samples);
        data.close();
      },
      error(error) { failure = String(error); },
    });
    decoder.configure({ codec: "opus", sampleRate: 48000, numberOfChannels: 1 });
    packets.forEach((hex, index) => {
      const data = Uint8Array.from(hex.match(/../g), (byte) => parseInt(byte, 16));
      decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: index * 20000, data }));
    });
    await decoder.flush();
    if (failure) throw new Error(failure);
    return pcm;
  };
  const [left, right] = [await decode(plain), await decode(padded)];
  let different = Math.abs(left.length - right.length);
  for (let index = 0; index < Math.min(left.length, right.length); index += 1) {
    if (left[index] !== right[index]) different += 1;
  }
  return { samples: left.length, different, energy: left.reduce((sum, sample) => sum + sample * sample, 0) };
}
"""


@pytest.mark.parametrize("side_bytes", [0, 1, 30, 300, 1_000])
async def test_webcodecs_decodes_with_and_without_padding_bit_identically(
    browser: Browser, stack: Stack, side_bytes: int
) -> None:
    speech = read_audio(DATA / "hello.wav", length_s_max=10.0)
    encoder = VoiceEncoder()
    plain = [
        encoder.encode(speech[start : start + TICK_SAMPLES])
        for start in range(0, speech.size - TICK_SAMPLES, TICK_SAMPLES)
    ]
    padded = [
        encode_access_unit(
            AccessUnit(
                epoch=1,
                sequence_number=index,
                flags=AccessUnitFlags.SPEECH,
                state=FaceState.SPEAKING,
                frame=bytes((index * 7 + k * 31) & 0xFF for k in range(side_bytes)),
            ),
            packet,
        )
        for index, packet in enumerate(plain)
    ]
    assert all(len(b) > len(a) for a, b in zip(plain, padded, strict=True))
    async with visit(browser, stack.pop_url) as page:
        found = await page.page.evaluate(_COMPARE, [[p.hex() for p in plain], [p.hex() for p in padded]])
    assert found["samples"] >= len(plain) * TICK_SAMPLES - 1_000
    assert found["energy"] > 1.0
    assert found["different"] == 0

"""Software that knows nothing of us: another WebRTC stack hears the voice, a media server in the middle keeps the face.

One conversation for all: a client built on werift, with a plain ticket, asks a question and passes every RTP packet on
to Janus; a Chromium with our worker and nothing else of ours watches there. Beside them a viewer of our own asks the
same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray
from playwright.async_api import Browser

from core.avatar.frame import AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX, BLENDSHAPES
from core.limits import MEDIA_CLOCK_HZ, TICK_SAMPLES
from core.wire.access_unit import AccessUnitFlags, decode_access_unit
from core.wire.frame_codec import FrameDecoder
from core.wire.opus_padding import strip
from loadtests.audio import VoiceDecoder
from loadtests.stack import Stack
from loadtests.viewer import Viewer
from tests.e2e.browser import Sound, visit
from tests.e2e.chromium import STATIC, unavailable
from tests.e2e.janus import Janus, find_janus, run_janus
from tests.e2e.recording import AUDIBLE_RMS
from tests.e2e.strangers import plain_ticket, run_program

pytestmark = pytest.mark.asyncio(loop_scope="package")

_QUESTION = "How much is a ticket?"
"""Has one answer only, so that two sessions hear the same."""
_LISTEN_S = 7.0
_STRETCH_S = 1.0
_WATCH = """
async ([offer, workerUrl]) => {
  const peer = new RTCPeerConnection({ encodedInsertableStreams: true });
  const worker = new Worker(workerUrl, { type: "module" });
  window.units = [];
  worker.onmessage = ({ data }) => {
    if (data.type !== "unit") return;
    window.units.push([data.rtpTimestamp, data.sequenceNumber, data.values && Array.from(data.values)]);
  };
  peer.ontrack = ({ receiver, track }) => {
    receiver.transform = new RTCRtpScriptTransform(worker, { side: "receive" });
    window.element = new Audio();
    element.srcObject = new MediaStream([track]);
    void element.play();
    measure.listen("voice", track);
  };
  await peer.setRemoteDescription({ type: "offer", sdp: offer });
  await peer.setLocalDescription();
  while (peer.iceGatheringState !== "complete") await new Promise((gathered) => setTimeout(gathered, 20));
  window.peer = peer;
  return peer.localDescription.sdp;
}
"""


_Piece = tuple[int, NDArray[np.float32]]


@dataclass(slots=True)
class Behind:
    """What a browser behind Janus got.

    Attributes:
        units: (RTP timestamp, access unit's sequence number, 52 weights and joints or None) as our worker reports them.
        voice: the sound, as the browser played it.
    """

    units: list[tuple[int, int, list[float] | None]]
    voice: Sound


@dataclass(slots=True)
class Told:
    """What everybody got.

    Attributes:
        packets: (sequence number, timestamp, payload) as the stranger got them, in order of sequence.
        control: RTVI messages it got.
        answer: the POP's SDP.
        own: (media time in ticks, float32[n], 48 kHz) of what a viewer of ours heard of the same answer.
        behind: None where there is no Janus.
    """

    packets: list[tuple[int, int, bytes]]
    control: list[dict[str, Any]]
    answer: str
    own: list[_Piece] = field(repr=False)
    behind: Behind | None


@contextlib.asynccontextmanager
async def _janus() -> AsyncIterator[Janus | None]:
    executable = find_janus()
    if executable is None:
        yield None
        return
    async with run_janus(executable) as janus:
        yield janus


async def _own_viewer(origin_url: str) -> list[_Piece]:
    async with Viewer.connect(origin=origin_url, microphone=False) as viewer:
        viewer.send_text(_QUESTION)
        await asyncio.sleep(_LISTEN_S)
        return [(block.media_time, block.source) for block in viewer.recording.heard if block.voice]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def told(browser: Browser, stack: Stack) -> Told:
    """The question, the answer, and who heard it."""
    ticket = await plain_ticket(stack.origin_url)
    async with _janus() as janus, visit(browser, stack.pop_url) as page:
        if janus is not None:
            watching = await janus.watching()
            worker = next((STATIC / "assets").glob("encodedWorker-*.js")).name
            await watching.start(await page.page.evaluate(_WATCH, [await watching.offer(), f"/assets/{worker}"]))
            await page.until("() => window.peer.connectionState === 'connected'")
        arguments = [stack.pop_url, ticket["session_id"], _QUESTION, str(_LISTEN_S)]
        arguments += [str(janus.rtp_port)] if janus is not None else []
        lines, own = await asyncio.gather(
            run_program("listen.mjs", *arguments, secret=ticket["pops"][0]["token"]), _own_viewer(stack.origin_url)
        )
        behind = None
        if janus is not None:
            units = [tuple(unit) for unit in await page.page.evaluate("window.units")]
            behind = Behind(units=units, voice=await page.heard("voice"))
    packets = [(int(n), int(t), bytes.fromhex(p)) for line in lines if "rtp" in line for n, t, p in [line["rtp"]]]
    first = packets[0][0]
    return Told(
        packets=sorted(packets, key=lambda packet: (packet[0] - first) & 0xFFFF),
        control=[json.loads(line["control"]) for line in lines if "control" in line],
        answer=next(line["answer"] for line in lines if "answer" in line),
        own=own,
        behind=behind,
    )


def _decode(decoder: str, packets: list[bytes]) -> NDArray[np.float32]:
    """PCM of consecutive Opus packets, float32[n], 48 kHz mono, by one of FFmpeg's decoders."""
    codec = av.CodecContext.create(decoder, "r")
    assert isinstance(codec, AudioCodecContext)
    codec.sample_rate, codec.layout = MEDIA_CLOCK_HZ, "mono"
    resampler = av.AudioResampler(format="flt", layout="mono", rate=MEDIA_CLOCK_HZ)
    pieces = [
        part.to_ndarray().reshape(-1)
        for packet in packets
        for frame in codec.decode(av.Packet(packet))
        for part in resampler.resample(frame)
    ]
    return np.concatenate(pieces)


def _voice(told: Told) -> list[tuple[int, bytes]]:
    """(Timestamp, payload) of the packets in which the character speaks."""
    units = [(decode_access_unit(payload), timestamp, payload) for _, timestamp, payload in told.packets]
    return [(at, payload) for unit, at, payload in units if unit is not None and AccessUnitFlags.SPEECH in unit.flags]


def _loudness(pieces: list[_Piece]) -> NDArray[np.float64]:
    """Loudness of every 20 ms from the first piece on, each at its own media time: RMS, 0 where there is none."""
    begin = pieces[0][0]
    sound = np.zeros(pieces[-1][0] - begin + pieces[-1][1].size)
    for at, samples in pieces:
        sound[at - begin : at - begin + samples.size] = samples
    ticks = sound.size // TICK_SAMPLES
    return np.asarray(np.sqrt((sound[: ticks * TICK_SAMPLES].reshape(ticks, TICK_SAMPLES) ** 2).mean(axis=1)))


def _likeness(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Of every stretch of the right curve its best correlation anywhere in the left one, in the median.

    Not of waveforms, as a voice is made anew each time, and not of the whole: pauses between clauses are as they come.
    """
    size = round(_STRETCH_S * MEDIA_CLOCK_HZ) // TICK_SAMPLES
    candidates = np.lib.stride_tricks.sliding_window_view(left, size)
    centred = candidates - candidates.mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True) + 1e-9
    found: list[float] = []
    for begin in range(0, right.size - size, size):
        stretch = right[begin : begin + size] - right[begin : begin + size].mean()
        found.append(float((centred @ (stretch / (np.linalg.norm(stretch) + 1e-9))).max()))
    return float(np.median(found))


async def test_another_stack_gets_every_packet_and_hears_what_our_viewer_hears(told: Told) -> None:
    first = told.packets[0][0]
    assert [(number - first) & 0xFFFF for number, _, _ in told.packets] == list(range(len(told.packets)))
    decoder = VoiceDecoder()
    heard = [(at, decoder.decode(payload)) for at, payload in _voice(told)]
    loudness = _loudness([(at, pcm) for at, pcm in heard if pcm is not None])
    own = _loudness(told.own)
    likeness, of_another = _likeness(loudness, own), _likeness(loudness[::-1], own)
    loud_s = float((loudness > AUDIBLE_RMS).sum()) * TICK_SAMPLES / MEDIA_CLOCK_HZ
    print(
        f"{len(told.packets)} packets, {loud_s:.2f} s loud; likeness to ours {likeness:.3f}, nonsense {of_another:.3f}"
    )
    assert all(pcm is not None for _, pcm in heard)
    assert loud_s > 2.0
    assert float(loudness.max()) > 0.05
    assert likeness > 0.9 > of_another + 0.05


async def test_it_is_told_what_is_said_in_words_of_rtvi(told: Told) -> None:
    said = [message["data"]["text"] for message in told.control if message["type"] == "bot-transcription"]
    assert "eight dollars" in " ".join(said)
    kinds = [message["type"] for message in told.control]
    assert kinds.index("bot-started-speaking") < kinds.index("bot-stopped-speaking")


@pytest.mark.parametrize("decoder", ["libopus", "opus"])
async def test_the_decoders_of_others_do_not_hear_the_padding(told: Told, decoder: str) -> None:
    voice = [payload for _, payload in _voice(told)]
    plain = [strip(payload) for payload in voice]
    assert all(len(bare) < len(payload) for bare, payload in zip(plain, voice, strict=True))
    assert np.array_equal(_decode(decoder, plain), _decode(decoder, voice))


async def test_the_answer_asks_nothing_special_of_a_stranger(told: Told) -> None:
    assert "opus/48000/2" in told.answer and "a=fmtp:" in told.answer
    assert all(word not in told.answer.lower() for word in ("visavis", "motion"))


async def test_a_face_behind_janus_moves_as_it_was_sent(told: Told) -> None:
    if told.behind is None:
        unavailable("no Janus found: `make test` installs it from Debian")
    frames, sent = FrameDecoder(), dict[int, AnimationFrame]()
    for _, _, payload in told.packets:
        unit = decode_access_unit(payload)
        assert unit is not None
        frame = frames.decode(unit.frame, unit.sequence_number)
        assert isinstance(frame, AnimationFrame)
        sent[unit.sequence_number] = frame
    came = {number: values for _, number, values in told.behind.units}
    print(f"behind Janus: {len(came)} of {len(sent)} units")
    assert set(came) >= set(sent)
    for number, frame in sent.items():
        values = came[number]
        assert values is not None, "every frame can be decoded without a word back to the POP"
        assert np.allclose(values[: len(BLENDSHAPES)], frame.weights, atol=1e-6)
    jaw = [values[BLENDSHAPE_INDEX["jawOpen"]] for values in came.values() if values is not None]
    assert max(jaw) - min(jaw) > 0.1


async def test_the_voice_behind_janus_is_heard(told: Told) -> None:
    if told.behind is None:
        unavailable("no Janus found: `make test` installs it from Debian")
    levels = told.behind.voice.levels
    assert float((levels > AUDIBLE_RMS).sum()) * 0.005 > 1.0
    assert float(levels.max()) > 0.05

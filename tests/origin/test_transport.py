"""The Pipecat transport against a real origin: what a pipeline pushes is spoken, what a viewer does comes out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseStartFrame,
    LLMMessagesAppendFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.text.base_text_aggregator import TextType
from pipecat.workers.runner import WorkerRunner

from core.limits import TICK_SAMPLES
from core.speech.messages import (
    BargeIn,
    Closed,
    MicrophonePacket,
    Mood,
    Opened,
    PhonemeSpan,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    Transcript,
    TurnState,
    UserSpeech,
    UserText,
    WordSpan,
)
from origin.agent.client import AgentError
from origin.dialogue.character import Feeling
from origin.dialogue.frames import ClauseTimesFrame, MoodFrame
from origin.dialogue.opus_voice import VoiceEncoder, VoiceEncoding
from origin.dialogue.services import Shared
from origin.transport import VisavisParams, VisavisTransport
from tests.origin.agent import Origin, Talk, running, tone

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Brain(FrameProcessor):
    """The rest of the bot: remembers what comes, and says what the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.came.append(frame)
        await self.push_frame(frame, direction)

    async def wait(self, kind: type[Frame], count: int = 1) -> Frame:
        async with asyncio.timeout(8.0):
            while len(found := [frame for frame in self.came if isinstance(frame, kind)]) < count:
                await asyncio.sleep(0.005)
        return found[count - 1]

    async def say(self, pcm: bytes, rate_hz: int, *before: Frame) -> None:
        await self.push_frame(TTSStartedFrame())
        for frame in before:
            await self.push_frame(frame)
        for at in range(0, len(pcm), 3_200):
            await self.push_frame(TTSAudioRawFrame(pcm[at : at + 3_200], rate_hz, 1))
        await self.push_frame(TTSStoppedFrame())


@asynccontextmanager
async def bot(origin: Origin, **params: Any) -> AsyncIterator[tuple[Talk, Brain, list[str]]]:
    transport = VisavisTransport(origin.url, params=VisavisParams(**params))
    viewers: list[str] = []

    async def connected(_: object, client: str) -> None:
        viewers.append(f"+{client}")

    async def disconnected(_: object, client: str) -> None:
        viewers.append(f"-{client}")

    transport.add_event_handler("on_client_connected", connected)
    transport.add_event_handler("on_client_disconnected", disconnected)
    ticket = await transport.open()
    assert "agent" not in ticket
    talk = Talk(origin, ticket)
    await talk.listen()
    brain = Brain()
    worker = PipelineWorker(Pipeline([transport.input(), brain, transport.output()]), idle_timeout_secs=None)
    runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False)
    await runner.add_workers(worker)
    running_bot = asyncio.create_task(runner.run())
    async with asyncio.timeout(8.0):
        while talk.session._link is None:
            await asyncio.sleep(0.005)
    try:
        yield talk, brain, viewers
    finally:
        await worker.cancel()
        await running_bot


async def test_a_voice_of_any_rate_is_spoken_with_what_is_known_of_it(shared: Shared) -> None:
    async with running(shared) as origin, bot(origin) as (talk, brain, viewers):
        await talk.up(Opened(epoch=1, transport="webtransport"))
        clause = ClauseTimesFrame(
            text="hi you",
            words=(WordSpan("hi", 0, 9_600), WordSpan("you", 9_600, 19_200)),
            phonemes=(PhonemeSpan("h", 0, 4_800), PhonemeSpan("aɪ", 4_800, 9_600, 2)),
        )
        await brain.push_frame(LLMFullResponseStartFrame())
        await brain.push_frame(MoodFrame(feeling=Feeling(label="happy", valence=0.5, arousal=0.1)))
        await brain.say(tone(0.6, 16_000), 16_000, clause)
        end = await talk.wait(SpeechEnd)
        assert 31 <= end.packets <= 34, "Pipecat fills its last chunk with silence"
        spans = [span for packet in talk.all(SpeechPacket) for span in packet.phonemes]
        assert [span.symbol for span in spans] == ["h", "aɪ"] and spans[1].start == 4_800 + 312
        assert [word.text for text in talk.all(ReplyText) for word in text.words] == ["hi", "you"]
        assert talk.all(Mood) == [Mood(label="happy", valence=0.5, arousal=0.1)]
        assert talk.all(TurnState)[0].state == "thinking"
        await talk.up(Closed(reason="viewer-left"))
        async with asyncio.timeout(5.0):
            while len(viewers) < 2:
                await asyncio.sleep(0.01)
        assert viewers == ["+webtransport", "-closed"]


async def test_words_that_a_voice_times_itself_lie_where_it_says(shared: Shared) -> None:
    async with running(shared) as origin, bot(origin) as (talk, brain, _):
        await brain.push_frame(TTSStartedFrame())
        await brain.push_frame(TTSAudioRawFrame(tone(1.5), 24_000, 1))
        base_ns = brain.get_clock().get_time()
        for text, at_s in (("hello", 0.6), ("world", 1.0)):
            word = TTSTextFrame(text, TextType.WORD)
            word.pts = base_ns + round(at_s * 1e9)
            await brain.push_frame(word)
        await brain.push_frame(TTSStoppedFrame())
        await talk.wait(SpeechEnd)
        words = [word for text in talk.all(ReplyText) for word in text.words]
        assert [word.text for word in words] == ["hello", "world"]
        assert words[0].start == pytest.approx(0.6 * 48_000, abs=4_800) and words[0].end == words[1].start
        spans = [span for packet in talk.all(SpeechPacket) for span in packet.phonemes if span.symbol]
        assert spans and spans[0].start == words[0].start


async def test_the_viewer_is_heard_reads_and_interrupts(shared: Shared) -> None:
    async with running(shared) as origin, bot(origin, edge_vad=True) as (talk, brain, _):
        await talk.up(Opened(epoch=1, transport="webrtc"))
        await talk.up(UserSpeech(speaking=True, timestamp=0))
        encoder = VoiceEncoder(VoiceEncoding(32_000))
        pcm = np.frombuffer(tone(0.2, 48_000), np.int16)
        for at in range(0, len(pcm), TICK_SAMPLES):
            await talk.up(MicrophonePacket(opus=encoder.encode(pcm[at : at + TICK_SAMPLES]), timestamp=at))
        await talk.up(UserSpeech(speaking=False, timestamp=0))
        await brain.wait(VADUserStartedSpeakingFrame)
        await brain.wait(VADUserStoppedSpeakingFrame)
        await brain.wait(InputAudioRawFrame, count=30)  # ten of the microphone, then silence
        sounds = [frame.audio for frame in brain.came if isinstance(frame, InputAudioRawFrame)]
        assert not any(sounds[-1]) and np.abs(np.frombuffer(b"".join(sounds), "<i2")).max() > 4_000
        await talk.up(UserText(text="hello"))
        typed = await brain.wait(LLMMessagesAppendFrame)
        assert isinstance(typed, LLMMessagesAppendFrame)
        assert typed.messages == [{"role": "user", "content": "hello"}] and typed.run_llm
        assert talk.all(TurnState)[-1].state == "thinking", "nothing was said that must be cut"
        await brain.say(tone(5.0), 24_000)
        await talk.wait(SpeechPacket, count=10)
        await talk.up(BargeIn(utterance_id=1, heard_until=4_800))
        await brain.wait(InterruptionFrame, count=2)
        await talk.wait(SpeechCancel)
        await brain.say(tone(0.2), 24_000)
        assert (await talk.wait(SpeechEnd)).utterance_id == 2


async def test_the_bot_interrupts_itself(shared: Shared) -> None:
    async with running(shared) as origin, bot(origin) as (talk, brain, _):
        await brain.say(tone(5.0), 24_000)
        await talk.wait(SpeechPacket, count=10)
        await brain.broadcast_interruption()  # type: ignore[no-untyped-call]
        assert (await talk.wait(SpeechCancel)).utterance_id == 1
        await brain.say(tone(0.2), 24_000)
        assert (await talk.wait(SpeechEnd)).utterance_id == 2


async def test_a_connection_that_breaks_in_mid_sentence_is_made_again(shared: Shared) -> None:
    async with running(shared) as origin, bot(origin) as (talk, brain, _):
        await brain.say(tone(3.0), 24_000)
        await talk.wait(SpeechPacket, count=10)
        link = talk.session._link
        assert link is not None
        link.close(4400, "test")
        await talk.wait(SpeechEnd)  # what came of it
        async with asyncio.timeout(8.0):
            while talk.session._link in (None, link):
                await asyncio.sleep(0.01)
        await talk.wait(SpeechEnd, count=2)
        assert {packet.utterance_id for packet in talk.all(SpeechPacket)} == {1, 2}, "the rest of the sentence follows"


async def test_a_bot_that_ends_says_its_last_words_and_takes_the_session_with_it(shared: Shared) -> None:
    async with running(shared) as origin, bot(origin) as (talk, brain, _):
        session = talk.session
        await brain.say(tone(0.8), 24_000)
        await brain.push_frame(EndFrame())
        assert (await talk.wait(SpeechEnd)).packets >= 41
        await asyncio.wait_for(session.closed.wait(), 8.0)
        assert session.reason == "agent-left"
        assert len(talk.all(SpeechEnd)) == 1, "the silence at the end is no utterance"


async def test_what_the_bot_understood_is_a_caption(shared: Shared) -> None:
    from pipecat.frames.frames import OutputTransportMessageUrgentFrame

    async with running(shared) as origin, bot(origin) as (talk, brain, _):
        message = {"label": "rtvi-ai", "type": "user-transcription", "data": {"text": "hello", "final": True}}
        await brain.push_frame(OutputTransportMessageUrgentFrame(message=message))
        assert (await talk.wait(Transcript)).text == "hello"


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://127.0.0.1:9", "cannot be reached"), ("nonsense", "cannot be reached"), ("{origin}/nowhere", "refused")],
)
async def test_an_origin_that_is_none_is_one_clear_sentence(shared: Shared, url: str, said: str) -> None:
    async with running(shared) as origin:
        with pytest.raises(AgentError, match=said):
            await VisavisTransport(url.format(origin=origin.url)).open()

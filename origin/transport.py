"""A Pipecat transport that gives a bot a face: `VisavisTransport` in the place of the bot's own transport.

The viewer's microphone and typed text come in, the bot's voice goes out; the origin and a POP make a moving face of it.
`docs/agents.md` says more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from pipecat.frames.frames import (
    AggregatedTextFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseStartFrame,
    LLMMessagesAppendFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import BaseTransport, TransportParams

from core.limits import AGENT_WORDS_MAX, MEDIA_CLOCK_HZ
from core.speech.agent_messages import (
    AgentEvent,
    AgentMood,
    AgentState,
    AgentTranscript,
    Hello,
    Interrupt,
    Interrupted,
    Phonemes,
    SpeakingStarted,
    SpeakingStopped,
    Text,
    TimedPhoneme,
    TimedWord,
    TypedText,
    UtteranceBegin,
    UtteranceEnd,
    ViewerClosed,
    ViewerOpened,
    Welcome,
    Words,
)
from origin.agent.client import AgentClient
from origin.dialogue.frames import ClauseTimesFrame, MoodFrame

__all__ = ["VisavisParams", "VisavisTransport"]

_MICROPHONE_HZ: Final = 16_000
_RATES_HZ: Final = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
_AHEAD_S: Final = 0.5
"""How far the bot's sound runs ahead of real time: that rides out a busy machine, and an interruption drops it."""
_LATE_S: Final = 1.0
"""So long after its last sound was due the bot may still be heard."""
_WORD_S_MIN: Final = 0.1
"""How long the last word of a voice lasts that tells only when words begin, at least."""
_GAP_S: Final = 0.1
_FILL_S_MAX: Final = 3.0
_SILENCE: Final = bytes(_MICROPHONE_HZ // 50 * 2)


class VisavisParams(TransportParams):
    """See TransportParams.

    Attributes:
        language: of what the bot says, as espeak-ng names it; for phonemes where the voice gives words only.
        edge_vad: the POP's ear tells when the viewer speaks, as VAD frames; for bots that have no voice detector.
    """

    audio_in_enabled: bool = True
    audio_out_enabled: bool = True
    language: str = "en-us"
    edge_vad: bool = False


class VisavisTransport(BaseTransport):
    """One viewer's session; a bot makes one for each.

    Event handlers: `on_client_connected(transport, client)` and `on_client_disconnected(transport, client)`, with the
    name of the viewer's transport and the reason of its end.

    Args:
        origin: base URL of the origin.
        params: audio in and out are on by default.
        character: whose face; None: the origin's default.
        api_key: for origins that ask for one.
    """

    def __init__(
        self,
        origin: str = "http://127.0.0.1:8081",
        *,
        params: VisavisParams | None = None,
        character: str | None = None,
        api_key: str | None = None,
    ) -> None:
        super().__init__()
        self._params = params or VisavisParams()
        rate = self._params.audio_out_sample_rate
        self._params.audio_out_sample_rate = rate if rate in _RATES_HZ else 24_000
        self._params.audio_out_channels = 1
        self._params.audio_in_sample_rate = _MICROPHONE_HZ
        hello = Hello(
            token="",
            sample_rate=self._params.audio_out_sample_rate,  # type: ignore[arg-type]  # one of _RATES_HZ
            language=self._params.language,
            microphone="pcm_s16le" if self._params.audio_in_enabled else "none",
        )
        self._client = AgentClient(
            origin,
            hello,
            on_event=self._on_event,
            on_sound=self._on_sound,
            on_lost=self._on_lost,
            character=character,
            api_key=api_key,
        )
        self._input = _Input(self._client, self._params)
        self._output = _Output(self._client, self._params)
        self._connected = False
        self._register_event_handler("on_client_connected")
        self._register_event_handler("on_client_disconnected")

    async def open(self) -> dict[str, Any]:
        """Open the session. Returns: the ticket: what a page of the viewer asks `POST /v1/sessions` for.

        Raises: origin.agent.client.AgentError: the origin cannot be reached or refuses.
        """
        return await self._client.open()

    def input(self) -> BaseInputTransport:
        """See BaseTransport."""
        return self._input

    def output(self) -> BaseOutputTransport:
        """See BaseTransport."""
        return self._output

    async def _on_event(self, event: AgentEvent) -> None:
        match event:
            case Welcome():
                self._output.begin_again()
                if event.viewer:
                    await self._viewer_came("")
            case ViewerOpened():
                await self._viewer_came(event.transport)
            case ViewerClosed():
                await self._viewer_went(event.reason)
            case Interrupted():
                self._output.cut_by_viewer()
                await self._input.interrupted()
            case TypedText():
                await self._input.typed(event.text)
            case SpeakingStarted() | SpeakingStopped():
                await self._input.noticed(isinstance(event, SpeakingStarted))
            case _:
                pass

    async def _viewer_came(self, transport: str) -> None:
        if not self._connected:
            self._connected = True
            await self._call_event_handler("on_client_connected", transport)

    async def _viewer_went(self, reason: str) -> None:
        if self._connected:
            self._connected = False
            await self._call_event_handler("on_client_disconnected", reason)

    async def _on_sound(self, data: bytes) -> None:
        await self._input.heard(data)

    async def _on_lost(self) -> None:
        await self._viewer_went("origin-lost")


class _Input(BaseInputTransport):
    """The viewer: microphone, typed text, interruptions."""

    def __init__(self, client: AgentClient, params: VisavisParams) -> None:
        super().__init__(params)
        self._client = client
        self._edge_vad = params.edge_vad
        self._last_heard = 0.0
        self._filler: asyncio.Task[None] | None = None

    async def start(self, frame: StartFrame) -> None:
        """See BaseInputTransport."""
        await super().start(frame)
        await self.set_transport_ready(frame)
        await self._client.connect()

    async def stop(self, frame: EndFrame) -> None:
        """See BaseInputTransport."""
        await self._stop_filler()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        """See BaseInputTransport."""
        await self._stop_filler()
        await super().cancel(frame)
        await self._client.aclose()

    async def heard(self, pcm: bytes) -> None:
        """A piece of the microphone; it sends nothing while nobody speaks, but voice detectors must hear that."""
        self._last_heard = asyncio.get_running_loop().time()
        await self.push_audio_frame(InputAudioRawFrame(pcm, _MICROPHONE_HZ, 1))
        if self._filler is None:
            self._filler = self.create_task(self._fill(), name="silence")

    async def interrupted(self) -> None:
        """The POP has silenced the bot."""
        await self.broadcast_interruption()

    async def typed(self, text: str) -> None:
        """The viewer has typed something: what RTVI's `send-text` is for other transports."""
        await self.broadcast_interruption()
        await self.push_frame(LLMMessagesAppendFrame(messages=[{"role": "user", "content": text}], run_llm=True))

    async def noticed(self, speaking: bool) -> None:
        """The POP's ear."""
        if self._edge_vad:
            await self.push_frame(VADUserStartedSpeakingFrame() if speaking else VADUserStoppedSpeakingFrame())

    async def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while (silent_s := loop.time() - self._last_heard) < _FILL_S_MAX:
                if silent_s < _GAP_S:
                    await asyncio.sleep(_GAP_S - silent_s)
                    continue
                await self.push_audio_frame(InputAudioRawFrame(_SILENCE, _MICROPHONE_HZ, 1))
                await asyncio.sleep(0.02)
        finally:
            self._filler = None

    async def _stop_filler(self) -> None:
        if self._filler is not None:
            await self.cancel_task(self._filler)


class _Output(BaseOutputTransport):
    """The bot's voice: an utterance begins with its first sound and ends when Pipecat says that the bot has stopped."""

    def __init__(self, client: AgentClient, params: VisavisParams) -> None:
        super().__init__(params)
        self._client = client
        self._open = False
        self._told = False
        self._announced = ""
        self._due = 0.0
        self._cut = False
        # Of the audio since the last stop, in the order in which it comes in, before it waits in Pipecat's queues:
        self._came_s = 0.0
        self._clause_at: dict[int, float] = {}
        self._base_ns = 0
        self._coming, self._going = 0, 0
        self._word: tuple[str, float] | None = None
        self._words: deque[tuple[int, TimedWord]] = deque(maxlen=AGENT_WORDS_MAX)

    async def start(self, frame: StartFrame) -> None:
        """See BaseOutputTransport."""
        await super().start(frame)
        await self._client.connect()
        await self.set_transport_ready(frame)

    async def stop(self, frame: EndFrame) -> None:
        """See BaseOutputTransport."""
        await super().stop(frame)
        await self._end()
        await self._client.aclose()

    async def cancel(self, frame: CancelFrame) -> None:
        """See BaseOutputTransport."""
        await super().cancel(frame)
        await self._client.aclose()

    def cut_by_viewer(self) -> None:
        """The origin knows of the next interruption already."""
        self._cut = True

    def begin_again(self) -> None:
        """The connection is another one: nothing that was begun on the former goes on."""
        self._open = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See BaseOutputTransport."""
        if direction is FrameDirection.DOWNSTREAM:
            match frame:
                case OutputAudioRawFrame():
                    if not self._came_s:
                        self._base_ns = self.get_clock().get_time()
                        self._coming += 1
                    self._came_s += len(frame.audio) / (2 * frame.num_channels * frame.sample_rate)
                case TTSStoppedFrame():
                    await self._flush_word()
                    self._came_s = 0.0
                case ClauseTimesFrame():
                    self._clause_at[frame.id] = self._came_s
                case InterruptionFrame():
                    await self._interrupt()
                case TTSTextFrame() if frame.pts:
                    await self._timed_word(frame.text, (frame.pts - self._base_ns) / 1e9)
                case LLMFullResponseStartFrame() if not self._open:
                    await self._client.send(AgentState(state="thinking"))
                case _:
                    pass
        await super().process_frame(frame, direction)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """See BaseOutputTransport."""
        if self._open or any(frame.audio):  # silence alone is no utterance: Pipecat plays some before it ends
            await self._begin()
            if self._announced:
                announced, self._announced = self._announced, ""
                await self._client.send(Text(text=announced))
            await self._client.send_sound(frame.audio)
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now) + len(frame.audio) / (2 * frame.num_channels * frame.sample_rate)
        await asyncio.sleep(max(0.0, self._due - now - _AHEAD_S))
        return True

    async def write_transport_frame(self, frame: Frame) -> None:
        """See BaseOutputTransport: what comes here has its place between the sounds."""
        match frame:
            case ClauseTimesFrame():
                self._announced = ""
                await self._begin()
                await self._clause(frame, self._clause_at.pop(frame.id, 0.0))
            case MoodFrame():
                feeling = frame.feeling
                mood = AgentMood(label=feeling.label[:64], valence=feeling.valence, arousal=feeling.arousal)
                await self._client.send(mood)
            case AggregatedTextFrame() if frame.will_be_spoken and not self._told:
                self._announced = frame.text
            case _:
                pass

    async def send_message(self, frame: OutputTransportMessageFrame | OutputTransportMessageUrgentFrame) -> None:
        """Of RTVI only what the bot alone knows: the POP says everything else to the viewer by itself."""
        message = frame.message
        if isinstance(message, dict) and message.get("type") == "user-transcription":
            data = message.get("data") or {}
            text, final = str(data.get("text", "")), bool(data.get("final"))
            await self._client.send(AgentTranscript(text=text, final=final))

    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        """See FrameProcessor."""
        if isinstance(frame, BotStoppedSpeakingFrame) and direction is FrameDirection.DOWNSTREAM:
            await self._end()
        await super().push_frame(frame, direction)

    async def _begin(self) -> None:
        if not self._open:
            self._open = True
            self._going += 1
            await self._client.send(UtteranceBegin())
            await self._send_words()

    async def _end(self) -> None:
        if self._open:
            self._open = False
            await self._client.send(UtteranceEnd())

    async def _interrupt(self) -> None:
        known, self._cut = self._cut, False
        audible = self._open or asyncio.get_running_loop().time() < self._due + _LATE_S
        self._came_s, self._word, self._announced = 0.0, None, ""
        self._clause_at.clear()
        self._words.clear()
        self._due = 0.0
        if self._open:
            await self._end()
        if audible and not known:
            await self._client.send(Interrupt())

    async def _clause(self, frame: ClauseTimesFrame, at_s: float) -> None:
        def second(tick: int) -> float:
            return at_s + tick / MEDIA_CLOCK_HZ

        phonemes = tuple(TimedPhoneme(p.symbol, second(p.start), second(p.end), p.stress) for p in frame.phonemes)
        words = tuple(TimedWord(word.text, second(word.start), second(word.end)) for word in frame.words)
        if phonemes:
            await self._client.send(Phonemes(phonemes=phonemes))
        if words:
            await self._client.send(Words(words=words))

    async def _timed_word(self, text: str, at_s: float) -> None:
        """A word of a voice that tells when each begins: it lasts until the next one."""
        self._told = True
        await self._flush_word(at_s)
        self._word = (text.strip(), max(0.0, at_s))

    async def _flush_word(self, until_s: float | None = None) -> None:
        word, self._word = self._word, None
        if word is not None and word[0]:
            text, start_s = word
            end_s = max(start_s, until_s if until_s is not None else max(self._came_s, start_s + _WORD_S_MIN))
            self._words.append((self._coming, TimedWord(text, start_s, end_s)))
            await self._send_words()

    async def _send_words(self) -> None:
        """Those of the utterance that is going out; the others wait for theirs."""
        ready: list[TimedWord] = []
        while self._open and self._words and self._words[0][0] <= self._going:
            ready.append(self._words.popleft()[1])
        if ready:
            await self._client.send(Words(words=tuple(ready)))

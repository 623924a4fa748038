"""One viewer's conversation: the pipeline, the bus subject it listens on, and the end of it all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_turn_processor import UserTurnProcessor
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from core.errors import FabricError, RemoteProtocolError
from core.fabric.bus import Bus, Subscription
from core.limits import (
    MEDIA_CLOCK_HZ,
    SESSION_IDLE_S_MAX,
    TEXT_CHARS_MAX,
    UTTERANCES_PER_EPOCH_MAX,
    VOICE_BITRATE_BPS_MAX,
    VOICE_BITRATE_BPS_MIN,
)
from core.speech.messages import (
    BargeIn,
    Closed,
    DownMessage,
    MicrophonePacket,
    Opened,
    Playout,
    Ready,
    UserText,
    VoiceFormat,
    decode_up,
    down_subject,
    encode,
    up_subject,
)
from origin.dialogue.character import Character
from origin.dialogue.clause_cutter import ClauseCutter
from origin.dialogue.detector import SharedSileroAnalyzer
from origin.dialogue.frames import BargeInFrame, TurnEndedFrame, TypedTextFrame, ViewerOpenedFrame
from origin.dialogue.heard import Utterances
from origin.dialogue.microphone import SAMPLE_RATE_HZ, Microphone
from origin.dialogue.opus_voice import VoiceEncoding
from origin.dialogue.services import Shared
from origin.dialogue.state import DialogueState, TurnMarks
from origin.dialogue.turns import Conversation, EndingStopStrategy
from origin.dialogue.voice_output import VoiceOutput

__all__ = ["DialogueSession"]

_log = logging.getLogger(__name__)

_DETECTOR_CONFIDENCE: Final = 0.6
_DETECTOR_START_S: Final = 0.1
_START_S_MAX: Final = 10.0
_END_S_MAX: Final = 2.0
_REHEARSAL_S_MAX: Final = 10.0


class DialogueSession:
    """See the module. `start` returns when the pipeline is warm; `closed` is set when it has ended.

    Args:
        session_id: names the subjects.
        on_turn: told the marks of every answered turn.
        open_s_max: the session ends when no viewer has come by then.
        idle_s_max: it ends when nothing has come from its viewer for so long.
        resumed_epoch: goes on with a session of an earlier origin; its viewer has come already. Turns and utterances
            are numbered from a range of this epoch: a POP takes no number twice.

    Attributes:
        closed: set when everything is freed.
        reason: why it ended.
        dropped: messages that were not the protocol, too late, too long or out of range.
    """

    def __init__(
        self,
        session_id: str,
        character: Character,
        shared: Shared,
        bus: Bus,
        *,
        on_turn: Callable[[TurnMarks], None] = lambda marks: None,
        open_s_max: float = 30.0,
        idle_s_max: float = SESSION_IDLE_S_MAX,
        resumed_epoch: int = 0,
    ) -> None:
        self.id = session_id
        self.closed = asyncio.Event()
        self.reason = ""
        self.dropped = 0
        self._bus = bus
        self._down = down_subject(session_id)
        self._open_s_max = open_s_max
        self._idle_s_max = idle_s_max
        self._subscription: Subscription | None = None
        self._opened = resumed_epoch > 0
        self._last_heard = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self._state = DialogueState(
            send=self._send,
            character=character,
            context=LLMContext(),
            history_messages=shared.config.llm.history_messages,
            on_first_packet=on_turn,
            turn_id=resumed_epoch * UTTERANCES_PER_EPOCH_MAX,
            utterances=Utterances(resumed_epoch * UTTERANCES_PER_EPOCH_MAX),
        )
        self._microphone = Microphone()
        self._voice = VoiceOutput(self._state, shared.config.tts.bitrate_bps)
        self._worker = _pipeline(self._state, self._microphone, self._voice, character, shared)

    async def start(self) -> None:
        """Subscribe and warm the pipeline up.

        Raises: FabricError: the bus is out of reach. TimeoutError: a service does not start.
        """
        loop = asyncio.get_running_loop()
        self._subscription = await self._bus.subscribe(up_subject(self.id))
        runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False)
        started = asyncio.Event()

        async def on_started(*_: object) -> None:
            started.set()

        self._worker.add_event_handler("on_pipeline_started", on_started)
        await runner.add_workers(self._worker)
        self._last_heard = loop.time()
        self._tasks = [
            loop.create_task(self._run(runner), name=f"pipeline {self.id}"),
            loop.create_task(self._listen(self._subscription), name=f"up {self.id}"),
            loop.create_task(self._watch(), name=f"watch {self.id}"),
        ]
        async with asyncio.timeout(_START_S_MAX):
            await started.wait()
        self._send_ready()

    async def rehearse(self) -> None:
        """Say one short line to nobody: everything a first answer needs is loaded and compiled afterwards."""
        spoken = self._state.first_audible
        await self._worker.queue_frame(TypedTextFrame(text="hello"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REHEARSAL_S_MAX):
                await spoken.wait()

    def history(self) -> list[dict[str, Any]]:
        """The conversation as a language model would see it."""
        return [dict(message) for message in self._state.context.messages if isinstance(message, dict)]

    def end(self, reason: str) -> None:
        """Begin to free everything; `closed` tells when that is done. Idempotent."""
        if self._ending is None:
            self.reason = reason
            self._ending = asyncio.get_running_loop().create_task(self._end(), name=f"end {self.id}")

    async def aclose(self, reason: str = "shutdown") -> None:
        """Free everything."""
        self.end(reason)
        await self.closed.wait()

    async def _end(self) -> None:
        self._state.closed = True
        if self._subscription is not None:
            await self._subscription.aclose()
        others = list(self._tasks)
        pipeline = others.pop(0) if others else None
        for task in others:
            task.cancel()
        if pipeline is not None:
            await self._worker.cancel(reason=self.reason)
            _, pending = await asyncio.wait({pipeline}, timeout=_END_S_MAX)
            for task in pending:
                _log.warning("session %s: the pipeline does not end, cancelling it", self.id)
                task.cancel()
            others.append(pipeline)
        await asyncio.gather(*others, return_exceptions=True)
        self._tasks = []
        self.closed.set()

    async def _run(self, runner: WorkerRunner) -> None:
        await runner.run()
        self.end("pipeline-ended")

    async def _watch(self) -> None:
        """Ends a session that nobody opens or nobody uses."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._open_s_max)
        if not self._opened:
            self.end("not-opened")
            return
        left_s = self._idle_s_max - self._open_s_max
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = self._last_heard + self._idle_s_max - loop.time()
        self.end("idle")

    # --- the bus -----------------------------------------------------------------------------------------------

    def _send(self, message: DownMessage) -> None:
        if self._state.closed:
            return
        with contextlib.suppress(FabricError):  # the fabric counts what it loses
            self._bus.publish_nowait(self._down, encode(message))

    def _send_ready(self) -> None:
        character = self._state.character
        self._send(Ready(character=character.id, display_name=character.name))

    async def _listen(self, subscription: Subscription) -> None:
        async for message in subscription:
            try:
                received = decode_up(message.payload)
            except RemoteProtocolError:
                self.dropped += 1
                continue
            self._last_heard = asyncio.get_running_loop().time()
            match received:
                case MicrophonePacket():
                    if await self._microphone.receive(received) is not None:
                        self.dropped += 1
                case Opened():
                    await self._viewer_opened()
                case UserText():
                    await self._typed(received.text)
                case BargeIn():
                    frame = BargeInFrame(utterance_id=received.utterance_id, heard_until=received.heard_until)
                    await self._worker.queue_frame(frame)
                case Playout():
                    self._heard(received)
                case VoiceFormat():
                    self._follow(received)
                case Closed():
                    self.end("closed")
                    return
                case _:
                    pass  # the ear's opinion: the origin's own detector ends turns

    async def _viewer_opened(self) -> None:
        first, self._opened = not self._opened, True
        self._send_ready()  # the POP may not have listened when the pipeline came up
        if first:
            await self._worker.queue_frame(ViewerOpenedFrame())

    async def _typed(self, text: str) -> None:
        if len(text) > TEXT_CHARS_MAX or not text.strip():
            self.dropped += 1
            return
        await self._worker.queue_frame(TypedTextFrame(text=text.strip()))

    def _follow(self, wanted: VoiceFormat) -> None:
        in_range = VOICE_BITRATE_BPS_MIN <= wanted.bitrate_bps <= VOICE_BITRATE_BPS_MAX
        if not in_range or not 0 <= wanted.loss_percent <= 100:
            self.dropped += 1  # a POP should know better; the nearest possible is still the best guess
        self._voice.follow(VoiceEncoding.nearest(wanted.bitrate_bps, wanted.loss_percent))

    def _heard(self, playout: Playout) -> None:
        utterance = self._state.utterances.get(playout.utterance_id)
        if utterance is not None:
            utterance.note(playout.heard_until)
            if utterance.cut:
                self._voice.settle(utterance)


def _pipeline(
    state: DialogueState, microphone: Microphone, voice: VoiceOutput, character: Character, shared: Shared
) -> PipelineWorker:
    config = shared.config
    params = VADParams(
        confidence=_DETECTOR_CONFIDENCE,
        start_secs=_DETECTOR_START_S,
        stop_secs=config.turn.detector_stop_s,
        min_volume=0.0,
    )
    judge = shared.ending
    sounds_finished = None if judge is None else lambda seconds: judge.probability(microphone.recent.last(seconds))
    stop = EndingStopStrategy(config.turn, shared.matchers[character.id].completeness, sounds_finished)
    strategies = UserTurnStrategies(start=[VADUserTurnStartStrategy(enable_interruptions=False)], stop=[stop])
    turns = UserTurnProcessor(user_turn_strategies=strategies)

    async def on_turn_stopped(processor: UserTurnProcessor, *_: object) -> None:
        await processor.push_frame(TurnEndedFrame())

    turns.add_event_handler("on_user_turn_stopped", on_turn_stopped)
    pipeline = Pipeline(
        [
            microphone,
            VADProcessor(vad_analyzer=SharedSileroAnalyzer(params)),
            shared.service("stt", character),
            turns,
            Conversation(state, microphone.levels, voice.silence, config.greet),
            shared.service("llm", character),
            ClauseCutter(state),
            shared.service("tts", character),
            *shared.timing(character),
            voice,
        ]
    )
    return PipelineWorker(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE_HZ, audio_out_sample_rate=MEDIA_CLOCK_HZ),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
        check_dangling_tasks=False,
    )

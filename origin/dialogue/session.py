"""One viewer's conversation: the pipeline, the bus subject it listens on, and the end of it all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
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
from core.fabric.bus import Bus, Message, Subscription
from core.limits import (
    HANDED_OVER_S_MAX,
    MEDIA_CLOCK_HZ,
    RELEASE_S_MAX,
    SESSION_IDLE_S_MAX,
    TEXT_CHARS_MAX,
    TICK_SAMPLES,
    UTTERANCES_PER_EPOCH_MAX,
    VOICE_BITRATE_BPS_MAX,
    VOICE_BITRATE_BPS_MIN,
)
from core.session.speculation import Outcome
from core.speech.messages import (
    BargeIn,
    Closed,
    Cut,
    DownMessage,
    HandedOver,
    MicrophonePacket,
    Opened,
    Playout,
    Ready,
    SpeechPacket,
    UpMessage,
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
from origin.dialogue.frames import BargeInFrame, ResumeFrame, TurnEndedFrame, TypedTextFrame, ViewerOpenedFrame
from origin.dialogue.heard import Utterances
from origin.dialogue.memory import Memory, rest_of, take_snapshot
from origin.dialogue.microphone import SAMPLE_RATE_HZ, Microphone
from origin.dialogue.opus_voice import VoiceEncoding
from origin.dialogue.services import Shared
from origin.dialogue.state import DialogueState, TurnMarks
from origin.dialogue.turns import Conversation, EndingStopStrategy
from origin.dialogue.voice_output import VoiceOutput
from origin.sent_again import SentAgain
from origin.session_life import SessionLife

__all__ = ["DialogueSession"]

_log = logging.getLogger(__name__)

_DETECTOR_CONFIDENCE: Final = 0.6
_DETECTOR_START_S: Final = 0.1
_START_S_MAX: Final = 10.0
_END_S_MAX: Final = 2.0
_REHEARSAL_S_MAX: Final = 10.0
_CUT_S_MAX: Final = 1.0
_CUT_PACKETS: Final = 25
"""Half a second of microphone before the cut: somebody may have begun to speak whom no detector has noticed yet."""
_UNHEARD_S_MAX: Final = 2.0
"""The last word was sent so long ago: it has been heard, though nobody says so."""
_POLL_S: Final = 0.02


class DialogueSession(SessionLife):
    """See the module. `start` returns when the pipeline is warm; `closed` is set when it has ended.

    Args:
        session_id: names the subjects.
        on_turn: told the marks of every answered turn.
        on_guess: told what became of every answer that was begun early.
        open_s_max: the session ends when no viewer has come by then.
        idle_s_max: it ends when nothing has come from its viewer for so long.
        resumed_epoch: goes on with a session of an earlier origin; its viewer has come already. Turns and utterances
            are numbered from a range of this epoch: a POP takes no number twice.
        generation: marks everything that is said; see core.speech.messages.
        standby: subscribe and get warm, but say and hear nothing until `take_over`.
        on_change: told when `snapshot` may have changed.

    Attributes:
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
        on_guess: Callable[[Outcome], None] = lambda outcome: None,
        open_s_max: float = 30.0,
        idle_s_max: float = SESSION_IDLE_S_MAX,
        resumed_epoch: int = 0,
        generation: int = 0,
        standby: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(session_id)
        self.dropped = 0
        self._bus = bus
        self._down = down_subject(session_id)
        self._open_s_max = open_s_max
        self._idle_s_max = idle_s_max
        self._subscription: Subscription | None = None
        self._opened = resumed_epoch > 0
        self._generation = generation
        self._on_change = on_change
        self._going = asyncio.Event()
        if not standby:
            self._going.set()
        self._after = ""
        self._released = False
        self._cut_seen: tuple[str, asyncio.Event] = ("", asyncio.Event())
        self._handed_over: asyncio.Future[HandedOver] | None = None
        self._encoding: VoiceEncoding | None = None
        self._quiet_since = 0.0
        self._last_heard = 0.0
        self._pop_epoch = 0
        self._again = SentAgain()
        self._tasks: list[asyncio.Task[None]] = []
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
        self._worker = _pipeline(self._state, self._microphone, self._voice, character, shared, on_guess)

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
        if self._going.is_set():
            self._send_ready()

    async def rehearse(self) -> None:
        """Say one short line to nobody: everything a first answer needs is loaded and compiled afterwards."""
        spoken = self._state.first_audible
        await self._worker.queue_frame(TypedTextFrame(text="hello"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REHEARSAL_S_MAX):
                await spoken.wait()

    # --- from one process to another ----------------------------------------------------------------------------

    @property
    def opened(self) -> bool:
        """Whether its viewer has come."""
        return self._opened

    def snapshot(self) -> Memory:
        """What another process needs to go on from here."""
        return take_snapshot(self._state, self._voice.spoken, self._encoding, opened=self._opened)

    def take_over(self, memory: Memory | None, *, generation: int, numbers: int, after: str = "") -> None:
        """Answer from now on, in the place of another process.

        Args:
            memory: the conversation so far; None: it is lost, and the viewer has come already.
            numbers: turns and utterances are numbered from here on.
            after: the id of the Cut up to which the other one has listened; empty: it just went.
        """
        state = self._state
        self._generation, self._after = generation, after
        state.turn_id = numbers
        state.utterances.go_on_from(numbers)
        self._opened = memory is None or memory.opened
        if memory is not None:
            messages: list[Any] = [{"role": role, "content": text} for role, text in memory.messages]
            state.context.set_messages(messages)
            if memory.bitrate_bps:
                self._encoding = VoiceEncoding.nearest(memory.bitrate_bps, memory.loss_percent)
                self._voice.follow(self._encoding)
        self._handed_over = asyncio.get_running_loop().create_future()
        self._going.set()
        self._send_ready()
        if memory is not None and memory.interrupted:
            state.turn("thinking")
            self._tasks.append(asyncio.get_running_loop().create_task(self._resume(memory), name=f"resume {self.id}"))

    async def _resume(self, memory: Memory) -> None:
        assert self._handed_over is not None
        told = HandedOver(generation=0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANDED_OVER_S_MAX):
                told = await self._handed_over
        heard = memory.heard(told.utterance_id, told.packets * TICK_SAMPLES)
        rest = rest_of(memory.answer, heard) if memory.answer_whole else ""
        if memory.answer_whole and not rest:
            if heard:
                self._state.remember("assistant", heard)
            self._state.turn("idle")
            return
        self._state.begin_turn()
        await self._worker.queue_frame(ResumeFrame(heard=heard, rest=rest))

    async def release(self, cut: str, wait_s: float = RELEASE_S_MAX) -> Memory:
        """Stop answering between two turns, so that another process can go on.

        Args:
            cut: names the point; what comes after a Cut of this name on the session's subject is not heard here.
            wait_s: after this the turn is interrupted.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while not self._released and not self.closed.is_set():
            if not self._between_turns(loop.time()) and loop.time() < deadline:
                await asyncio.sleep(_POLL_S)
                continue
            self._cut_seen = cut, asyncio.Event()
            with contextlib.suppress(FabricError):
                self._bus.publish_nowait(up_subject(self.id), encode(Cut(id=cut)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CUT_S_MAX):
                    await self._cut_seen[1].wait()
            if self._between_turns(loop.time()) or loop.time() >= deadline:
                self._released = True
        memory = self.snapshot()
        self._state.closed = True
        return memory

    def _between_turns(self, now: float) -> bool:
        if self._state.speaking or self._state.phase != "idle":
            return False
        return self._state.utterances.newest_unheard() is None or now - self._quiet_since > _UNHEARD_S_MAX

    def history(self) -> list[dict[str, Any]]:
        """The conversation as a language model would see it."""
        return [dict(message) for message in self._state.context.messages if isinstance(message, dict)]

    async def _free(self) -> None:
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
        self._again.sent(message)
        if self._generation:
            message = msgspec.structs.replace(message, generation=self._generation)
        with contextlib.suppress(FabricError):  # the fabric counts what it loses
            self._bus.publish_nowait(self._down, encode(message))
        if not isinstance(message, SpeechPacket):
            self._quiet_since = asyncio.get_running_loop().time()
            self._on_change()

    def _send_ready(self) -> None:
        character = self._state.character
        self._send(Ready(character=character.id, display_name=character.name))

    async def _listen(self, subscription: Subscription) -> None:
        await self._going.wait()
        async for message in self._from_cut(subscription):
            try:
                received = decode_up(message.payload)
            except RemoteProtocolError:
                self.dropped += 1
                continue
            self._last_heard = asyncio.get_running_loop().time()
            await self._receive(received)
            if self._released or self.ending:
                return

    async def _receive(self, received: UpMessage) -> None:
        match received:
            case MicrophonePacket():
                if await self._microphone.receive(received) is not None:
                    self.dropped += 1
            case Opened():
                if 0 < self._pop_epoch < received.epoch and not received.moved:
                    for message in self._again.rest():  # to a POP that knows nothing of what was being said
                        self._send(message)
                self._pop_epoch = max(self._pop_epoch, received.epoch)
                await self._viewer_opened()
            case UserText():
                await self._typed(received.text)
            case BargeIn():
                frame = BargeInFrame(utterance_id=received.utterance_id, heard_until=received.heard_until)
                await self._worker.queue_frame(frame)
            case Playout():
                self._again.heard(received)
                self._heard(received)
            case VoiceFormat():
                self._follow(received)
            case Closed() if not 0 < received.epoch < self._pop_epoch:  # not of a POP that has been left
                self.end("closed")
            case Cut(id=name) if name == self._cut_seen[0]:
                self._released = self._between_turns(asyncio.get_running_loop().time())
                self._cut_seen[1].set()
            case HandedOver() if self._handed_over is not None and not self._handed_over.done():
                self._handed_over.set_result(received)
            case _:
                pass  # the ear's opinion: the origin's own detector ends turns

    async def _from_cut(self, subscription: Subscription) -> AsyncIterator[Message]:
        """What another process has not heard, and the last half second of the microphone before it."""
        messages = aiter(subscription)
        if self._after:
            recent: deque[Message] = deque(maxlen=_CUT_PACKETS)
            with contextlib.suppress(TimeoutError, StopAsyncIteration):
                async with asyncio.timeout(_CUT_S_MAX):
                    while not await self._is_cut(message := await anext(messages), recent):
                        pass
            for message in recent:
                yield message
        async for message in messages:
            yield message

    async def _is_cut(self, message: Message, recent: deque[Message]) -> bool:
        try:
            received = decode_up(message.payload)
        except RemoteProtocolError:
            return False
        if isinstance(received, MicrophonePacket):
            recent.append(message)
        elif isinstance(received, (HandedOver, Closed)):
            await self._receive(received)
        return isinstance(received, Cut) and received.id == self._after

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
        self._encoding = VoiceEncoding.nearest(wanted.bitrate_bps, wanted.loss_percent)
        self._voice.follow(self._encoding)

    def _heard(self, playout: Playout) -> None:
        utterance = self._state.utterances.get(playout.utterance_id)
        if utterance is not None:
            utterance.note(playout.heard_until)
            if utterance.cut:
                self._voice.settle(utterance)


def _pipeline(
    state: DialogueState,
    microphone: Microphone,
    voice: VoiceOutput,
    character: Character,
    shared: Shared,
    on_guess: Callable[[Outcome], None],
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
    speaker = shared.service("tts", character)
    pipeline = Pipeline(
        [
            microphone,
            VADProcessor(vad_analyzer=SharedSileroAnalyzer(params)),
            shared.service("stt", character),
            turns,
            Conversation(
                state,
                microphone.levels,
                voice.silence,
                greet=config.greet,
                speculate=config.turn.speculate,
                on_guess=on_guess,
            ),
            shared.service("llm", character),
            ClauseCutter(state),
            speaker,
            *shared.timing(speaker, character),
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

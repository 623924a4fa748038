"""Whose turn it is: when the user has finished, and what the character does then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pipecat.frames.frames import (
    AggregatedTextFrame,
    Frame,
    InterimTranscriptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.turns.types import ProcessFrameResult
from pipecat.turns.user_stop import BaseUserTurnStopStrategy
from pipecat.utils.text.base_text_aggregator import TextType

from core.session.speculation import Outcome
from core.speech.messages import Transcript
from origin.config import TurnConfig
from origin.dialogue.clauses import split_clauses
from origin.dialogue.frames import (
    BargeInFrame,
    FaultFrame,
    MoodFrame,
    ResumeFrame,
    TurnEndedFrame,
    TypedTextFrame,
    ViewerOpenedFrame,
)
from origin.dialogue.guessing import Guessing
from origin.dialogue.matcher import Completeness
from origin.dialogue.microphone import Levels
from origin.dialogue.state import DialogueState

__all__ = ["Conversation", "EndingStopStrategy"]

_GO_ON: Final = "(The line was interrupted. Go on with your answer exactly where it stopped, without a word about it.)"
_FINISHED: Final[dict[Completeness, float]] = {"unknown": 0.5, "incomplete": 0.9}
"""How sure the judge of the sound must be."""
_DETECTOR_LATE_S: Final = 0.5
"""The turn began this long before the detector said so, at most."""
_SPEECH_S_MIN: Final = 0.5
"""Shorter sounds without words are coughs and clicks: nobody apologises for not understanding them."""


class EndingStopStrategy(BaseUserTurnStopStrategy):
    """Ends the user's turn after a silence whose length depends on what was said and how.

    The transcript is there a few milliseconds after the detector says stop. A whole question ends the turn at once.
    Other words leave it open: then the sound is judged. A dangling last word weighs against the end, but not all, as
    recognisers make up small words.

    Args:
        config: how long to wait.
        completeness: judges the words of the turn so far.
        sounds_finished: gives the probability that the sound of so many last seconds is a finished turn; None: nobody
            judges it.
    """

    def __init__(
        self,
        config: TurnConfig,
        completeness: Callable[[str], Completeness],
        sounds_finished: Callable[[float], Awaitable[float]] | None,
    ) -> None:
        super().__init__()
        self._config = config
        self._completeness = completeness
        self._sounds_finished = sounds_finished
        self._texts: list[str] = []
        self._began_at: float | None = None
        self._stopped_at: float | None = None
        self._transcribed = False
        self._ending: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame) -> ProcessFrameResult:
        """See BaseUserTurnStopStrategy."""
        if isinstance(frame, VADUserStartedSpeakingFrame):
            if self._began_at is None:
                self._began_at = asyncio.get_running_loop().time()
            self._stopped_at, self._transcribed = None, False
            await self._stay()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._stopped_at = asyncio.get_running_loop().time()
            await self._maybe_end()
        elif isinstance(frame, TranscriptionFrame):
            self._texts.append(frame.text)
            self._transcribed = True
            await self._maybe_end()
        return ProcessFrameResult.CONTINUE

    async def handle_user_turn_started(self) -> None:
        """See BaseUserTurnStopStrategy."""
        self._texts.clear()

    async def handle_user_turn_stopped(self) -> None:
        """See BaseUserTurnStopStrategy."""
        self._texts.clear()
        self._began_at, self._stopped_at, self._transcribed = None, None, False
        await self._stay()

    async def cleanup(self) -> None:
        """See BaseUserTurnStopStrategy."""
        await self._stay()
        await super().cleanup()

    async def _maybe_end(self) -> None:
        if self._stopped_at is None or not self._transcribed:
            return
        await self._stay()
        completeness = self._completeness(" ".join(self._texts))
        if completeness == "complete" and self._left_s(self._config.complete_s) <= 0:
            await self.trigger_user_turn_stopped()
        else:
            self._ending = self.create_task(self._end_later(completeness), name="turn end")

    async def _end_later(self, completeness: Completeness) -> None:
        finished = completeness == "complete"
        if not finished and self._sounds_finished is not None and self._began_at is not None:
            spoken_s = asyncio.get_running_loop().time() - self._began_at
            probability = await self._sounds_finished(spoken_s + _DETECTOR_LATE_S)
            finished = probability >= _FINISHED[completeness]
        left_s = self._left_s(self._config.complete_s if finished else self._config.pause_s)
        if left_s > 0:
            await asyncio.sleep(left_s)
        self._ending = None
        await self.trigger_user_turn_stopped()

    def _left_s(self, silence_s: float) -> float:
        """What is left of that silence."""
        assert self._stopped_at is not None
        return self._stopped_at + silence_s - asyncio.get_running_loop().time()

    async def _stay(self) -> None:
        """The turn is not over yet."""
        ending, self._ending = self._ending, None
        if ending is not None:
            await self.cancel_task(ending)


class Conversation(FrameProcessor):
    """Turns what the user says, types and cuts off into questions for the language model.

    Args:
        state: shared with the voice.
        levels: of the microphone, to know when speech really ended.
        silence: stops the voice at once; the interruption then clears the stages before it.
        greet: whether the character speaks first.
        speculate: whether answers are begun at pauses, see `guessing.py`.
        on_guess: told what became of every such answer.
    """

    def __init__(
        self,
        state: DialogueState,
        levels: Levels,
        silence: Callable[[], None],
        *,
        greet: bool,
        speculate: bool = True,
        on_guess: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        super().__init__()
        self._guessing = Guessing(state, self.push_frame, enabled=speculate, on_outcome=on_guess)
        self._state = state
        self._silence = silence
        self._levels = levels
        self._greet = greet
        self._texts: list[str] = []
        self._speech_began = 0.0
        self._speech_s = 0.0
        self._deaf = False
        self._listening = False
        self._sounding = False
        self._question: dict[str, Any] | None = None
        self._not_heard = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
            return
        match frame:
            case UserStartedSpeakingFrame():
                await self._user_started()
            case VADUserStartedSpeakingFrame():
                self._speech_began = asyncio.get_running_loop().time()
                self._sounding = True
                await self._guessing.went_on()
            case VADUserStoppedSpeakingFrame():
                self._sounding = False
                self._state.marks.detected = self._state.now()
                self._speech_s += asyncio.get_running_loop().time() - self._speech_began
            case InterimTranscriptionFrame():
                self._transcript(frame.text)
                return
            case TranscriptionFrame():
                self._state.marks.transcribed = self._state.now()
                if frame.text:
                    self._texts.append(frame.text)
                    await self._paused()
                return
            case TurnEndedFrame():
                await self._user_finished()
                return
            case TypedTextFrame():
                await self._typed(frame.text)
                return
            case BargeInFrame():
                await self._interrupted(frame)
                return
            case ViewerOpenedFrame():
                await self._opened()
                return
            case ResumeFrame():
                await self._resume(frame)
                return
            case FaultFrame():
                self._deaf = self._deaf or frame.code == "stt-failed"
            case _:
                pass
        await self.push_frame(frame, direction)

    # --- the user ----------------------------------------------------------------------------------------------

    async def _interrupt(self) -> None:
        self._guessing.interrupted()
        self._silence()
        self._state.answer_over()
        await self.broadcast_interruption()

    async def _user_started(self) -> None:
        carried = self._withdraw_question()
        self._listening = True
        self._texts = [carried] if carried else []
        self._speech_s = 0.0
        self._deaf = False
        if carried:
            await self._interrupt()
        await self._guessing.begin_turn()
        self._state.begin_turn()
        if not self._state.speaking:
            self._state.turn("listening")

    async def _paused(self) -> None:
        """The words are there, the end of the turn may not be: what would be answered is begun."""
        if self._listening and not self._sounding and not self._state.speaking:
            await self._guessing.paused(" ".join(self._texts))

    def _withdraw_question(self) -> str:
        """The user goes on before anything was audible of the answer: both parts are one question."""
        question, self._question = self._question, None
        if question is None or self._guessing.asked.audible:
            return ""
        self._state.forget(question)
        return str(question["content"])

    async def _user_finished(self) -> None:
        self._listening = False
        text = " ".join(self._texts)
        self._texts = []
        marks = self._state.marks
        marks.ended = self._state.now()
        marks.speech_ended = self._levels.speech_end(self._speech_began - _DETECTOR_LATE_S, marks.detected)
        if text:
            await self._ask(text)
            self._deaf = False
            return
        await self._guessing.ended("")
        if self._state.speaking:
            pass  # a sound over the character's own voice; it talks on
        elif self._deaf:
            await self._say(self._state.character.apologies["stt-failed"], "sorry")
        elif self._speech_s >= _SPEECH_S_MIN:
            lines = self._state.character.not_heard
            self._not_heard += 1
            await self._say(lines[(self._not_heard - 1) % len(lines)], "sorry")
        else:
            self._state.turn("idle")
        self._deaf = False

    async def _typed(self, text: str) -> None:
        self._question = None
        self._listening = False
        self._texts = []
        await self._interrupt()
        self._state.begin_turn()
        self._state.marks.ended = self._state.now()
        await self._ask(text, spoken=False)

    async def _ask(self, text: str, spoken: bool = True) -> None:
        if self._state.speaking:
            await self._interrupt()
        if spoken:
            self._transcript(text, final=True)
        self._state.turn("thinking")
        self._question = self._state.remember("user", text)
        if not await self._guessing.ended(text):
            await self._guessing.ask()

    def _transcript(self, text: str, final: bool = False) -> None:
        parts = [text] if final else [*self._texts, text]
        self._state.send(Transcript(text=" ".join(parts), final=final, turn_id=self._state.turn_id))

    async def _interrupted(self, frame: BargeInFrame) -> None:
        utterance = self._state.utterances.get(frame.utterance_id)
        if utterance is not None:
            utterance.note(frame.heard_until)
        self._question = None
        await self._interrupt()
        self._state.turn("listening" if self._listening else "idle")

    async def _resume(self, frame: ResumeFrame) -> None:
        """Go on with an answer that another process has begun."""
        if self._listening or self._state.phase != "thinking":
            return  # the viewer has said something else meanwhile
        self._state.marks.ended = self._state.now()
        if frame.heard:
            self._state.remember("assistant", frame.heard)
        if frame.rest:
            await self._guessing.announce()
            await self.push_frame(LLMFullResponseStartFrame())
            for clause in split_clauses(frame.rest):
                await self.push_frame(AggregatedTextFrame(clause, TextType.SENTENCE))
            await self.push_frame(LLMFullResponseEndFrame())
            return
        context = self._state.context
        if frame.heard:
            context = LLMContext([*context.messages, {"role": "user", "content": _GO_ON}])
        await self._guessing.ask(context)

    # --- the character's own lines -----------------------------------------------------------------------------

    async def _opened(self) -> None:
        greeting = self._state.character.greeting
        if self._greet and greeting:
            await self._say(greeting[0], "happy")

    async def _say(self, line: str, mood: str) -> None:
        """Speak a line that no language model thought of."""
        await self._guessing.announce()
        await self.push_frame(LLMFullResponseStartFrame())
        await self.push_frame(MoodFrame(feeling=self._state.character.feeling(mood)))
        for clause in split_clauses(line):
            await self.push_frame(AggregatedTextFrame(clause, TextType.SENTENCE))
        await self.push_frame(LLMFullResponseEndFrame())

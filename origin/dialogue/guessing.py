"""Guesses in the pipeline: what `core.session.speculation` decides becomes frames.

A guess runs through the same stages as any answer. Its first clause is synthesised and waits in front of the voice
(`VoiceOutput`), the next ones in front of the clause cutter, until the guess is settled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from pipecat.frames.frames import Frame, LLMContextFrame
from pipecat.processors.aggregators.llm_context import LLMContext

from core.session.speculation import Guess, Outcome, Speculation, Step
from origin.dialogue.answer import Answer
from origin.dialogue.frames import AnswerFrame, GuessDroppedFrame
from origin.dialogue.state import DialogueState

__all__ = ["Guessing"]

_LIVE_MAX: Final = 4
"""Answers that may be on their way at once: what was asked, and lines of the character's own."""


class Guessing:
    """See the module.

    Args:
        state: of the session.
        push: pushes a frame down the pipeline.
        enabled: False: nothing is guessed.
        on_outcome: told what became of every guess, for metrics.

    Attributes:
        asked: the answer to the last question that was really asked.
    """

    def __init__(
        self,
        state: DialogueState,
        push: Callable[[Frame], Awaitable[None]],
        *,
        enabled: bool,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self._state = state
        self._push = push
        self._on_outcome = on_outcome
        self._speculation = Speculation(enabled=enabled)
        self._answer = Answer()
        self.asked = Answer()
        self._live: deque[Answer] = deque(maxlen=_LIVE_MAX)

    async def begin_turn(self) -> None:
        """The user begins a turn."""
        await self._do(self._speculation.begin_turn())
        self._answer = Answer()

    async def paused(self, text: str) -> None:
        """The user pauses; `text` is all that was said in this turn."""
        await self._do(self._speculation.pause(text))

    async def went_on(self) -> None:
        """The user speaks again."""
        await self._do(self._speculation.go_on())

    def interrupted(self) -> None:
        """The pipeline is being interrupted by somebody else, which empties its stages."""
        while self._live:
            self._live.pop().drop()
        if self._speculation.interrupt().settled is not None:
            self._settle()

    async def ended(self, text: str) -> bool:
        """The turn ends with these words. Returns: whether their answer is on its way already."""
        failed = self._failed
        step = self._speculation.end(text)
        await self._do(step)
        if failed and step.settled is None:
            await self._push(GuessDroppedFrame())  # what the services still do for it
        if step.settled is None or not self._answer.valid:
            return False
        self.asked = self._answer
        return True

    async def ask(self, context: LLMContext | None = None) -> None:
        """Answer the conversation as it is now. Args: context: what the model sees instead."""
        self.asked = await self.announce()
        await self._push(LLMContextFrame(context or self._state.context))

    async def announce(self) -> Answer:
        """What is pushed next belongs to an answer of its own. Returns: that."""
        return await self._announce(Answer())

    async def _announce(self, answer: Answer) -> Answer:
        self._live.append(answer)
        await self._push(AnswerFrame(answer=answer))
        return answer

    @property
    def _failed(self) -> bool:
        guess = self._answer.guess
        return guess is not None and guess.outcome == "failed"

    async def _do(self, step: Step) -> None:
        if step.settled is not None:
            self._settle()
            if not self._answer.valid:
                await self._push(GuessDroppedFrame())
        if step.started is not None:
            self._answer = Answer(step.started, on_failed=self._fail)
            await self._announce(self._answer)
            await self._push(LLMContextFrame(self._state.supposing(step.started.text)))

    def _settle(self) -> None:
        self._answer.settle()
        guess = self._answer.guess
        if guess is not None and guess.outcome is not None:
            self._on_outcome(guess.outcome)

    def _fail(self, guess: Guess) -> None:
        if self._speculation.fail(guess):
            self._on_outcome("failed")

"""Between language model and voice: pieces of text become clauses, so that the first one is spoken early."""

from __future__ import annotations

from pipecat.frames.frames import (
    AggregatedTextFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.text.base_text_aggregator import TextType

from origin.dialogue.answer import Answer
from origin.dialogue.clauses import ClauseSplitter
from origin.dialogue.frames import AnswerFrame
from origin.dialogue.state import DialogueState

__all__ = ["ClauseCutter"]


class ClauseCutter(FrameProcessor):
    """See the module. Notes the clauses of the answer, and when the first one was there; of a guess only that one goes
    on to the voice before it is confirmed."""

    def __init__(self, state: DialogueState) -> None:
        super().__init__()
        self._state = state
        self._splitter = ClauseSplitter()
        self._answer = Answer()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            for clause in self._splitter.feed(frame.text):
                await self._push_clause(clause)
            return
        if isinstance(frame, LLMFullResponseEndFrame):
            if rest := self._splitter.flush():
                await self._push_clause(rest)
            self._state.answer_whole = True
        elif isinstance(frame, LLMFullResponseStartFrame):
            self._state.answer_over()
        elif isinstance(frame, InterruptionFrame):
            self._splitter = ClauseSplitter()
            self._state.answer_over()
        elif isinstance(frame, AnswerFrame):
            self._answer = frame.answer
            self._state.answer_over(frame.answer)
            self._splitter = ClauseSplitter()
        elif isinstance(frame, AggregatedTextFrame):
            self._think(frame.text)
        await self.push_frame(frame, direction)

    def _think(self, clause: str) -> None:
        self._state.answer.append(clause)
        self._answer.first_clause = self._answer.first_clause or self._state.now()

    async def _push_clause(self, clause: str) -> None:
        if self._answer.first_clause and not await self._answer.admitted():
            return
        self._think(clause)
        await self._answer.clause_sent()
        await self.push_frame(AggregatedTextFrame(clause, TextType.SENTENCE))

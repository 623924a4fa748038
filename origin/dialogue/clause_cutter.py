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

from origin.dialogue.clauses import ClauseSplitter
from origin.dialogue.state import DialogueState

__all__ = ["ClauseCutter"]


class ClauseCutter(FrameProcessor):
    """See the module. Notes the clauses of the answer, and when the first one was there."""

    def __init__(self, state: DialogueState) -> None:
        super().__init__()
        self._state = state
        self._splitter = ClauseSplitter()

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
        elif isinstance(frame, AggregatedTextFrame):
            self._think(frame.text)
        await self.push_frame(frame, direction)

    def _think(self, clause: str) -> None:
        self._state.answer.append(clause)
        marks = self._state.marks
        marks.first_clause = marks.first_clause or self._state.now()

    async def _push_clause(self, clause: str) -> None:
        self._think(clause)
        await self.push_frame(AggregatedTextFrame(clause, TextType.SENTENCE))

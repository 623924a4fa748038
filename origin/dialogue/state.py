"""What the processors of one session share: where messages go, the conversation so far, and the stages of a turn."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pipecat.processors.aggregators.llm_context import LLMContext

from core.speech.messages import DownMessage, StageTimes, TurnState
from origin.dialogue.answer import Answer
from origin.dialogue.character import Character
from origin.dialogue.heard import Utterances

__all__ = ["DialogueState", "TurnMarks"]


@dataclass(slots=True)
class TurnMarks:
    """Moments of one turn, monotonic seconds; 0 while unknown."""

    speech_ended: float = 0.0
    detected: float = 0.0
    transcribed: float = 0.0
    ended: float = 0.0
    first_clause: float = 0.0
    first_packet: float = 0.0

    def stages(self) -> dict[str, float]:
        """Milliseconds of the stages of `core.session.budget`: one after the other, together from the end of speech
        (or from the typed text) to the first packet. The pause in which the turn might have gone on belongs to
        noticing its end, though it comes after the words are known."""
        spoken = self.speech_ended > 0.0
        moments = [self.speech_ended, self.detected, self.transcribed, self.ended] if spoken else [self.ended]
        moments.append(self.first_clause or self.first_packet)
        # A moment that was noted late, or never, takes its stage's time away from the next one and from none twice.
        ends = list(itertools.accumulate((min(at, self.first_packet) for at in moments), max))
        gaps = [1e3 * (late - early) for early, late in itertools.pairwise([*ends, self.first_packet])]
        if spoken:
            detected, transcribe, pause, think, speak = gaps
            stages = {"detect": detected + pause, "transcribe": transcribe, "think": think, "speak": speak}
        else:
            stages = dict(zip(("think", "speak"), gaps, strict=True))
        return {name: round(ms, 2) for name, ms in stages.items()}


@dataclass(slots=True)
class DialogueState:
    """One session's conversation.

    Attributes:
        send: publishes to the POP; never blocks.
        context: what a language model sees.
        history_messages: so many of them at most.
        turn_id: the current turn; 0 before the first.
        marks: of the current turn.
        utterances: what the character said, for positions that come in later.
        speaking: whether an utterance is being sent now.
        reached: whether what is sent now will be heard; a voice waits until it will.
        on_first_packet: told the marks of every answered turn, for metrics.
        first_audible: set once anything was said.
        phase: what was published last of what is going on.
        answer: the clauses that were thought of for the answer under way; they run ahead of what is spoken.
        answer_whole: whether no more of them come.
        under_way: that answer; while it is a guess, its clauses are nobody's.
    """

    send: Callable[[DownMessage], None]
    character: Character
    context: LLMContext
    history_messages: int
    on_first_packet: Callable[[TurnMarks], None]
    reached: Callable[[], bool] = lambda: True
    now: Callable[[], float] = time.monotonic
    turn_id: int = 0
    marks: TurnMarks = field(default_factory=TurnMarks)
    utterances: Utterances = field(default_factory=Utterances)
    speaking: bool = False
    closed: bool = False
    first_audible: asyncio.Event = field(default_factory=asyncio.Event)
    phase: Literal["listening", "thinking", "speaking", "idle"] = "idle"
    answer: list[str] = field(default_factory=list)
    answer_whole: bool = False
    under_way: Answer = field(default_factory=Answer)

    def begin_turn(self) -> int:
        """A new turn of the user. Returns: its id."""
        self.turn_id += 1
        self.marks = TurnMarks()
        return self.turn_id

    def turn(self, state: Literal["listening", "thinking", "speaking", "idle"]) -> None:
        """Publish what the origin believes is going on."""
        self.phase = state
        self.send(TurnState(state=state, turn_id=self.turn_id))

    def answer_over(self, following: Answer | None = None) -> None:
        """Nothing is left of the answer: it was said, or cut. Args: following: the one that begins now."""
        self.answer, self.answer_whole = [], False
        self.under_way = following or Answer()

    def remember(self, role: str, text: str) -> dict[str, Any]:
        """Add to the conversation; the oldest messages fall out."""
        message: dict[str, Any] = {"role": role, "content": text}
        messages: list[Any] = [*self.context.messages, message]
        self.context.set_messages(messages[-self.history_messages :])
        return message

    def supposing(self, text: str) -> LLMContext:
        """The conversation as it would be if the user had said this; nothing is remembered of it."""
        messages: list[Any] = [*self.context.messages, {"role": "user", "content": text}]
        return LLMContext(messages[-self.history_messages :])

    def forget(self, message: dict[str, Any]) -> None:
        """Take a message back."""
        self.context.set_messages([other for other in self.context.messages if other is not message])

    def first_packet(self) -> None:
        """The first packet of this turn's answer leaves: publish the stages."""
        marks = self.marks
        if marks.first_packet or not self.turn_id or not marks.ended:
            return  # of no turn, or of the one before
        marks.first_packet = self.now()
        self.first_audible.set()
        self.send(StageTimes(turn_id=self.turn_id, stages=marks.stages()))
        self.on_first_packet(marks)

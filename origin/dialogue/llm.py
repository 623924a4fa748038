"""Who thinks: the scripted character, or a language model behind an OpenAI-compatible API that may be slow or down."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, Final

from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.settings import LLMSettings

from origin.dialogue.answer import Answer
from origin.dialogue.character import Character, Intent
from origin.dialogue.clauses import split_clauses
from origin.dialogue.frames import AnswerFrame, FaultFrame, MoodFrame
from origin.dialogue.matcher import Matcher
from origin.dialogue.service_faults import explain, is_slow

__all__ = ["GuardedOpenAILLMService", "ScriptedLLMService", "last_user_text"]

_log = logging.getLogger(__name__)

_MORE: Final = "yes"
"""The intent that a bare "tell me more" means; it continues with the last intent's follow-ups, if it has any."""


def last_user_text(context: LLMContext) -> str:
    """What the user said last."""
    for message in reversed(context.messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return str(message.get("content") or "")
    return ""


class ScriptedLLMService(LLMService[Any]):
    """Answers with the character's own lines, clause by clause; honest when it does not understand.

    Args:
        character: whose lines.
        matcher: of the same character.
        seed: decides with which line of each intent it begins.
    """

    def __init__(self, character: Character, matcher: Matcher, seed: int) -> None:
        super().__init__(settings=_settings("scripted"))
        self._character = character
        self._matcher = matcher
        self._random = random.Random(seed)
        self._line_indices: dict[str, int] = {}
        self._last: Intent | None = None
        self._answer = Answer()
        self._before: tuple[Intent | None, dict[str, int]] = (None, {})

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See LLMService."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            if isinstance(frame, AnswerFrame):
                self._begin(frame.answer)
            await self.push_frame(frame, direction)
            return
        if not self._answer.wanted:
            return
        await self.push_frame(LLMFullResponseStartFrame())
        mood, line = self.answer(last_user_text(frame.context))
        await self.push_frame(MoodFrame(feeling=self._character.feeling(mood)))
        for clause in split_clauses(line):
            await self.push_frame(LLMTextFrame(clause + "\n"))
        await self.push_frame(LLMFullResponseEndFrame())

    def _begin(self, answer: Answer) -> None:
        """What an answer has changed that nobody heard is as it was before."""
        if not self._answer.valid and not self._answer.audible:
            self._last, self._line_indices = self._before
        self._answer, self._before = answer, (self._last, dict(self._line_indices))

    def answer(self, text: str) -> tuple[str, str]:
        """Mood and line for what the user said."""
        found = self._matcher.match(text)
        if found is None:
            return "thoughtful", self._turn("", self._character.fallback)
        intent = found.intent
        if intent.name == _MORE and self._last is not None and self._last.follow_ups:
            names = self._last.follow_ups
            wanted = self._turn(f"follow-up {self._last.name}", names)
            intent = next(other for other in self._character.intents if other.name == wanted)
        self._last = intent
        return intent.mood, self._turn(intent.name, intent.lines)

    def _turn(self, name: str, lines: tuple[str, ...]) -> str:
        """The next of the lines, from a random first one."""
        index = self._line_indices.get(name, self._random.randrange(len(lines)))
        self._line_indices[name] = (index + 1) % len(lines)
        return lines[index]


class GuardedOpenAILLMService(OpenAILLMService):
    """Pipecat's OpenAI service with a spoken way out: down, slow, overloaded or broken off, the character says so.

    A guess that fails is silent: the question is asked again when the turn ends.

    Args:
        character: whose persona and apologies.
        first_token_s: longest wait for the first word.
        stall_s: longest pause after it.
    """

    def __init__(
        self,
        character: Character,
        *,
        base_url: str,
        model: str,
        api_key: str,
        first_token_s: float,
        stall_s: float,
    ) -> None:
        super().__init__(
            api_key=api_key,
            base_url=base_url,
            settings=OpenAILLMService.Settings(model=model, system_instruction=character.persona),
        )
        # The character apologises sooner than a retry would help.
        self._client = self._client.with_options(max_retries=0)
        self._character = character
        self._first_token_s = first_token_s
        self._stall_s = stall_s
        self._watch: asyncio.Timeout | None = None
        self._answer = Answer()
        self._said = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See LLMService."""
        if isinstance(frame, AnswerFrame):
            self._answer = frame.answer
        elif isinstance(frame, LLMContextFrame) and not self._answer.wanted:
            return
        await super().process_frame(frame, direction)

    async def _push_llm_text(self, text: str) -> None:
        if self._watch is not None:
            self._watch.reschedule(asyncio.get_running_loop().time() + self._stall_s)
        self._said = self._said or bool(text.strip())
        await super()._push_llm_text(text)

    async def _process_context(self, context: LLMContext) -> None:
        self._said = False
        try:
            async with asyncio.timeout(self._first_token_s) as self._watch:
                await super()._process_context(context)
            if not self._said:
                await self._apologise("llm-failed", "The language model said nothing.")
        except Exception as error:  # a broken stream raises what its HTTP library calls it
            # Only the kind of error: its text may quote the conversation.
            _log.warning("the language model: %s", type(error).__name__)
            code = "llm-slow" if is_slow(error) else "llm-failed"
            await self._apologise(code, explain("The language model", error, begun=self._said))
        finally:
            self._watch = None

    async def _apologise(self, code: str, message: str) -> None:
        _log.warning("%s", message)
        if self._answer.fail():
            return
        await self.push_frame(FaultFrame(code=code, message=message))
        await self.push_frame(MoodFrame(feeling=self._character.feeling("sorry")))
        await self.push_frame(LLMTextFrame("\n" + self._character.apologies[code] + "\n"))

    async def cleanup(self) -> None:
        """See FrameProcessor; also closes the connections."""
        await super().cleanup()
        await self._client.close()


def _settings(model: str) -> LLMSettings:
    """Settings of a service that has none."""
    return LLMSettings(
        model=model,
        system_instruction=None,
        temperature=None,
        max_tokens=None,
        top_p=None,
        top_k=None,
        frequency_penalty=None,
        presence_penalty=None,
        seed=None,
        filter_incomplete_user_turns=False,
        user_turn_completion_config=None,
    )

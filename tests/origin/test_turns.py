from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pipecat.frames.frames import (
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.utils.asyncio.task_manager import TaskManager
from pipecat.utils.base_object import BaseObject

from origin.config import TurnConfig
from origin.dialogue.matcher import Completeness
from origin.dialogue.turns import EndingStopStrategy

CONFIG = TurnConfig(complete_s=0.0, pause_s=0.2)


class Turn:
    """A user who has spoken, and when the strategy took the turn for over."""

    def __init__(
        self, strategy: EndingStopStrategy, ended: asyncio.Event, said: Callable[[str], Awaitable[None]]
    ) -> None:
        self.strategy = strategy
        self.ended = ended
        self.say = said

    async def waited_s(self) -> float:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(2):
            await self.ended.wait()
        return asyncio.get_running_loop().time() - began


async def make_turn(
    completeness: Completeness,
    probability: float | None,
    judged: list[float] | None = None,
    config: TurnConfig = CONFIG,
) -> Turn:
    async def sounds_finished(seconds: float) -> float:
        if judged is not None:
            judged.append(seconds)
        await asyncio.sleep(0.01)
        assert probability is not None
        return probability

    strategy = EndingStopStrategy(config, lambda text: completeness, None if probability is None else sounds_finished)
    await BaseObject.setup(strategy, TaskManager())
    ended = asyncio.Event()

    async def on_stopped(*_: object) -> None:
        ended.set()

    strategy.add_event_handler("on_user_turn_stopped", on_stopped)

    async def say(text: str) -> None:
        await strategy.process_frame(VADUserStartedSpeakingFrame())
        await strategy.process_frame(VADUserStoppedSpeakingFrame())
        await strategy.process_frame(TranscriptionFrame(text, "viewer", ""))

    return Turn(strategy, ended, say)


@pytest.mark.parametrize(
    ("completeness", "probability", "at_once"),
    [
        ("complete", None, True),
        ("complete", 0.0, True),
        ("unknown", 0.6, True),
        ("unknown", 0.4, False),
        ("unknown", None, False),
        ("incomplete", 0.6, False),
        ("incomplete", 0.95, True),
        ("incomplete", None, False),
    ],
)
async def test_words_and_sound_decide_how_long_the_silence_must_be(
    completeness: Completeness, probability: float | None, at_once: bool
) -> None:
    turn = await make_turn(completeness, probability)
    await turn.say("some words")
    waited_s = await turn.waited_s()
    assert (waited_s < 0.12) if at_once else (0.15 < waited_s < 0.4)


async def test_a_whole_question_is_not_judged_by_its_sound() -> None:
    judged: list[float] = []
    turn = await make_turn("complete", 1.0, judged)
    await turn.say("what is your name")
    assert turn.ended.is_set() and judged == []


async def test_who_goes_on_has_not_finished() -> None:
    turn = await make_turn("unknown", 0.0)
    await turn.say("i would like to")
    await asyncio.sleep(0.1)
    await turn.strategy.process_frame(VADUserStartedSpeakingFrame())
    await asyncio.sleep(0.2)
    assert not turn.ended.is_set()
    await turn.strategy.process_frame(VADUserStoppedSpeakingFrame())
    await asyncio.sleep(0.25)
    assert not turn.ended.is_set()  # the words are not known yet
    await turn.strategy.process_frame(TranscriptionFrame("know", "viewer", ""))
    assert await turn.waited_s() < 0.1  # the silence is that since the detector's stop
    await turn.strategy.cleanup()


async def test_silence_may_be_asked_for_after_whole_questions_too() -> None:
    turn = await make_turn("complete", None, config=TurnConfig(complete_s=0.15, pause_s=0.3))
    await turn.say("what is your name")
    assert 0.1 < await turn.waited_s() < 0.28

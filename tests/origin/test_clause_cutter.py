from __future__ import annotations

from pipecat.frames.frames import AggregatedTextFrame, Frame, InterruptionFrame, LLMFullResponseEndFrame, LLMTextFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.tests.utils import SleepFrame, run_test

from origin.dialogue.answer import Answer
from origin.dialogue.character import load_characters
from origin.dialogue.clause_cutter import ClauseCutter
from origin.dialogue.frames import AnswerFrame
from origin.dialogue.state import DialogueState


def make_state() -> DialogueState:
    return DialogueState(
        send=lambda message: None,
        character=load_characters()["mira"],
        context=LLMContext(),
        history_messages=10,
        on_first_packet=lambda marks: None,
        now=lambda: 5.0,
    )


async def clauses(*frames: Frame) -> tuple[list[str], Answer]:
    answer = Answer()
    down, _ = await run_test(ClauseCutter(make_state()), frames_to_send=[AnswerFrame(answer=answer), *frames])
    return [frame.text for frame in down if isinstance(frame, AggregatedTextFrame)], answer


async def test_pieces_become_clauses_and_the_first_one_is_marked() -> None:
    pieces = [LLMTextFrame(piece) for piece in ("Venus ", "is hot. ", "Very ", "hot")]
    found, answer = await clauses(*pieces, LLMFullResponseEndFrame())
    assert found == ["Venus is hot.", "Very hot"]
    assert answer.first_clause == 5.0


async def test_an_interruption_forgets_the_rest_of_the_answer() -> None:
    found, _ = await clauses(
        LLMTextFrame("Nobody wants to "),
        SleepFrame(),  # interruptions overtake what waits
        InterruptionFrame(),
        SleepFrame(),
        LLMTextFrame("Goodbye. "),
        LLMFullResponseEndFrame(),
    )
    assert found == ["Goodbye."]


async def test_an_answer_without_words_has_no_clause() -> None:
    found, answer = await clauses(LLMTextFrame(" ... "), LLMFullResponseEndFrame())
    assert found == [] and answer.first_clause == 0.0

from __future__ import annotations

import asyncio

from pipecat.frames.frames import TTSAudioRawFrame

from core.limits import CLAUSES_AHEAD_MAX, MEDIA_CLOCK_HZ
from core.session.speculation import Guess
from origin.dialogue.answer import Answer
from origin.dialogue.character import load_characters
from origin.dialogue.clause_stock import ClauseStock
from origin.dialogue.frames import ClauseTimesFrame
from origin.dialogue.openings import OPENING_CHARS_MAX, Opening, Openings, apologies, own_openings


def opening(size_bytes: int = 10) -> Opening:
    return Opening(pcm=bytes(size_bytes), rate_hz=MEDIA_CLOCK_HZ)


def test_what_was_not_used_for_longest_is_forgotten_and_apologies_never() -> None:
    looks: list[bool] = []
    openings = Openings(25, on_look=looks.append)
    openings.keep_apology("sorry", opening(1_000))
    openings.keep("a", opening())
    openings.keep("b", opening())
    assert openings.look("a") is not None
    openings.keep("c", opening())
    assert ["a" in openings, "b" in openings, "c" in openings] == [True, False, True]
    assert openings.size_bytes == 20 and openings.look("b") is None and openings.look("sorry") is not None
    assert looks == [True, False, True]
    openings.keep("large", opening(26))
    assert "large" not in openings and openings.size_bytes == 20
    openings.keep("a", opening(5))
    assert openings.size_bytes == 15


def test_an_apology_is_whole_or_not_there() -> None:
    openings = Openings()
    openings.keep_apology("one", opening())
    assert openings.excuse(("one", "two")) == []
    openings.keep_apology("two", opening())
    assert [text for text, _ in openings.excuse(("one", "two"))] == ["one", "two"]


def test_only_first_clauses_are_taken_and_only_short_ones_kept() -> None:
    openings = Openings()
    stock = ClauseStock(openings, "Sorry. So sorry.")
    stock.begin(Answer())
    assert stock.first and stock.take("hello") is None and not stock.first
    stock.keep("hello", opening(), first=True)
    stock.keep("second", opening(), first=False)
    stock.keep("x" * (OPENING_CHARS_MAX + 1), opening(), first=True)
    assert stock.take("hello") is None  # no first clause any more
    stock.begin(Answer())
    assert stock.take("hello") is not None and "second" not in openings
    assert "x" * (OPENING_CHARS_MAX + 1) not in openings


def test_an_excuse_is_said_once_in_pieces_with_its_text_first() -> None:
    openings = Openings()
    openings.keep_apology("Sorry.", opening(MEDIA_CLOCK_HZ))
    stock = ClauseStock(openings, "Sorry.")
    stock.begin(Answer())
    frames = list(stock.excuse("c"))
    assert isinstance(frames[0], ClauseTimesFrame) and frames[0].text == "Sorry."
    sound = [frame.audio for frame in frames[1:] if isinstance(frame, TTSAudioRawFrame)]
    assert len(sound) == 3 and sum(map(len, sound)) == MEDIA_CLOCK_HZ
    assert list(stock.excuse("c")) == []


def test_a_character_says_its_own_lines_by_clauses() -> None:
    mira = load_characters()["mira"]
    assert next(apologies(mira)) == "Sorry, I lost my voice for a second."
    texts = list(own_openings(mira))
    assert "Honestly?" in texts and len(texts) == len([t for t in texts if t])


async def test_an_answer_is_settled_whoever_waits_for_it() -> None:
    assert await Answer().admitted() and not Answer().open
    failed: list[Guess] = []
    guess = Guess("hello")

    def fail(guess: Guess) -> None:
        failed.append(guess)
        guess.settle("failed")

    answer = Answer(guess, on_failed=fail)
    assert answer.open and answer.wanted and not answer.valid
    assert answer.fail() and failed == [guess]
    assert not await answer.admitted() and not answer.wanted
    assert answer.fail() and failed == [guess]  # nobody is told twice

    confirmed = Answer(Guess("hello"), on_failed=fail)
    assert confirmed.guess is not None
    confirmed.guess.settle("confirmed")
    assert confirmed.valid and not confirmed.fail()  # somebody waits: this must be said
    confirmed.drop()
    assert not await confirmed.admitted() and confirmed.fail()


async def test_clauses_of_a_long_answer_wait_until_earlier_ones_are_spoken() -> None:
    answer = Answer()
    for _ in range(CLAUSES_AHEAD_MAX):
        await answer.clause_sent()
    waiting = asyncio.create_task(answer.clause_sent())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    answer.clause_taken()
    await asyncio.wait_for(waiting, 1)
    waiting = asyncio.create_task(answer.clause_sent())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    answer.drop()  # nobody will take any more of it
    await asyncio.wait_for(waiting, 1)

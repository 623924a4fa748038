from __future__ import annotations

import pytest

from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import WordSpan
from origin.dialogue.heard import SpokenUtterance
from tests.reachable import reachable_bytes


def test_heard_words() -> None:
    utterance = SpokenUtterance(1, 1)
    utterance.add("One two.", 0, 200, (WordSpan("One", 0, 100), WordSpan("two.", 100, 200)))
    utterance.add("three four", 200, 400, ())
    heard = []
    for position in (0, 49, 50, 149, 150, 260, 399, 400):
        utterance.note(position)
        heard.append(utterance.heard_text())
    assert heard[:5] == ["", "", "One", "One", "One two."]
    assert heard[5] == "One two. three" and heard[-1] == utterance.text == "One two. three four"
    utterance.note(0)
    assert utterance.heard_text() == utterance.text


def clause(number: int, begin: int, each: int) -> tuple[str, int, int, tuple[WordSpan, ...]]:
    words = tuple(WordSpan(f"{number}.{n}", begin + n * each, begin + (n + 1) * each) for n in range(10))
    return " ".join(word.text for word in words), begin, begin + 10 * each, words


@pytest.mark.parametrize("step", [1, 7, 25, 90])
def test_clauses_that_were_heard_are_one_and_what_was_heard_is_the_same(step: int) -> None:
    utterance = SpokenUtterance(1, 1)
    whole: list[str] = []
    for number in range(10):
        assert utterance.add(*clause(number, number * 100, 10)) == number
        whole += [f"{number}.{n}" for n in range(10)]
    for until in range(0, 1_000, step):
        utterance.note(until)
        assert utterance.heard_text().split() == whole[: (until + 5) // 10]
        assert utterance.text.split() == whole and utterance.end == 1_000
        assert len(utterance.clauses) == 10 - max(0, until // 100 - 1)
    assert utterance.add(*clause(10, 1_000, 10)) == 10


def test_words_are_retimed_by_the_number_of_their_clause() -> None:
    utterance = SpokenUtterance(1, 1)
    for number in range(4):
        utterance.add(*clause(number, number * 100, 10))
    utterance.note(250)
    before = list(utterance.clauses)
    for heard in (0, 1):
        utterance.retime(heard, (WordSpan("late", 0, 10_000),))
    assert utterance.clauses == before
    utterance.retime(2, (WordSpan("2.0", 200, 260), WordSpan("2.1", 260, 300)))
    assert utterance.heard_text().split()[-1] == "2.0"
    utterance.retime(3, (WordSpan("3.0", 300, 450),))
    assert utterance.end == 450


def test_an_hour_of_speech_keeps_its_text_and_nothing_else() -> None:
    utterance = SpokenUtterance(1, 1)
    sizes: list[int] = []
    for number in range(1_200):
        utterance.add(*clause(number, number * 3 * MEDIA_CLOCK_HZ, 3 * MEDIA_CLOCK_HZ // 10))
        utterance.note((number - 1) * 3 * MEDIA_CLOCK_HZ)
        sizes.append(reachable_bytes(utterance) - len(utterance.text))
    assert max(sizes[600:]) <= max(sizes[:600]) + 500

"""Segments of `bot-output`, as RTVI 2 has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.bot_output import BotOutput


class Client:
    """Collects what is sent."""

    def __init__(self) -> None:
        self.kept: list[Mapping[str, Any]] = []
        self.sent: list[Mapping[str, Any]] = []
        self.output = BotOutput(keep=self.kept.append, send=self.sent.append)

    def progress(self) -> list[tuple[int, str, str, str]]:
        """Segment, status, spoken and remaining text of all that was sent."""
        return [
            (
                data["segment_id"],
                data["spoken_status"],
                data["spoken_progress"]["accumulated_text"],
                data["spoken_progress"]["remaining_text"],
            )
            for data in self.sent
        ]


def test_clauses_are_new_then_in_progress_then_completed_in_order() -> None:
    client = Client()
    client.output.clause("My name is Mira.", 2)
    client.output.clause("Hello!", 1)
    assert [(data["segment_id"], data["text"], data["spoken_status"]) for data in client.kept] == [
        (1, "My name is Mira.", "new"),
        (2, "Hello!", "new"),
    ]
    assert all(data["will_be_spoken"] and data["aggregated_by"] == "sentence" for data in client.kept)
    for word in ("name", "Mira.", "Hello"):
        client.output.word(word)
    assert client.progress() == [
        (1, "in-progress", "My name", " is Mira."),
        (1, "completed", "My name is Mira.", ""),
        (2, "completed", "Hello!", ""),
    ]


def test_a_word_that_stands_there_twice_moves_on() -> None:
    client = Client()
    client.output.clause("no no no", 3)
    for _ in range(3):
        client.output.word("no")
    assert [spoken for _, _, spoken, _ in client.progress()] == ["no", "no no", "no no no"]


def test_words_that_are_not_in_the_text_count_too() -> None:
    client = Client()
    client.output.clause("10 km", 2)
    client.output.word("ten")
    client.output.word("kilometers")
    assert client.progress() == [(1, "in-progress", "", "10 km"), (1, "completed", "10 km", "")]


def test_what_was_passed_over_or_cut_is_not_told() -> None:
    client = Client()
    client.output.word("too early")
    client.output.clause("first one", 2)
    client.output.clause("second", 1)
    client.output.word("first", heard=False)
    client.output.word("one", heard=False)
    client.output.word("second")
    client.output.clause("cut short", 2)
    client.output.cut()
    client.output.word("cut")
    client.output.clause("without times", 0)
    client.output.clause("after", 1)
    client.output.word("after")
    assert client.progress() == [(2, "completed", "second", ""), (5, "completed", "after", "")]

"""What the viewer has really heard of an utterance: from playout positions to words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from core.speech.messages import WordSpan

__all__ = ["SpokenUtterance", "Utterances"]

_KEPT: Final = 4
"""Utterances whose positions may still come in."""


@dataclass(slots=True)
class SpokenUtterance:
    """One utterance as it was sent.

    Attributes:
        id: utterance id.
        turn_id: the turn it answers.
        clauses: each clause's text, the ticks at which it begins and ends, and its words on the utterance's clock (none
            when the voice did not tell: they are then spread over the clause by their length). Of those that were
            heard to their end only the text is kept, as one: the first one, unless nothing was.
        heard_until: ticks that were audible, as far as is known.
        complete: whether all of it was sent.
        cut: whether it was interrupted.
    """

    id: int
    turn_id: int
    clauses: list[tuple[str, int, int, tuple[WordSpan, ...]]] = field(default_factory=list)
    heard_until: int = 0
    complete: bool = False
    cut: bool = False
    _joined: int = 0
    """So many clauses are in the first one."""

    def add(self, text: str, start: int, end: int, words: tuple[WordSpan, ...]) -> int:
        """A clause that will sound from `start` to `end`. Returns: its number."""
        self.clauses.append((text, start, end, words))
        return len(self.clauses) - 1 + self._hidden

    def stretch(self, end: int) -> None:
        """The last clause lasts longer than was known."""
        text, start, _, words = self.clauses[-1]
        self.clauses[-1] = (text, start, end, words)

    def retime(self, number: int, words: tuple[WordSpan, ...]) -> None:
        """It is known better now when the words of one clause sound; of one that was heard nobody asks any more."""
        if number < self._joined:
            return
        index = number - self._hidden
        text, start, end, _ = self.clauses[index]
        self.clauses[index] = (text, start, max(end, words[-1].end), words)

    @property
    def _hidden(self) -> int:
        return max(0, self._joined - 1)

    @property
    def end(self) -> int:
        """The tick after its last word."""
        return self.clauses[-1][2] if self.clauses else 0

    def note(self, heard_until: int) -> None:
        """The viewer has heard this much; positions only grow."""
        self.heard_until = max(self.heard_until, heard_until)
        heard = 0
        # The last one may still become longer.
        while heard < len(self.clauses) - 1 and self.clauses[heard][2] <= self.heard_until:
            heard += 1
        if heard > min(self._joined, 1):
            text = " ".join(text for text, *_ in self.clauses[:heard])
            self.clauses[:heard] = [(text, self.clauses[0][1], self.clauses[heard - 1][2], ())]
            self._joined = self._hidden + heard

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(text for text, *_ in self.clauses)

    def heard_text(self) -> str:
        """The words that were audible. A word counts when at least half of it was."""
        parts: list[str] = []
        for text, start, end, timed in self.clauses:
            words = timed or _spread(text, start, end)
            if self.heard_until >= end:
                parts.append(text)
                continue
            heard = [word.text for word in words if (word.start + word.end) // 2 <= self.heard_until]
            if words and len(heard) == len(words):
                parts.append(text)
                continue
            parts.extend(heard)
            break
        return " ".join(parts)


class Utterances:
    """A session's utterances: numbered, the newest ones kept for positions that come in later.

    Args:
        before: the number before the first one.
    """

    def __init__(self, before: int = 0) -> None:
        self._count = before
        self._kept: dict[int, SpokenUtterance] = {}

    @property
    def last(self) -> int:
        """Number of the newest one."""
        return self._count

    def go_on_from(self, before: int) -> None:
        """Number the next one `before` + 1. Raises: nothing; a lower number than there was changes nothing."""
        self._count = max(self._count, before)

    def begin(self, turn_id: int) -> SpokenUtterance:
        """A new utterance of the character."""
        self._count += 1
        utterance = self._kept[self._count] = SpokenUtterance(self._count, turn_id)
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return utterance

    def get(self, utterance_id: int) -> SpokenUtterance | None:
        """One of the newest; None for others."""
        return self._kept.get(utterance_id)

    def newest_unheard(self) -> SpokenUtterance | None:
        """The last utterance, if it was sent but not heard to its end."""
        utterance = self._kept.get(self._count)
        if utterance is None or utterance.cut or not utterance.clauses:
            return None
        return None if utterance.heard_until >= utterance.end else utterance


def _spread(text: str, start: int, end: int) -> tuple[WordSpan, ...]:
    words = text.split()
    total = sum(len(word) + 1 for word in words)
    spans: list[WordSpan] = []
    position = 0
    for word in words:
        begin = start + (end - start) * position // total
        position += len(word) + 1
        spans.append(WordSpan(word, begin, start + (end - start) * position // total))
    return tuple(spans)

"""Answering before it is certain that the user has finished: guesses, and what becomes of them. Pure: no clock, no IO.

At a pause the answer to what was said so far is begun (a guess). When the turn ends with the same words the guess is
confirmed and is the answer; otherwise it is cancelled, and nothing of it is ever seen or heard. It is settled once.

| from | by | to |
|---|---|---|
| open | end of the turn, the same words | confirmed |
| open | other words, the user goes on, an interruption | cancelled |
| open | a service that fails | failed |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

from core.limits import GUESSES_PER_TURN_MAX

__all__ = ["Guess", "GuessState", "Outcome", "Speculation", "Step", "same_words"]

_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

Outcome = Literal["confirmed", "changed", "went-on", "interrupted", "failed"]
"""What became of a guess. `changed`: other words came; `went-on`: the user did; `interrupted`: barge-in or typing."""


class GuessState(Enum):
    """See the module."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    FAILED = "failed"


_SETTLED: Final[dict[Outcome, GuessState]] = {
    "confirmed": GuessState.CONFIRMED,
    "changed": GuessState.CANCELLED,
    "went-on": GuessState.CANCELLED,
    "interrupted": GuessState.CANCELLED,
    "failed": GuessState.FAILED,
}


@dataclass(slots=True, eq=False)
class Guess:
    """One answer that was begun early.

    Attributes:
        text: what it answers.
        state: settled once.
        outcome: why it is settled; None while it is open.
    """

    text: str
    state: GuessState = GuessState.OPEN
    outcome: Outcome | None = None

    def settle(self, outcome: Outcome) -> bool:
        """Settle it. Returns: False when it was settled before; that stays."""
        if self.state is not GuessState.OPEN:
            return False
        self.state, self.outcome = _SETTLED[outcome], outcome
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done, in this order.

    Attributes:
        settled: this guess is over; unless it is confirmed, throw away everything of it.
        started: begin to answer this one.
    """

    settled: Guess | None = None
    started: Guess | None = None


@dataclass(slots=True)
class Speculation:
    """The guesses of one session; at most one is open at any time.

    Attributes:
        enabled: False: nothing is ever guessed.
        outcomes: how many guesses of each outcome there were.
    """

    enabled: bool = True
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    _last: Guess | None = None
    _begun: int = 0

    @property
    def open(self) -> Guess | None:
        """The guess that waits for the end of the turn."""
        return self._last if self._last is not None and self._last.state is GuessState.OPEN else None

    def begin_turn(self) -> Step:
        """The user begins a turn."""
        step = Step(settled=self._settle("interrupted"))
        self._last, self._begun = None, 0
        return step

    def pause(self, text: str) -> Step:
        """The user pauses, and `text` is what was said so far in this turn."""
        if self._last is not None and same_words(self._last.text, text):
            return Step()  # it waits already, or has failed: it is not tried again before the turn ends
        settled = self._settle("changed")
        if not self.enabled or not _words(text) or self._begun >= GUESSES_PER_TURN_MAX:
            return Step(settled=settled)
        self._begun += 1
        self._last = Guess(text)
        return Step(settled=settled, started=self._last)

    def go_on(self) -> Step:
        """The user speaks again: what was said is not all."""
        step = Step(settled=self._settle("went-on"))
        self._last = None
        return step

    def interrupt(self) -> Step:
        """Something else happens first: a barge-in, typed text, the end of the session."""
        step = Step(settled=self._settle("interrupted"))
        self._last = None
        return step

    def fail(self, guess: Guess) -> bool:
        """A service could not answer. Returns: False when the guess was settled already."""
        failed = guess.settle("failed")
        if failed:
            self._count("failed")
        return failed

    def end(self, text: str) -> Step:
        """The turn ends with these words. `settled` is their answer if it is confirmed; else they are to be asked."""
        same = self._last is not None and same_words(self._last.text, text)
        step = Step(settled=self._settle("confirmed" if same else "changed"))
        self._last, self._begun = None, 0
        return step

    def _settle(self, outcome: Outcome) -> Guess | None:
        guess = self.open
        if guess is None or not guess.settle(outcome):
            return None
        self._count(outcome)
        return guess

    def _count(self, outcome: Outcome) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


def same_words(one: str, other: str) -> bool:
    """Whether two transcripts say the same: the same words in the same order; case and punctuation do not count."""
    return _words(one) == _words(other)


def _words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]

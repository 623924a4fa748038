"""One answer on its way through the pipeline. It may be a guess: nothing of it leaves before that is confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from core.limits import CLAUSE_TAKEN_S_MAX, CLAUSES_AHEAD_MAX
from core.session.speculation import Guess, GuessState

__all__ = ["Answer"]


class Answer:
    """See the module.

    Args:
        guess: None: the question is certain.
        on_failed: told when a service could not answer a guess; settles it.

    Attributes:
        first_clause: monotonic seconds at which its first clause was there; 0 while there is none.
        audible: its first packet has left, or it is over without any.
    """

    def __init__(self, guess: Guess | None = None, on_failed: Callable[[Guess], None] = lambda guess: None) -> None:
        self.guess = guess
        self._on_failed = on_failed
        self.first_clause = 0.0
        self.audible = False
        self._dropped = False
        self._ahead = 0
        self._taken = asyncio.Event()
        self._settled = asyncio.Event()

    @property
    def open(self) -> bool:
        """It is a guess, and not settled."""
        return not self._dropped and self.guess is not None and self.guess.state is GuessState.OPEN

    @property
    def valid(self) -> bool:
        """It answers what was really asked, and nobody has interrupted it."""
        return not self._dropped and (self.guess is None or self.guess.state is GuessState.CONFIRMED)

    @property
    def wanted(self) -> bool:
        """It is worth working on."""
        return self.open or self.valid

    def settle(self) -> None:
        """Its guess is settled: whoever waits goes on."""
        self._settled.set()

    def drop(self) -> None:
        """It is interrupted. Interruptions overtake frames that have just been pushed: what still arrives of this
        answer is known by that."""
        self._dropped = True
        self._taken.set()
        self.settle()

    def clause_taken(self) -> None:
        """A clause has reached its turn to be spoken."""
        self._ahead = max(0, self._ahead - 1)
        self._taken.set()

    async def clause_sent(self) -> None:
        """One more clause is on its way to the voice. Waits while there are CLAUSES_AHEAD_MAX of them."""
        self._ahead += 1
        while self._ahead > CLAUSES_AHEAD_MAX and not self._dropped:
            self._taken.clear()
            try:
                await asyncio.wait_for(self._taken.wait(), CLAUSE_TAKEN_S_MAX)
            except TimeoutError:
                self._ahead = 1

    async def admitted(self) -> bool:
        """Wait until the answer is settled. Returns: whether it may be seen and heard."""
        if self.open:
            await self._settled.wait()
        return self.valid

    def fail(self) -> bool:
        """A service could not do its part. Returns: True: it was a guess and nobody need know (if it was open, the
        question is asked once more when the turn ends); False: somebody waits for this answer."""
        if self.open and self.guess is not None:
            self._on_failed(self.guess)
            self.settle()
        return not self.valid

"""Times of a clause that become better while its sound comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from core.speech.messages import PhonemeSpan, WordSpan

__all__ = ["FOREVER", "LiveTimes"]

FOREVER: Final = 1 << 62
"""Later than any tick of a clause."""


class LiveTimes:
    """Words and phonemes on the clause's own 48 kHz clock; empty while nothing is known.

    All versions have the same sounds in the same order, only at other times.

    Attributes:
        settled_until: nothing before this tick will move any more.
    """

    def __init__(self) -> None:
        self.words: tuple[WordSpan, ...] = ()
        self.phonemes: tuple[PhonemeSpan, ...] = ()
        self.settled_until = 0
        self._listener: Callable[[], None] | None = None

    def follow(self, listener: Callable[[], None]) -> None:
        """Tell `listener` of every change from now on, in place of whoever was told before."""
        self._listener = listener

    def settle(self, until: int = FOREVER) -> None:
        """What there is before that tick is as good as it gets."""
        self.settled_until = max(self.settled_until, until)

    def revise(self, words: tuple[WordSpan, ...], phonemes: tuple[PhonemeSpan, ...]) -> None:
        """Better ones."""
        self.words, self.phonemes = words, phonemes
        if self._listener is not None:
            self._listener()

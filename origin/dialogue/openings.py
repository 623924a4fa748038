"""What a character says often at the beginning of an answer, kept as sound: it is spoken without asking the voice.

Its own lines are made ready before anybody asks, the apology for a lost voice among them: that is what it says when the
voice is out of reach. First clauses of other answers are kept when they were short.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from core.limits import OPENINGS_SIZE_BYTES_MAX
from core.speech.messages import PhonemeSpan, WordSpan
from origin.dialogue.character import Character
from origin.dialogue.clauses import split_clauses

__all__ = ["OPENING_CHARS_MAX", "Opening", "Openings", "apologies", "own_openings"]

OPENING_CHARS_MAX: Final = 48
"""A longer first clause is hardly said twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A clause as sound.

    Attributes:
        pcm: 16-bit little-endian mono.
        rate_hz: of `pcm`.
        words, phonemes: on the clause's own 48 kHz clock; none where the voice does not tell.
    """

    pcm: bytes
    rate_hz: int
    words: tuple[WordSpan, ...] = ()
    phonemes: tuple[PhonemeSpan, ...] = ()


class Openings:
    """Those of one character.

    Args:
        size_bytes_max: of their sound; beyond it the one that was not used for longest is forgotten, apologies never.
        on_look: told whether a first clause was there, for metrics.
    """

    def __init__(
        self, size_bytes_max: int = OPENINGS_SIZE_BYTES_MAX, on_look: Callable[[bool], None] = lambda found: None
    ) -> None:
        self._size_bytes_max = size_bytes_max
        self._on_look = on_look
        self._kept: OrderedDict[str, Opening] = OrderedDict()
        self._apologies: dict[str, Opening] = {}
        self.size_bytes = 0
        self.warming = False

    def __contains__(self, text: str) -> bool:
        return text in self._kept or text in self._apologies

    def look(self, text: str) -> Opening | None:
        """The sound of a first clause, if it is there."""
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
        else:
            found = self._apologies.get(text)
        self._on_look(found is not None)
        return found

    def excuse(self, texts: tuple[str, ...]) -> list[tuple[str, Opening]]:
        """These clauses of an apology, or none at all if one of them is missing."""
        found = [(text, self._apologies[text]) for text in texts if text in self._apologies]
        return found if len(found) == len(texts) else []

    def keep_apology(self, text: str, opening: Opening) -> None:
        """Keep a clause for good."""
        self._apologies[text] = opening

    def keep(self, text: str, opening: Opening) -> None:
        """Keep a clause; one that alone is too large is not kept."""
        if len(opening.pcm) > self._size_bytes_max:
            return
        former = self._kept.pop(text, None)
        self.size_bytes += len(opening.pcm) - (0 if former is None else len(former.pcm))
        self._kept[text] = opening
        while self.size_bytes > self._size_bytes_max:
            _, oldest = self._kept.popitem(last=False)
            self.size_bytes -= len(oldest.pcm)


def apologies(character: Character) -> Iterator[str]:
    """All clauses that the character apologises with, that for its voice first."""
    for code in sorted(character.apologies, key=lambda code: code != "tts-failed"):
        yield from split_clauses(character.apologies[code])


def own_openings(character: Character) -> Iterator[str]:
    """First clauses of all that the character says by itself."""
    lines = [*character.not_heard, *character.greeting, *character.fallback]
    lines += [line for intent in character.intents for line in intent.lines]
    for line in lines:
        yield from split_clauses(line)[:1]

"""What a voice service needs besides its service: the openings it need not ask for, and what is said when it fails."""

from __future__ import annotations

from collections.abc import Iterator

from pipecat.frames.frames import Frame, TTSAudioRawFrame

from origin.dialogue.answer import Answer
from origin.dialogue.clauses import split_clauses
from origin.dialogue.frames import ClauseTimesFrame
from origin.dialogue.openings import OPENING_CHARS_MAX, Opening, Openings

__all__ = ["ClauseStock"]

_CHUNKS_PER_S = 5


class ClauseStock:
    """One session's, over the openings of its character.

    Args:
        openings: shared by all sessions with this character.
        apology: what the character says when it has no voice.

    Attributes:
        answer: the one that is being spoken.
        broken: the voice has failed in it and is not asked for the rest.
    """

    def __init__(self, openings: Openings, apology: str) -> None:
        self._openings = openings
        self._apology = tuple(split_clauses(apology))
        self._first = False
        self._excused = False
        self.answer = Answer()
        self.broken = False

    def begin(self, answer: Answer) -> None:
        """Another answer."""
        self.answer = answer
        self._first, self._excused, self.broken = True, False, False

    def take(self, text: str) -> Opening | None:
        """The sound of this clause, if it is the answer's first one and there."""
        first, self._first = self._first, False
        return self._openings.look(text) if first else None

    def keep(self, text: str, opening: Opening, *, first: bool) -> None:
        """This was said: keep it if it may begin another answer."""
        if first and len(text) <= OPENING_CHARS_MAX:
            self._openings.keep(text, opening)

    @property
    def first(self) -> bool:
        """The next clause is the answer's first one."""
        return self._first

    def excuse(self, context_id: str) -> Iterator[Frame]:
        """The character's apology for its voice, once per answer; nothing where it is not there."""
        if not self._excused:
            self._excused = True
            for text, opening in self._openings.excuse(self._apology):
                yield from speak(text, opening, context_id)


def speak(text: str, opening: Opening, context_id: str) -> Iterator[Frame]:
    """The frames of a clause."""
    yield ClauseTimesFrame(text=text, words=opening.words, phonemes=opening.phonemes)
    chunk = opening.rate_hz * 2 // _CHUNKS_PER_S
    for offset in range(0, len(opening.pcm), chunk):
        yield TTSAudioRawFrame(opening.pcm[offset : offset + chunk], opening.rate_hz, 1, context_id=context_id)

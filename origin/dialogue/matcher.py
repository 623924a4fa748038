"""Which intent of a character a transcript means, and whether it sounds finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from rapidfuzz import fuzz, process

from origin.dialogue.character import Character, Intent
from origin.dialogue.grammar import normalise

__all__ = ["Completeness", "Match", "Matcher"]

Completeness = Literal["complete", "unknown", "incomplete"]

_SCORE_MIN: Final = 72.0
"""Measured on paraphrases and on other people's questions; tests/origin/test_matcher.py holds both lists."""
_SHORT_SCORE_MIN: Final = 88.0
"""One or two words are alike by accident."""
_SHORT_WORDS_MAX: Final = 2
_DANGLING: Final = frozenset({
    "a", "an", "and", "the", "of", "to", "in", "on", "at", "with", "for", "from", "by", "or", "but", "so", "because",
    "if", "what's", "is", "are", "was", "my", "your", "about", "how", "why", "which", "who", "whose", "very", "than",
    "like", "um", "uh", "er", "tell", "me", "can", "could", "would", "does", "do",
})  # fmt: skip
"""Nobody ends a question with these words; the user is looking for the next one."""
_STOP_WORDS: Final = frozenset({
    "a", "an", "the", "of", "to", "in", "on", "at", "is", "are", "was", "please", "me", "i", "you", "it", "that",
    "this", "there", "do", "does", "can",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Match:
    """An intent and how well it fits, 0-100."""

    intent: Intent
    score: float


class Matcher:
    """Fuzzy matching over a character's example phrases."""

    def __init__(self, character: Character) -> None:
        self._owners = {example: intent for intent in character.intents for example in intent.examples}
        self._examples = list(self._owners)

    def match(self, text: str) -> Match | None:
        """The best intent, None when nothing fits well enough."""
        words = normalise(text)
        if not words:
            return None
        exact = self._owners.get(words)
        if exact is not None:
            return Match(exact, 100.0)
        best = process.extractOne(words, self._examples, scorer=_likeness)
        if best is None:
            return None
        example, score, _ = best
        enough = _SHORT_SCORE_MIN if len(words.split()) <= _SHORT_WORDS_MAX else _SCORE_MIN
        return Match(self._owners[example], score) if score >= enough else None

    def completeness(self, text: str) -> Completeness:
        """Whether the user seems to have finished."""
        words = normalise(text)
        if words in self._owners:
            return "complete"
        if words and words.split()[-1] in _DANGLING:
            return "incomplete"
        found = self.match(words)
        return "complete" if found is not None and found.score >= _SHORT_SCORE_MIN else "unknown"


def _likeness(first: str, second: str, **options: object) -> float:
    """Letters in order count as much as words in any order; content words that are missing cost."""
    letters = fuzz.ratio(first, second)
    ordered = fuzz.token_sort_ratio(first, second)
    content_first = {word for word in first.split() if word not in _STOP_WORDS}
    content_second = {word for word in second.split() if word not in _STOP_WORDS}
    if not content_first or not content_second:
        return float(letters)
    contained = fuzz.token_set_ratio(" ".join(sorted(content_first)), " ".join(sorted(content_second)))
    return float(max(letters, 0.5 * ordered + 0.5 * contained))

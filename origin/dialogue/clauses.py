"""Cuts the stream of a language model into clauses that can be spoken as they come."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["ClauseSplitter", "split_clauses"]

_FIRST_CHARS_MIN: Final = 12
"""The first clause may end at a comma when it is at least this long: the sooner it is spoken the better."""
_CHARS_MAX: Final = 220
"""A clause without any punctuation is cut at a blank before this."""
_SENTENCE_END: Final = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|\n+")
_SOFT_END: Final = re.compile(r"[,;:–—](?=\s)")
_ABBREVIATION: Final = re.compile(r"(?:\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|approx|No))\.\Z")
_MARKUP: Final = re.compile(r"[*_#`~]+|\[(?P<text>[^\]]*)\]\([^)]*\)")
_SPEAKABLE: Final = re.compile(r"\w")


class ClauseSplitter:
    """Fed with pieces of text, gives whole clauses; `flush` gives the rest."""

    def __init__(self) -> None:
        self._buffer = ""
        self._first = True

    def feed(self, text: str) -> Iterator[str]:
        """The clauses that are complete now."""
        self._buffer += text
        while (cut := self._cut()) > 0:
            clause, self._buffer = self._buffer[:cut], self._buffer[cut:]
            if spoken := _speakable(clause):
                self._first = False
                yield spoken

    def flush(self) -> str:
        """What is left, "" for nothing; ready for the next answer."""
        rest, self._buffer, self._first = self._buffer, "", True
        return _speakable(rest)

    def _cut(self) -> int:
        """Where the first clause of the buffer ends, 0 when it is not complete."""
        for match in _SENTENCE_END.finditer(self._buffer):
            if not _ABBREVIATION.search(self._buffer[: match.end()]):
                sentence = match.end()
                break
        else:
            sentence = 0
        if self._first:
            for match in _SOFT_END.finditer(self._buffer, 0, sentence or len(self._buffer)):
                if match.end() >= _FIRST_CHARS_MIN:
                    return match.end()
        if sentence:
            return sentence
        if len(self._buffer) > _CHARS_MAX:
            soft = [match.end() for match in _SOFT_END.finditer(self._buffer, 0, _CHARS_MAX)]
            return soft[-1] if soft else max(self._buffer.rfind(" ", 0, _CHARS_MAX), 0) or _CHARS_MAX
        return 0


def split_clauses(text: str) -> list[str]:
    """A whole text as clauses."""
    splitter = ClauseSplitter()
    clauses = list(splitter.feed(text))
    rest = splitter.flush()
    return [*clauses, rest] if rest else clauses


def _speakable(text: str) -> str:
    """Without markup; "" when there is nothing to say in it."""
    clean = " ".join(_MARKUP.sub(lambda match: match.group("text") or "", text).split())
    return clean if _SPEAKABLE.search(clean) else ""

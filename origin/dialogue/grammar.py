"""The character's phrases as a grammar: normalised words, JSGF text, and what the dictionary does not know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final

__all__ = ["Grammar", "build_grammar", "normalise"]

_APOSTROPHES: Final = str.maketrans({"\u2019": "'", "\u02bc": "'"})
_WORD: Final = re.compile(r"[a-z]+(?:'[a-z]+)*")


def normalise(text: str) -> str:
    """Lower-case words separated by single blanks: what the recogniser writes and the matcher compares."""
    return " ".join(_WORD.findall(text.lower().translate(_APOSTROPHES)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """A grammar ready for the recogniser.

    Attributes:
        jsgf: the text of one public rule, or "" when no phrase is left.
        phrases: the phrases in it, normalised.
        pronunciations: words that were added to the dictionary, with their phones.
        unknown: words that neither the dictionary nor the character pronounces; their phrases were left out.
    """

    jsgf: str
    phrases: tuple[str, ...]
    pronunciations: Mapping[str, str]
    unknown: tuple[str, ...]


def build_grammar(phrases: Iterable[str], vocabulary: Set[str], pronunciations: Mapping[str, str]) -> Grammar:
    """Turn example phrases into a grammar.

    Args:
        phrases: as people write them.
        vocabulary: words that the dictionary pronounces.
        pronunciations: the character's own words, ARPAbet phones separated by blanks.
    """
    known: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for phrase in phrases:
        text = normalise(phrase)
        if not text:
            continue
        missing = [word for word in text.split() if word not in vocabulary and word not in pronunciations]
        if missing:
            unknown.update(dict.fromkeys(missing))
        else:
            known[text] = None
    used = {word for text in known for word in text.split()}
    added = {word: phones for word, phones in pronunciations.items() if word in used and word not in vocabulary}
    body = "\n  | ".join(known)
    jsgf = f"#JSGF V1.0;\ngrammar phrases;\npublic <phrase> = {body};\n" if known else ""
    return Grammar(jsgf=jsgf, phrases=tuple(known), pronunciations=added, unknown=tuple(unknown))

"""What the corpus says: written sentences, sentences from a seeded grammar, and dictionary words in any order.

The last give every sound every neighbour; the first two give the rhythm of real talk.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

__all__ = ["HELD_OUT", "TRAINING", "draw_text", "sentences"]

TRAINING: Final = "training"
HELD_OUT: Final = "held out"

_PARTS: Final = ("subjects", "verbs", "objects", "places")
_OPENINGS: Final = ("", "", "", "Well, ", "You know, ", "Yes, ", "I believe ", "However, ", "Perhaps ", "No, ")


@cache
def sentences(section: str) -> tuple[str, ...]:
    """The lines of a section of sentences.txt."""
    text = (Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8")
    body = text.partition(f"[{section}]\n")[2].partition("\n\n")[0]
    return tuple(line for line in body.splitlines() if line)


@cache
def _dictionary() -> tuple[str, ...]:
    """Plain words of the recogniser's dictionary, in its order."""
    from pocketsphinx import get_model_path

    path = Path(get_model_path()) / "en-us" / "cmudict-en-us.dict"
    with path.open(encoding="utf-8") as lines:
        words = (line.split(" ", 1)[0] for line in lines)
        return tuple(word for word in words if word.isalpha() and 2 < len(word) < 12)


def draw_text(rng: np.random.Generator, section: str) -> str:
    """One utterance.

    Args:
        section: TRAINING or HELD_OUT; the latter draws only written sentences.
    """
    written = sentences(section)
    kind = rng.random()
    if section == HELD_OUT or kind < 0.2:
        return written[int(rng.integers(len(written)))]
    if kind < 0.55:
        text = str(rng.choice(_OPENINGS)) + " ".join(str(rng.choice(sentences(part))) for part in _PARTS)
        return text[0].upper() + text[1:] + str(rng.choice([".", ".", ".", "?", "!"]))
    words = _dictionary()
    drawn = [words[int(rng.integers(len(words)))] for _ in range(int(rng.integers(4, 10)))]
    if len(drawn) > 5 and rng.random() < 0.5:
        drawn[len(drawn) // 2] += ","
    return " ".join(drawn).capitalize() + "."

"""PocketSphinx, twice: the character's phrases as a grammar and free dictation, and a judge of which to trust.

Imported only by the recogniser's worker process: decoding holds the interpreter lock for tens of milliseconds.

Both decoders hear the same audio as it comes, so that a result is ready when speech ends. The grammar fits whatever is
said to one of its phrases; it is trusted when its path scores nearly as well per frame as free dictation, which may say
anything, or when both agree on the phones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pocketsphinx import Decoder, get_model_path

from origin.dialogue.grammar import Grammar, build_grammar

__all__ = ["SAMPLE_RATE_HZ", "Recogniser", "Recognition", "trust_grammar"]

SAMPLE_RATE_HZ: Final = 16_000
_BIAS, _GAP, _LIKENESS = -2.74, -0.134, 5.44
_FILLERS: Final = frozenset({"<s>", "</s>", "<sil>", "[NOISE]", "[SPEECH]", "(NULL)"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What was understood.

    Attributes:
        text: the better of the two hypotheses, "" for nothing.
        in_grammar: whether it is a phrase of the character.
        grammar_text, dictation_text: the hypotheses.
        score_gap: score of dictation minus that of the grammar, in PocketSphinx's log units per 10 ms frame of speech;
            negative when the grammar fits, as dictation pays for its language model.
        likeness: 0-1, how alike the phones of both hypotheses are.
        frames: 10 ms frames of speech that were decoded.
    """

    text: str
    in_grammar: bool
    grammar_text: str
    dictation_text: str
    score_gap: float
    likeness: float
    frames: int


def trust_grammar(score_gap: float, likeness: float) -> bool:
    """Whether a grammar hypothesis is what was said.

    A logistic regression over 120 phrases of the grammar and 75 others in five synthetic voices; the line lies where a
    phrase is believed at odds of 1 to 2, as a believed phrase is answered and an unbelieved one hardly ever is.

    Args:
        score_gap, likeness: see Recognition.
    """
    return _BIAS + _GAP * score_gap + _LIKENESS * likeness > 0.0


def _clean(text: str) -> str:
    words = (word.split("(")[0] for word in text.split())
    return " ".join(word for word in words if word and word not in _FILLERS and not word.startswith(("<", "[", "+")))


class Recogniser:
    """One stream of speech at a time, of any of the characters that were prepared.

    Loading takes about 0.7 s and two acoustic models' memory.
    """

    def __init__(self) -> None:
        model = Path(get_model_path()) / "en-us"
        shared: dict[str, Any] = {
            "hmm": str(model / "en-us"),
            "dict": str(model / "cmudict-en-us.dict"),
            "loglevel": "FATAL",
            "fwdflat": False,
        }
        self._dictation = Decoder(lm=str(model / "en-us.lm.bin"), bestpath=False, maxhmmpf=3000, maxwpf=10, **shared)
        # Beams far wider than the default: the grammar is small, and what is pruned is not understood.
        self._grammar = Decoder(lm=None, bestpath=False, beam=1e-64, wbeam=1e-48, pbeam=1e-64, **shared)
        self._words = _read_words(model / "cmudict-en-us.dict")
        self._grammars: dict[str, Grammar] = {}
        self._active = ""
        self._frames = 0
        self._heard = bytearray()

    def prepare(self, character: str, phrases: Iterable[str], pronunciations: Mapping[str, str]) -> Grammar:
        """Compile a character's grammar once; again if its phrases changed."""
        grammar = build_grammar(phrases, self._words.keys(), pronunciations)
        for word, phones in grammar.pronunciations.items():
            for decoder in (self._grammar, self._dictation):
                if decoder.lookup_word(word) is None:
                    decoder.add_word(word, phones, True)
            self._words[word] = tuple(phones.split())
        if grammar.jsgf:
            self._grammar.add_jsgf_string(_search_name(character), grammar.jsgf)
        self._grammars[character] = grammar
        return grammar

    def start(self, character: str) -> None:
        """Begin an utterance; `character` must have been prepared (or everything is dictation)."""
        grammar = self._grammars.get(character)
        self._active = character if grammar is not None and grammar.jsgf else ""
        if self._active:
            self._grammar.activate_search(_search_name(character))
            self._grammar.start_utt()
        self._dictation.start_utt()
        self._frames = 0

    def feed(self, pcm: bytes) -> None:
        """Decode more of the utterance: 16 kHz mono 16-bit PCM."""
        if self._active:
            self._grammar.process_raw(pcm, False, False)
        self._dictation.process_raw(pcm, False, False)

    def partial(self) -> str:
        """The dictation so far."""
        hypothesis = self._dictation.hyp()
        return "" if hypothesis is None else _clean(hypothesis.hypstr)

    def finish(self) -> Recognition:
        """End the utterance and judge."""
        dictation, dictation_score, dictation_frames = self._end(self._dictation)
        grammar, grammar_score, grammar_frames = self._end(self._grammar) if self._active else ("", -math.inf, 0)
        frames = max(1, dictation_frames, grammar_frames)
        # Without a way to the end of any phrase the decoder gives the beginning of one, which nobody said.
        if self._active and grammar not in self._grammars[self._active].phrases:
            grammar = ""
        gap = (dictation_score - grammar_score) / frames if grammar else math.inf
        likeness = self._likeness(grammar, dictation)
        trusted = bool(grammar) and trust_grammar(gap, likeness)
        return Recognition(
            text=grammar if trusted else dictation,
            in_grammar=trusted,
            grammar_text=grammar,
            dictation_text=dictation,
            score_gap=gap,
            likeness=likeness,
            frames=frames,
        )

    def _end(self, decoder: Decoder) -> tuple[str, float, int]:
        """Words, score, and frames that are not silence."""
        decoder.end_utt()
        hypothesis = decoder.hyp()
        if hypothesis is None:
            return "", -math.inf, 0
        segments = list(decoder.seg())
        frames = sum(part.end_frame - part.start_frame + 1 for part in segments if part.word not in _FILLERS)
        # The binding shows scores as probabilities; back to integer log scores, on one scale for both decoders.
        return _clean(hypothesis.hypstr), float(decoder.get_logmath().log(hypothesis.score)), frames

    def _likeness(self, first: str, second: str) -> float:
        from rapidfuzz.distance import Levenshtein

        def phones(text: str) -> list[str]:
            return [phone for word in text.split() for phone in self._words.get(word, (word,))]

        return float(Levenshtein.normalized_similarity(phones(first), phones(second)))


def _search_name(character: str) -> str:
    return f"character-{character}"


def _read_words(path: Path) -> dict[str, tuple[str, ...]]:
    words: dict[str, tuple[str, ...]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            word, *phones = line.split()
            words[word] = tuple(phones)
    return words

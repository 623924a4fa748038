from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.speech.phonemes import PAUSE, split_symbol

SPOKEN = json.loads((Path(__file__).parents[1] / "data" / "espeak_spans.json").read_text(encoding="utf-8"))


def sounds(symbol: str) -> str:
    return "".join(segment.sound for segment in split_symbol(symbol)[0])


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [("p", "p"), ("aɪ", "aɪ"), ("iː", "i"), ("ˈəʊ", "əʊ"), ("aɪə", "aɪə"), ("tʃ", "tʃ"), ("ɔːɹ", "ɔɹ"), ("ɚ", "əɹ"),
     ("n̩", "n"), ("əl", "əl"), ("", PAUSE), ("_", PAUSE), ("tʲ", "t"), ("ɫ", "ɫ")],
)  # fmt: skip
def test_symbols_come_apart(symbol: str, expected: str) -> None:
    assert sounds(symbol) == expected
    assert split_symbol(symbol)[2] == 0


def test_stress_and_length_are_read_from_the_symbol() -> None:
    assert split_symbol("ˈuː")[1] == 2
    assert split_symbol("ˌɪɹ")[1] == 1
    assert split_symbol("uː")[0][0].long


@pytest.mark.parametrize("symbol", ["Q", "λ", "日", "?!", "p日"])
def test_unknown_letters_look_neutral_and_are_counted(symbol: str) -> None:
    segments, _, unknown = split_symbol(symbol)
    assert unknown == 1
    assert segments[-1].sound == "ə" or segments[0].sound == "ə"


def test_espeak_says_nothing_unknown() -> None:
    symbols = {span[0] for spoken in SPOKEN for span in spoken["spans"]}
    assert len(symbols) > 40
    assert {symbol: split_symbol(symbol)[2] for symbol in symbols if split_symbol(symbol)[2]} == {}


@given(st.text(max_size=40))
def test_any_text_gives_segments_that_fill_the_symbol(symbol: str) -> None:
    segments, stress, unknown = split_symbol(symbol)
    assert sum(segment.share for segment in segments) == pytest.approx(1.0)
    assert stress in (0, 1, 2)
    assert 0 <= unknown <= len(symbol)

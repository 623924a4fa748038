from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.bench import dialogue


def test_phrases_come_from_everywhere_and_none_twice() -> None:
    texts = [str(number) for number in range(100)]
    assert dialogue.spread(texts, 4) == ["0", "25", "50", "75"]
    assert dialogue.spread(texts, 500) == texts
    assert dialogue.spread(texts, 0) == []


def test_every_voice_says_something_and_it_is_what_was_asked_for(tmp_path: Path) -> None:
    said = dialogue.make_sounds("x", ["one", "two", "three", "four", "one"], tmp_path)
    assert [each.text for each in said] == ["one", "two", "three", "four", "one"]
    assert all(each.samples.size > 24_000 and abs(each.samples).max() == pytest.approx(0.5, abs=0.1) for each in said)
    assert said[0].samples.size != said[4].samples.size  # the rates take turns

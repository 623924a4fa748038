from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.limits import MEDIA_CLOCK_HZ
from core.speech.clause_times import Pronounced, first_sound, last_sound, pronounced, times
from core.speech.messages import PhonemeSpan, WordSpan

PHONEMES = [
    PhonemeSpan("h", 100, 200), PhonemeSpan("ə", 200, 400, 1), PhonemeSpan("", 400, 600), PhonemeSpan("p", 600, 700),
    PhonemeSpan("ʌ", 700, 1_000, 2), PhonemeSpan("", 1_000, 2_000),
]  # fmt: skip
WORDS = [WordSpan("A", 100, 400), WordSpan("—", 400, 400), WordSpan("pup!", 600, 1_000)]
SAID = pronounced(PHONEMES, WORDS)


def test_pauses_go_and_every_sound_knows_its_word() -> None:
    assert [span.symbol for span in SAID.sounds] == ["h", "ə", "p", "ʌ"]
    assert SAID.word_of == (0, 0, 2, 2) and SAID.words == ("A", "—", "pup!")
    assert SAID.spelled() == [(0, ("h", "ə")), (2, ("p", "ʌ"))]
    assert SAID.length == 900


def test_nothing_is_said_without_sounds_or_words() -> None:
    for said in (pronounced([], WORDS), pronounced(PHONEMES, [])):
        assert said.sounds == () and said.length == 0 and said.spelled() == []
        assert times(said, [(1, 2)], 5, 10, 1.0)[1] == ()
    words, _ = times(pronounced([], WORDS), [], 7, 100, 1.0)
    assert [(word.start, word.end) for word in words] == [(7, 7)] * 3


def test_before_the_end_is_known_the_pace_decides() -> None:
    words, phonemes = times(SAID, [], 1_000, None, 2.0)
    assert [(span.symbol, span.start, span.end) for span in phonemes if span.symbol] == [
        ("h", 1_000, 1_200), ("ə", 1_200, 1_600), ("p", 2_000, 2_200), ("ʌ", 2_200, 2_800),
    ]  # fmt: skip
    assert words == (WordSpan("A", 1_000, 1_600), WordSpan("—", 1_600, 1_600), WordSpan("pup!", 2_000, 2_800))
    assert [span.stress for span in phonemes if span.symbol] == [0, 1, 0, 2]


def test_the_end_stretches_them_and_rests_lie_between() -> None:
    _, phonemes = times(SAID, [], 0, 9_000, 2.0)
    assert [span.symbol for span in phonemes] == ["h", "ə", "", "p", "ʌ"]
    assert (phonemes[2].start, phonemes[2].end) == (3_000, 5_000) and phonemes[-1].end == 9_000


def test_what_is_known_stays_and_the_rest_follows_it() -> None:
    known = [(500, 600), (600, 900)]
    _, phonemes = times(SAID, known, 0, 2_100, 1.0)
    sounds = [(span.start, span.end) for span in phonemes if span.symbol]
    assert sounds[:2] == known and sounds[-1][1] == 2_100 and sounds[2][0] == 900 + 200 * 1_200 // 600
    everything = [(10, 20), (30, 40), (50, 60), (70, 80), (90, 100)]
    assert [(s.start, s.end) for s in times(SAID, everything, 0, None, 1.0)[1]] == everything[:4]


@given(
    lengths=st.lists(st.integers(0, 5_000), min_size=1, max_size=30),
    known=st.integers(0, 30),
    start=st.integers(0, 100_000),
    end=st.none() | st.integers(0, 200_000),
    pace=st.floats(0.3, 3.0),
)
def test_times_never_go_back(lengths: list[int], known: int, start: int, end: int | None, pace: float) -> None:
    ends = np.cumsum(lengths).tolist()
    spans = [PhonemeSpan("a", until - length, until) for until, length in zip(ends, lengths, strict=True)]
    said = pronounced(spans, [WordSpan(str(index), span.start, span.end) for index, span in enumerate(spans)])
    placed = [(start + 10 * index, start + 10 * index + 10) for index in range(min(known, len(spans)))]
    words, phonemes = times(said, placed, start, end, pace)
    assert len([span for span in phonemes if span.symbol]) == len(spans) and len(words) == len(spans)
    for ticks in ([(one.start, one.end) for one in phonemes], [(one.start, one.end) for one in words]):
        assert all(begin <= until for begin, until in ticks)
        assert all(one[1] <= other[0] for one, other in pairwise(ticks))


def test_where_the_sound_begins_and_ends() -> None:
    rate = 16_000
    tone = 0.3 * np.sin(np.arange(rate // 2) * 0.3)
    pcm = np.concatenate([np.zeros(rate // 4), tone, 0.002 * np.ones(rate // 4)]).astype(np.float32)
    assert first_sound(pcm, rate) == MEDIA_CLOCK_HZ // 4
    assert last_sound(pcm, rate) == MEDIA_CLOCK_HZ * 3 // 4
    silence = np.zeros(rate, np.float32)
    assert first_sound(silence, rate) is None and last_sound(silence, rate) == 0
    assert first_sound(silence[:0], rate) is None and last_sound(silence[:0], rate) == 0


def test_it_is_a_value() -> None:
    assert Pronounced(sounds=(), words=(), word_of=()).length == 0

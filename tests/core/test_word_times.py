from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.speech.messages import PhonemeSpan, WordSpan
from core.speech.word_times import fit_to_length, fit_to_words

# "good morning", as a fast voice says it, with a breath before and after.
PHONEMES = (
    PhonemeSpan("_", 0, 100),
    PhonemeSpan("ɡ", 100, 200),
    PhonemeSpan("ʊ", 200, 400, 2),
    PhonemeSpan("d", 400, 500),
    PhonemeSpan("m", 500, 600),
    PhonemeSpan("ɔː", 600, 900, 2),
    PhonemeSpan("n", 900, 1_000),
    PhonemeSpan("", 1_000, 1_400),
)
SPOKEN = (WordSpan("good", 100, 500), WordSpan("morning", 500, 1_000))


def test_each_word_keeps_its_phonemes_and_gets_its_own_time() -> None:
    fitted = fit_to_words(PHONEMES, SPOKEN, (WordSpan("good", 1_000, 1_800), WordSpan("morning", 2_000, 2_250)))
    assert fitted == (
        PhonemeSpan("ɡ", 1_000, 1_200),
        PhonemeSpan("ʊ", 1_200, 1_600, 2),
        PhonemeSpan("d", 1_600, 1_800),
        PhonemeSpan("", 1_800, 2_000),
        PhonemeSpan("m", 2_000, 2_050),
        PhonemeSpan("ɔː", 2_050, 2_200, 2),
        PhonemeSpan("n", 2_200, 2_250),
    )


def test_one_timed_word_may_hold_several_and_some_make_no_sound() -> None:
    whole = fit_to_words(PHONEMES, SPOKEN, (WordSpan("good morning", 0, 900),))
    assert [span.symbol for span in whole] == ["ɡ", "ʊ", "d", "m", "ɔː", "n"]
    assert (whole[0].start, whole[-1].end) == (0, 900)
    silent = (SPOKEN[0], WordSpan("–", 500, 500), SPOKEN[1])
    words = (WordSpan("good", 0, 400), WordSpan("–", 400, 500), WordSpan("morning", 500, 1_000))
    assert [span.symbol for span in fit_to_words(PHONEMES, silent, words)] == ["ɡ", "ʊ", "d", "", "m", "ɔː", "n"]
    assert fit_to_words(PHONEMES, SPOKEN, ()) == ()
    assert len(fit_to_words(PHONEMES, (), words)) == 0, "a voice that reported no words"


def test_a_text_without_times_lies_over_all_of_its_sound() -> None:
    fitted = fit_to_length(PHONEMES, 9_000, 18_000)
    assert (fitted[0], fitted[-1]) == (PhonemeSpan("ɡ", 9_000, 10_000), PhonemeSpan("n", 17_000, 18_000))
    assert fit_to_length(PHONEMES[-1:], 0, 100) == ()
    assert fit_to_length(PHONEMES, 5, 5) == ()


_times = st.lists(st.integers(0, 5_000), min_size=4, max_size=4)


@given(_times)
def test_whatever_times_somebody_names_spans_are_in_order_and_do_not_overlap(times: list[int]) -> None:
    words = (WordSpan("good", times[0], times[1]), WordSpan("morning", times[2], times[3]))
    fitted = fit_to_words(PHONEMES, SPOKEN, words)
    edge = 0
    for span in fitted:
        assert edge <= span.start < span.end
        edge = span.end

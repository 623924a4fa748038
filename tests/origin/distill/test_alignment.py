from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from core.errors import ConfigError
from origin.distill.alignment import ARPABET, align, arpabet_of
from origin.distill.speaker import Speaker


def test_sounds_are_found_where_the_synthesiser_says_they_are() -> None:
    with Speaker() as speaker:
        spoken = speaker.say(
            "My mother made some marvellous marmalade.", voice="en-us", rate_wpm=150, pitch=50, pitch_range=50
        )
    assert spoken is not None
    found = align(spoken.pcm, 48_000, "My mother made some marvellous marmalade.")
    known = [span.start for span in spoken.spans if span.symbol == "m"]
    heard = [span.start for span in found if span.symbol == "m"]
    assert len(heard) == len(known)
    assert np.median(np.abs(np.array(heard) - np.array(known))) < 0.025 * 48_000
    assert all(one.end <= other.start for one, other in pairwise(found))


def test_words_that_nobody_knows_are_named() -> None:
    with pytest.raises(ConfigError, match="xyzzyq"):
        align(np.zeros(16_000, np.float32), 16_000, "hello xyzzyq")
    with pytest.raises(ConfigError, match="empty text"):
        align(np.zeros(16_000, np.float32), 16_000, "…")


def test_a_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        align(np.zeros(3_200, np.float32), 16_000, "this is a rather long sentence for a fifth of a second")


def test_both_alphabets_meet() -> None:
    assert arpabet_of("_") == "SIL"
    assert arpabet_of("☃") == "AH"
    assert {arpabet_of(ipa) for ipa in ARPABET.values() if len(ipa) == 1} <= set(ARPABET)

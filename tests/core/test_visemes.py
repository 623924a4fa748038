from __future__ import annotations

import numpy as np
import pytest

from core.speech.phonemes import _CONSONANTS, _VOWELS
from core.speech.visemes import ARTICULATORS, GROUP_OF, GROUPS, viseme

COLUMN = {name: index for index, name in enumerate(ARTICULATORS)}


def target(sound: str, articulator: str) -> float:
    return float(viseme(sound).targets[COLUMN[articulator]])


def test_every_sound_has_a_look_in_range() -> None:
    for sound in _VOWELS | _CONSONANTS | {"_"}:
        wish = viseme(sound)
        assert wish.targets.shape == (len(ARTICULATORS),)
        assert np.all((wish.targets >= 0.0) & (wish.targets <= 1.0))
        assert np.all(wish.dominance > 0.0)
    assert GROUP_OF.max() == len(GROUPS) - 1


@pytest.mark.parametrize("sound", "pbm")
def test_bilabials_shut_the_lips(sound: str) -> None:
    assert viseme(sound).seal == "lips"


@pytest.mark.parametrize("sound", "fv")
def test_labiodentals_bite(sound: str) -> None:
    assert viseme(sound).seal == "teeth"


def test_sounds_differ_as_mouths_do() -> None:
    assert target("ɑ", "jaw") > target("ɛ", "jaw") > target("i", "jaw")
    assert target("u", "pucker") > target("ɔ", "pucker") > target("ɑ", "pucker")
    assert target("i", "smile") > target("ə", "smile")
    assert target("θ", "tongue") > target("t", "tongue")
    assert target("ʃ", "funnel") > target("s", "funnel")
    assert viseme("s").dominance[0] > viseme("h").dominance[0]


def test_a_letter_without_a_look_is_a_schwa() -> None:
    assert viseme("Q") is viseme("ə")

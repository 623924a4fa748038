"""The measures of test_delivery find what they are for: the same loss that hold-last shows, and sound that is gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.avatar.rig import BLENDSHAPE_INDEX
from loadtests.audio import read_audio
from loadtests.link_model import LinkModel
from loadtests.lip_sync import loudness
from tests.e2e.bad_network import gilbert
from tests.e2e.delivery import Faces, Truth, fits, frozen_mouth, mouth_error, silences, still
from tests.e2e.intelligibility import words_alike

_MOON = Path(__file__).parents[1] / "data" / "moon.wav"
_MOON_SAYS = "tell me about the moon"
_FRAMES = 400
_DISPLAY_S = 1 / 60
_STANDS_MS = 1e3 / 120
"""A picture stands until the next one, so that motion is seen half of that later on average."""
_SYLLABLE = np.hanning(15)


def _sent() -> Truth:
    """Eight seconds of a face that breathes and speaks, and of a voice that is loud when the jaw is open."""
    rng = np.random.default_rng(5)
    times: NDArray[np.float64] = np.arange(_FRAMES, dtype=np.float64) * 0.02
    syllables = np.convolve(rng.uniform(0, 1, _FRAMES), _SYLLABLE / _SYLLABLE.sum(), mode="same")
    values = np.zeros((_FRAMES, 80))
    values[:, BLENDSHAPE_INDEX["jawOpen"]] = np.clip((syllables - 0.3) * 1.5, 0, 1)
    values[:, 52 + 14] = 0.02 * np.sin(times)  # a joint that never rests
    sound = rng.normal(scale=0.2, size=_FRAMES * 960) * np.repeat(syllables**3, 960)
    return Truth("", Faces(times, values), 0.0, sound.astype(np.float32))


def _drawn(truth: Truth, arrived: NDArray[np.bool_], *, hold: bool, behind_s: float = 0.06) -> Faces:
    """At 60 Hz, from the frames that came: the newest one held, or in between them."""
    at = np.arange(0.2, 7.8, _DISPLAY_S)
    came_at, came = truth.faces.at_s[arrived], truth.faces.values[arrived]
    if hold:
        values = came[np.clip(np.searchsorted(came_at, at - behind_s, side="right") - 1, 0, None)]
    else:
        values = np.stack([np.interp(at - behind_s, came_at, came[:, channel]) for channel in range(80)], axis=1)
    return Faces(at, values)


def _arrived(loss: float, burst: float) -> NDArray[np.bool_]:
    link = LinkModel(gilbert(loss, burst), seed=4)
    return np.array([bool(link.send(number * 0.02, 200)) for number in range(_FRAMES)])


def test_what_came_whole_is_faultless() -> None:
    truth = _sent()
    faces = _drawn(truth, np.ones(_FRAMES, dtype=bool), hold=False)
    found = fits(faces, loudness(0.05, truth.sound), truth)
    assert len(found) >= 5
    assert not still(faces)
    assert not frozen_mouth(faces, truth, found)
    assert mouth_error(faces, truth, found) < 0.02
    assert not silences(loudness(0.05, truth.sound), truth, found)
    assert np.allclose([fit.offset_ms for fit in found], 10.0 + _STANDS_MS, atol=5.0)


def test_lips_that_come_late_are_seen_to_be_late() -> None:
    truth = _sent()
    faces = _drawn(truth, np.ones(_FRAMES, dtype=bool), hold=False, behind_s=0.16)
    assert np.allclose(
        [fit.offset_ms for fit in fits(faces, loudness(0.05, truth.sound), truth)], 110.0 + _STANDS_MS, atol=5.0
    )


def test_without_redundancy_a_held_face_freezes() -> None:
    truth = _sent()
    heard = loudness(0.05, truth.sound)
    held = _drawn(truth, _arrived(0.20, 4.0), hold=True)
    found = fits(held, heard, truth)
    assert still(held) and frozen_mouth(held, truth, found)
    assert mouth_error(held, truth, found) > 0.02


def test_a_face_that_hardly_moves_is_no_picture_that_stands() -> None:
    at = np.arange(120) / 60
    breath = np.zeros((at.size, 80))
    breath[:, -1] = 0.002 * np.sin(2 * np.pi * at / 2.5)
    calm = Faces(at, breath)
    assert still(calm, channels=np.arange(80)) and not still(calm)


def test_a_mouth_that_stands_still_in_a_living_face_is_found() -> None:
    truth = _sent()
    faces = _drawn(truth, np.ones(_FRAMES, dtype=bool), hold=False)
    found = fits(faces, loudness(0.05, truth.sound), truth)
    jaw = faces.values[:, BLENDSHAPE_INDEX["jawOpen"]]
    jaw[180:200] = jaw[180]
    assert not still(faces)
    (stretch,) = frozen_mouth(faces, truth, found)
    assert 0.3 < stretch.length_s < 0.4


def test_a_voice_that_is_gone_is_a_silence() -> None:
    truth = _sent()
    found = fits(_drawn(truth, np.ones(_FRAMES, dtype=bool), hold=False), loudness(0.05, truth.sound), truth)
    gap = truth.sound.copy()
    gap[4 * 48_000 : 4 * 48_000 + 24_000] = 0.0
    (stretch,) = silences(loudness(0.05, gap), truth, found)
    assert 0.4 < stretch.length_s < 0.7


@pytest.mark.parametrize(("lost", "least", "most"), [(0.0, 0.9, 1.0), (0.4, 0.0, 0.8)])
def test_words_are_lost_with_the_sound(lost: float, least: float, most: float) -> None:
    clean = read_audio(_MOON, length_s_max=10.0)
    rng = np.random.default_rng(2)
    heard = clean * np.repeat(rng.uniform(size=-(-clean.size // 960)) >= lost, 960)[: clean.size]
    assert least <= words_alike(clean, heard.astype(np.float32), _MOON_SAYS) <= most

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.limits import MOUTH_CURVE_AHEAD_S_MAX
from core.speech.coarticulation import BEAT_COLUMN, CURVE_COLUMNS, MouthCurve, resolve
from core.speech.messages import PhonemeSpan
from core.speech.visemes import ARTICULATORS

SPOKEN = json.loads((Path(__file__).parents[1] / "data" / "espeak_spans.json").read_text(encoding="utf-8"))
UTTERANCES = [[PhonemeSpan(*span) for span in spoken["spans"]] for spoken in SPOKEN]
MS = 48
COLUMN = {name: index for index, name in enumerate(ARTICULATORS)}


def sample(curve: MouthCurve, ticks: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    pair = np.empty((2, 1, CURVE_COLUMNS), dtype=np.float32)
    between = curve.sample_into(ticks, pair[0, 0], pair[1, 0])
    mouth, seals = resolve(pair[0] + (pair[1] - pair[0]) * np.float32(between))
    return mouth[0], seals[0]


def mouth_of(*spans: PhonemeSpan) -> MouthCurve:
    curve = MouthCurve()
    curve.add(spans)
    return curve


def trajectory(curve: MouthCurve, ticks: range) -> NDArray[np.float32]:
    return np.array([np.concatenate(sample(curve, tick)) for tick in ticks])


@pytest.mark.parametrize("spans", UTTERANCES)
def test_lips_shut_in_every_bilabial_and_bite_in_every_labiodental(spans: list[PhonemeSpan]) -> None:
    curve = mouth_of(*spans)
    checked = 0
    for span in spans:
        if span.symbol in ("p", "b", "m", "f", "v"):
            column = 0 if span.symbol in "pbm" else 1
            held = [float(sample(curve, tick)[1][column]) for tick in range(span.start, span.end, 240)]
            assert max(held) > 0.999, span
            checked += 1
    assert checked > 3


def test_lips_meet_before_a_voiceless_stop_bursts() -> None:
    curve = mouth_of(
        PhonemeSpan("ɑː", 0, 150 * MS), PhonemeSpan("p", 150 * MS, 183 * MS), PhonemeSpan("ɑː", 183 * MS, 333 * MS)
    )
    assert all(sample(curve, tick)[1][0] > 0.999 for tick in range(112 * MS, 160 * MS, 240))
    assert sample(curve, 70 * MS)[1][0] < 0.2
    assert sample(curve, 240 * MS)[1][0] == 0.0


def test_rounding_begins_before_its_vowel_and_jaw_follows_height() -> None:
    curve = mouth_of(PhonemeSpan("s", 0, 120 * MS), PhonemeSpan("uː", 120 * MS, 300 * MS))
    pucker = [float(sample(curve, ms * MS)[0][COLUMN["pucker"]]) for ms in (20, 60, 100, 200)]
    assert pucker == sorted(pucker)
    assert pucker[2] > 0.2
    spread = mouth_of(PhonemeSpan("s", 0, 120 * MS), PhonemeSpan("iː", 120 * MS, 300 * MS))
    assert sample(spread, 100 * MS)[0][COLUMN["pucker"]] < 0.02


def test_a_diphthong_glides() -> None:
    curve = mouth_of(PhonemeSpan("aɪ", 0, 240 * MS, 2))
    jaw = trajectory(curve, range(0, 240 * MS, 960))[:, COLUMN["jaw"]]
    assert jaw[2:6].max() > 2.0 * jaw[-1] > 0.2
    assert curve.beats == [(0, 2)]
    assert np.abs(np.diff(jaw)).max() < 0.15


def test_stress_opens_further() -> None:
    stressed, plain = (mouth_of(PhonemeSpan("ɛ", 0, 150 * MS, stress)) for stress in (2, 0))
    assert sample(stressed, 75 * MS)[0][0] > 1.15 * sample(plain, 75 * MS)[0][0]
    assert stressed.beats == [(0, 2)]
    assert plain.beats == []


def test_fast_speech_undershoots() -> None:
    def opening(duration: int) -> float:
        spans = [PhonemeSpan("sɑ"[k % 2], k * duration * MS, (k + 1) * duration * MS) for k in range(9)]
        return float(trajectory(mouth_of(*spans), range(3 * duration * MS, 6 * duration * MS, 240))[:, 0].max())

    assert opening(45) < opening(90) < opening(180)


def test_the_mouth_opens_ahead_and_closes_at_ends() -> None:
    curve = mouth_of(PhonemeSpan("a", 0, 120 * MS), PhonemeSpan("", 120 * MS, 400 * MS))
    assert sample(curve, -200 * MS)[0][0] == 0.0
    assert sample(curve, -40 * MS)[0][0] > 0.05
    assert sample(curve, 300 * MS)[0][0] < 0.03
    assert sample(curve, 5_000 * MS)[0].max() == 0.0


@pytest.mark.parametrize("spans", UTTERANCES)
def test_order_and_pieces_of_arrival_change_nothing(spans: list[PhonemeSpan]) -> None:
    whole, pieces = mouth_of(*spans), MouthCurve()
    for span in reversed(spans):
        pieces.add([span])
    ticks = range(-4800, spans[-1].end + 9600, 1440)
    np.testing.assert_allclose(trajectory(whole, ticks), trajectory(pieces, ticks), atol=2e-5)


def test_a_long_utterance_keeps_only_what_is_near() -> None:
    curve = MouthCurve()
    expected = sample(mouth_of(PhonemeSpan("m", 50 * MS, 130 * MS), PhonemeSpan("a", 130 * MS, 250 * MS)), 200 * MS)[0]
    for second in range(600):
        start = second * 1000 * MS
        curve.add(
            [PhonemeSpan("m", start + 50 * MS, start + 130 * MS), PhonemeSpan("a", start + 130 * MS, start + 250 * MS)]
        )
        np.testing.assert_allclose(sample(curve, start + 200 * MS)[0], expected, atol=1e-4)
    assert len(curve._grid) <= 512


@pytest.mark.parametrize(
    "span",
    [PhonemeSpan("a", 100, 100), PhonemeSpan("a", 200, 100), PhonemeSpan("a", -(10**9), -(10**8)),
     PhonemeSpan("a", int(MOUTH_CURVE_AHEAD_S_MAX * 49_000), 10**9)],
)  # fmt: skip
def test_impossible_times_are_counted(span: PhonemeSpan) -> None:
    curve = mouth_of(span)
    assert curve.dropped == 1
    assert sample(curve, 0)[0].max() == 0.0


def test_unknown_sounds_are_counted_and_neutral() -> None:
    curve = mouth_of(PhonemeSpan("日", 0, 100 * MS))
    assert curve.unknown == 1
    assert 0.05 < sample(curve, 50 * MS)[0][0] < 0.3


@given(
    st.lists(
        st.builds(
            PhonemeSpan,
            st.text(max_size=4),
            st.integers(-(10**6), 10**9),
            st.integers(-(10**6), 10**9),
            st.integers(-5, 9),
        ),
        max_size=8,
    ),
    st.integers(-(10**6), 10**7),
)
def test_any_spans_give_a_mouth_in_range(spans: list[PhonemeSpan], ticks: int) -> None:
    mouth, seals = sample(mouth_of(*spans), ticks)
    for values in (mouth, seals):
        assert np.isfinite(values).all()
        assert values.min() >= 0.0
        assert values.max() <= 1.0001


def test_beats_rise_before_a_stressed_vowel_and_fall_after_it() -> None:
    curve = mouth_of(PhonemeSpan("t", 0, 300 * MS), PhonemeSpan("ɑ", 300 * MS, 400 * MS, 2))
    seen = {ms: float(curve.at(ms * MS)[BEAT_COLUMN]) for ms in range(100, 600, 10)}
    assert seen[300] == pytest.approx(1.0)
    assert seen[170] == seen[510] == 0.0
    assert 0.4 < seen[240] < 0.6
    assert 0.4 < seen[400] < 0.6


@given(st.integers(-48_000, 96_000), st.integers(0, len(UTTERANCES) - 1))
def test_a_sample_lies_between_the_two_rows_around_it(ticks: int, which: int) -> None:
    one, other = mouth_of(*UTTERANCES[which]), mouth_of(*UTTERANCES[which])
    row = one.at(ticks)
    pair = np.empty((2, CURVE_COLUMNS), np.float32)
    between = other.sample_into(ticks, pair[0], pair[1])
    np.testing.assert_allclose(row, pair[0] + (pair[1] - pair[0]) * np.float32(between), atol=1e-6)


def test_only_a_late_sound_disturbs() -> None:
    curve = MouthCurve()
    now = 0
    for span in UTTERANCES[0]:
        while span.start > now + 24_000:  # each sound is known half a second ahead
            curve.at(now)
            now += 480
        curve.add([span])
        assert not curve.disturbed, span
    curve.add([PhonemeSpan("ɑ", now - 960, now + 960)])
    assert curve.disturbed

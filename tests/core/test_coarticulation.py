from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.limits import MOUTH_CURVE_AHEAD_S_MAX, MOUTH_SOUNDS_NEAR_MAX, MOUTH_SOUNDS_WAITING_MAX
from core.speech.coarticulation import BEAT_COLUMN, SoundTable, Utterance, resolve, say
from core.speech.messages import PhonemeSpan
from core.speech.phonemes import split_symbol
from core.speech.visemes import ARTICULATORS, GROUP_OF, viseme

SPOKEN = json.loads((Path(__file__).parents[1] / "data" / "espeak_spans.json").read_text(encoding="utf-8"))
UTTERANCES = [[PhonemeSpan(*span) for span in spoken["spans"]] for spoken in SPOKEN]
MS = 48
COLUMN = {name: index for index, name in enumerate(ARTICULATORS)}


class Mouth:
    """One mouth that says one utterance, sampled at increasing positions."""

    def __init__(self, *spans: PhonemeSpan, now: int = 0) -> None:
        self.utterance = Utterance()
        self.utterance.add(spans, now)
        self.table = SoundTable(1)

    def row(self, ticks: int) -> NDArray[np.float32]:
        if self.utterance.due_ticks <= ticks:
            sounds = self.utterance.take(ticks)
            self.table.put([0] * len(sounds), sounds)
        row: NDArray[np.float32] = self.table.sample(np.zeros(1, dtype=np.intp), np.array([ticks / 48_000]))[0]
        return row


def sample(mouth: Mouth, ticks: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    articulators, seals = resolve(mouth.row(ticks)[None])
    return articulators[0], seals[0]


def mouth_of(*spans: PhonemeSpan) -> Mouth:
    return Mouth(*spans)


def trajectory(mouth: Mouth, ticks: range) -> NDArray[np.float32]:
    return np.array([np.concatenate(sample(mouth, tick)) for tick in ticks])


def one_by_one(spans: Sequence[PhonemeSpan], ticks: range) -> NDArray[np.float32]:
    """The same sums written down plainly, over all sounds, however far away."""
    rows = []
    for tick in ticks:
        now = tick / 48_000
        pull, weight = np.zeros(11), np.full(4, 0.06)
        for span in spans:
            begin, left = span.start / 48_000, span.stress
            for segment in split_symbol(span.symbol)[0]:
                wish, length = viseme(segment.sound), segment.share * (span.end - span.start) / 48_000
                tempo = np.clip(length / 0.08, 0.6, 1.25)
                before = (begin + 0.28 * length - now) / np.array([0.038, 0.060, 0.040, 0.022]) / tempo
                after = (now - begin - 0.72 * length) / np.array([0.042, 0.048, 0.042, 0.024]) / tempo
                away = np.maximum(np.maximum(before, after), 0.0)
                held = np.maximum(np.exp(0.35 - np.sqrt(away**2 + 0.35**2)) - np.exp(-4.5), 0.0)
                targets, dominance = wish.targets.astype(float), wish.dominance.astype(float)
                if segment.vowel:
                    jaw, lips = {0: (0.88, 0.9), 1: (1.0, 1.0), 2: (1.18, 1.12), -1: (1.1, 1.05)}[left]
                    targets = targets * [jaw, 1, 1, 1, 1, lips, lips, 1, 1, 1, 1]
                    dominance = dominance * (1.3 if segment.long or left else 1.0)
                    left = -1 if left > 0 else left
                held = held * dominance
                weight += held
                pull += held[GROUP_OF] * targets
                begin += length
        rows.append(pull / weight[GROUP_OF])
    return np.array(rows)


@pytest.mark.parametrize("spans", UTTERANCES)
def test_sounds_beyond_reach_may_be_left_out(spans: list[PhonemeSpan]) -> None:
    spans = [span for span in spans if span.start < 72_000]
    ticks = range(-9_600, 96_000, 960)
    np.testing.assert_allclose(trajectory(mouth_of(*spans), ticks)[:, :11], one_by_one(spans, ticks), atol=2e-4)


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
    assert curve.utterance.beats == [(0, 2)]
    assert np.abs(np.diff(jaw)).max() < 0.15


def test_stress_opens_further() -> None:
    stressed, plain = (mouth_of(PhonemeSpan("ɛ", 0, 150 * MS, stress)) for stress in (2, 0))
    assert sample(stressed, 75 * MS)[0][0] > 1.15 * sample(plain, 75 * MS)[0][0]
    assert stressed.utterance.beats == [(0, 2)]
    assert plain.utterance.beats == []


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
    whole, pieces = mouth_of(*spans), Mouth()
    for span in reversed(spans):
        pieces.utterance.add([span])
    ticks = range(-4800, spans[-1].end + 9600, 1440)
    np.testing.assert_allclose(trajectory(whole, ticks), trajectory(pieces, ticks), atol=2e-5)


def test_a_long_utterance_looks_the_same_at_its_end() -> None:
    curve = Mouth()
    expected = sample(mouth_of(PhonemeSpan("m", 50 * MS, 130 * MS), PhonemeSpan("a", 130 * MS, 250 * MS)), 200 * MS)[0]
    for second in range(3_600):
        start = second * 1000 * MS
        spans = [PhonemeSpan("m", start + 50 * MS, start + 130 * MS)]
        spans += [PhonemeSpan("a", start + 130 * MS, start + 250 * MS)]
        curve.utterance.add(spans, start)
        np.testing.assert_allclose(sample(curve, start + 200 * MS)[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    "span",
    [PhonemeSpan("a", 100, 100), PhonemeSpan("a", 200, 100), PhonemeSpan("a", -(10**9), -(10**8)),
     PhonemeSpan("a", int(MOUTH_CURVE_AHEAD_S_MAX * 49_000), 10**9)],
)  # fmt: skip
def test_impossible_times_are_counted(span: PhonemeSpan) -> None:
    curve = mouth_of(span)
    assert curve.utterance.dropped == 1
    assert sample(curve, 0)[0].max() == 0.0


def test_unknown_sounds_are_counted_and_neutral() -> None:
    curve = mouth_of(PhonemeSpan("日", 0, 100 * MS))
    assert curve.utterance.unknown == 1
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
    seen = {ms: float(curve.row(ms * MS)[BEAT_COLUMN]) for ms in range(100, 600, 10)}
    assert seen[300] == pytest.approx(1.0)
    assert seen[170] == seen[510] == 0.0
    assert 0.4 < seen[240] < 0.6
    assert 0.4 < seen[400] < 0.6


def test_mouths_do_not_mix_and_growing_keeps_them() -> None:
    table = SoundTable(2)
    alone = [mouth_of(*spans) for spans in UTTERANCES[:2]]
    for slot in (0, 1):
        utterance = Utterance()
        utterance.add(UTTERANCES[slot])
        sounds = utterance.take(24_000)
        table.put([slot] * len(sounds), sounds)
    table.grow(5)
    rows = table.sample(np.array([1, 0, 4]), np.array([0.5, 0.5, 0.5]))
    np.testing.assert_array_equal(rows[0], alone[1].row(24_000))
    np.testing.assert_array_equal(rows[1], alone[0].row(24_000))
    assert resolve(rows[2:])[0].max() == 0.0
    table.clear(1)
    assert resolve(table.sample(np.array([1]), np.array([0.5])))[0].max() == 0.0


def test_when_more_sounds_are_near_than_there_is_room_the_oldest_give_way() -> None:
    crowd = [PhonemeSpan("ɑ", 1_000 + 10 * k, 1_005 + 10 * k) for k in range(3 * MOUTH_SOUNDS_NEAR_MAX)]
    last = mouth_of(*crowd[-MOUTH_SOUNDS_NEAR_MAX:])
    np.testing.assert_allclose(mouth_of(*crowd).row(2_000), last.row(2_000), atol=1e-6)


def test_sounds_that_wait_are_bounded() -> None:
    utterance = Utterance()
    utterance.add([PhonemeSpan("a", 100 * k, 100 * k + 100) for k in range(MOUTH_SOUNDS_WAITING_MAX + 7)])
    assert utterance.dropped == 7


def test_a_whole_utterance_at_once() -> None:
    utterance = Utterance()
    utterance.add(UTTERANCES[0])
    ticks = range(0, 48_000, 960)
    np.testing.assert_array_equal(say(utterance, ticks), [mouth_of(*UTTERANCES[0]).row(tick) for tick in [*ticks]])

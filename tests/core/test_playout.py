"""Motion playout: what is drawn when frames come late, twice, wrongly, or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX
from core.errors import Dropped
from core.limits import PLAYOUT_FRAMES_MAX
from core.stream.playout import MotionFrame, MotionSample, MotionSource, MotionTimeline
from core.stream.pose import motion_ratio
from tests.vectors.playout import TOLERANCE, document

_SHARED = Path(__file__).parent.parent / "vectors" / "playout.json"
_JAW = BLENDSHAPE_INDEX["jawOpen"]


def _jaw_at(media_ms: float) -> float:
    return 0.5 - 0.5 * math.cos(2 * math.pi * media_ms / 500)


def _frame(media_ms: float, arrival_ms: float, *, speech: bool = False, jaw: float | None = None) -> MotionFrame:
    weights = np.zeros(52, dtype=np.float32)
    weights[_JAW] = _jaw_at(media_ms) if jaw is None else jaw
    return MotionFrame(
        ticks=round(media_ms * 48),
        frame=AnimationFrame(weights=weights, joints=REST_FRAME.joints),
        sequence_number=int(media_ms // 20) & 0xFFFF,
        speech=speech,
        arrival_ms=arrival_ms,
    )


def _play(
    frames: list[MotionFrame],
    until_ms: float,
    audible: Callable[[float], float | None] = lambda now: None,
    timeline: MotionTimeline | None = None,
) -> list[tuple[float, float, MotionSample]]:
    timeline = timeline or MotionTimeline()
    waiting = sorted(frames, key=lambda frame: frame.arrival_ms)
    drawn, now = [], waiting[0].arrival_ms
    while now < until_ms:
        while waiting and waiting[0].arrival_ms <= now:
            timeline.push(waiting.pop(0))
        heard = audible(now)
        sample = timeline.sample(now, None if heard is None else heard * 48)
        drawn.append((now, float(sample.pose.weights[_JAW]), sample))
        now += 1_000 / 60
    return drawn


def assert_never_still(drawn: list[tuple[float, float, MotionSample]]) -> None:
    """Something changes within any 100 ms, but for the first half second."""
    values = [np.concatenate([sample.pose.weights, sample.pose.joints.ravel()]) for _, _, sample in drawn]
    for index in range(30, len(values) - 6):
        change = max(float(np.abs(later - values[index]).max()) for later in values[index + 1 : index + 7])
        assert change > 0.5 / 1023, f"still at {drawn[index][0]:.0f} ms"


def _every20(count: int, transit_ms: float = 30.0, *, speech: bool = False) -> list[MotionFrame]:
    return [_frame(n * 20.0, 1_000 + n * 20 + transit_ms + n * 7 % 5, speech=speech) for n in range(count)]


def test_draws_speech_at_the_media_time_that_is_audible() -> None:
    drawn = _play(_every20(150, speech=True), 3_900, lambda now: now - 1_110)
    for now, jaw, sample in drawn:
        if now > 1_700:
            assert sample.source is MotionSource.AUDIBLE
            assert sample.ticks is not None
            assert sample.ticks / 48 == pytest.approx(now - 1_110, abs=0.5)
            assert jaw == pytest.approx(_jaw_at(now - 1_110), abs=0.01)


def test_draws_silence_on_arrival() -> None:
    for now, _, sample in _play(_every20(100), 2_900, lambda now: now - 1_200):
        if now > 1_500:
            assert sample.source is MotionSource.ARRIVAL
            assert 30 < now - 1_000 - (sample.ticks or 0) / 48 < 65


def test_guesses_two_frames_then_eases_into_life() -> None:
    drawn = _play(_every20(40, speech=True), 2_600, lambda now: now - 1_036)
    after = [(jaw, sample) for now, jaw, sample in drawn if 1_870 < now < 2_300]
    for (former, _), (jaw, sample) in zip(after, after[6:], strict=False):
        assert abs(jaw - former) > 0.001
        assert sample.idle > 0.0
    assert drawn[-1][2].source is MotionSource.IDLE
    assert drawn[-1][2].ticks is None


def test_comes_back_from_an_outage_without_a_pop() -> None:
    frames = [frame for frame in _every20(350, speech=True) if not 1_000 <= frame.ticks / 48 < 4_000]
    drawn = _play(frames, 7_500, lambda now: now - 1_060)
    ratios = [motion_ratio(b.pose, a.pose, later - now) for (now, _, a), (later, _, b) in pairwise(drawn)]
    assert max(ratios) <= 1.001
    assert all(sample.idle == 0.0 for now, _, sample in drawn if 5_400 < now < 7_000)


@pytest.mark.parametrize("set_back_ms", [200, 420, 800])
def test_a_clock_that_is_set_back_plays_what_was_drawn_or_came_late(set_back_ms: int) -> None:
    """Everything is held up for that long and then comes at once: the sound goes on where it stopped, and so does the
    face; meanwhile it lives."""
    held_until = 2_000 + set_back_ms

    def arrival(media_ms: float) -> float:
        return max(media_ms + 1_000, held_until) if media_ms >= 1_000 else media_ms + 1_000

    frames = [_frame(n * 20.0, arrival(n * 20.0), speech=True) for n in range(250)]
    drawn = _play(frames, 5_000, lambda now: now - (1_060 if now < held_until else 1_060 + set_back_ms))
    assert_never_still(drawn)
    for now, jaw, sample in drawn:
        if now > held_until + 700:
            assert sample.source is MotionSource.AUDIBLE
            assert jaw == pytest.approx(_jaw_at(now - 1_060 - set_back_ms), abs=0.02)


@pytest.mark.parametrize("behind_ms", [200, 420, 800])
def test_a_voice_far_behind_what_is_drawn_does_not_stop_the_face(behind_ms: int) -> None:
    """Silence is drawn on arrival; the voice is heard so much later, and the face goes back to meet it."""
    frames = [_frame(n * 20.0, 1_030 + n * 20.0, speech=n >= 50) for n in range(200)]
    drawn = _play(frames, 4_800, lambda now: now - 1_030 - behind_ms)
    assert_never_still(drawn)
    for now, jaw, sample in drawn:
        if now > 2_600:
            assert sample.source is MotionSource.AUDIBLE
            assert jaw == pytest.approx(_jaw_at(now - 1_030 - behind_ms), abs=0.02)


def test_late_frames_are_drawn_when_the_clock_goes_back_to_them() -> None:
    timeline = MotionTimeline()
    for media in range(0, 1_000, 20):
        timeline.push(_frame(media, 1_000 + media))
        timeline.sample(1_000.0 + media, None)
    for media in range(1_200, 1_400, 20):
        timeline.push(_frame(media, 1_000 + media, speech=True))
        timeline.sample(1_000.0 + media, media * 48.0)
    for media in range(1_000, 1_200, 20):
        assert timeline.push(_frame(media, 2_390, speech=True, jaw=0.4)) == Dropped("late")
    for now in range(2_400, 2_590, 10):
        sample = timeline.sample(float(now), (now - 1_400) * 48.0)
    assert sample.source is MotionSource.AUDIBLE
    assert sample.pose.weights[_JAW] == pytest.approx(0.4, abs=0.02)


def test_truth_joins_a_wrong_guess_at_a_faces_pace() -> None:
    timeline = MotionTimeline()
    former: AnimationFrame | None = None
    for now in range(0, 1_200, 10):
        if now % 20 == 0:
            timeline.push(_frame(now, now, jaw=0.0 if now < 400 else 1.0))
        pose = timeline.sample(float(now), None).pose
        assert former is None or abs(float(pose.weights[_JAW] - former.weights[_JAW])) <= 0.14 + 1e-6
        former = pose
    assert former is not None
    assert former.weights[_JAW] == pytest.approx(1.0)


def test_counts_what_is_late_double_or_absurd() -> None:
    timeline = MotionTimeline()
    for media in range(0, 400, 20):
        if media != 200:
            assert timeline.push(_frame(media, 1_000 + media)) is None
        timeline.sample(1_000.0 + media, None)
    assert timeline.push(_frame(200, 1_390)) == Dropped("late")
    assert timeline.push(_frame(380, 1_391)) == Dropped("duplicate")
    assert timeline.push(_frame(90_000, 1_392)) == Dropped("absurd")
    assert timeline.dropped == {"late": 1, "duplicate": 1, "absurd": 1}


def test_a_new_clock_is_believed_when_it_insists() -> None:
    timeline = MotionTimeline()
    timeline.push(_frame(0, 0))
    results = [timeline.push(_frame(90_000 + n * 20, 20 + n * 20)) for n in range(6)]
    assert results == [Dropped("absurd")] * 4 + [None, None]
    assert timeline.newest_ticks == 90_100 * 48


def test_holds_a_bounded_number_of_frames() -> None:
    timeline = MotionTimeline()
    for number in range(2_000):
        timeline.push(_frame(number * 20.0, number * 20.0))
    assert timeline.frames == PLAYOUT_FRAMES_MAX
    assert timeline.push(_frame(1_000, 39_000, jaw=0.0)) in (Dropped("overflow"), Dropped("absurd"))


def test_a_cut_goes_to_the_newest_face() -> None:
    timeline = MotionTimeline()
    for media in range(0, 1_000, 20):
        timeline.push(_frame(media, 1_000 + media, speech=media < 800))
        timeline.sample(1_000.0 + media, (media - 300) * 48.0)
    assert timeline.speaking(700 * 48.0)
    timeline.cut(800 * 48, 1_985.0)
    assert not timeline.speaking(700 * 48.0)
    sample = timeline.sample(1_990.0, 700 * 48.0)
    assert sample.ticks is not None
    assert sample.ticks / 48 > 790


def test_a_cut_before_newer_speech_changes_nothing() -> None:
    timeline = MotionTimeline()
    timeline.cut(0, 0.0)
    timeline.push(_frame(40, 40, speech=True))
    timeline.cut(20 * 48, 41.0)
    assert timeline.speaking(40 * 48.0)


def test_lives_before_the_first_frame_and_after_a_reset() -> None:
    timeline = MotionTimeline()
    assert timeline.sample(0.0, None).source is MotionSource.IDLE
    assert timeline.newest_ticks is None
    drawn = _play(_every20(50), 2_000, timeline=timeline)
    timeline.reset(2_000.0)
    after = timeline.sample(2_016.0, None)
    assert after.ticks is None
    assert motion_ratio(after.pose, drawn[-1][2].pose, 16.0 + 2_000 - drawn[-1][0]) <= 1.001


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["frame", "sample", "cut", "reset"]), st.floats(-300, 300), st.floats(0, 1), st.booleans()
    ),
    max_size=120,
)


@settings(max_examples=60, deadline=None)
@given(events=_EVENTS)
def test_nothing_makes_it_pop_fail_or_grow(events: list[tuple[str, float, float, bool]]) -> None:
    timeline, now = MotionTimeline(), 1_000.0
    former, former_ms = timeline.sample(now, None).pose, now
    for kind, offset, value, flag in events:
        now += value * 40
        if kind == "frame":
            timeline.push(_frame(round(now + offset), now, speech=flag, jaw=value))
        elif kind == "cut":
            timeline.cut(round((now + offset) * 48), now)
        elif kind == "reset":
            timeline.reset(now)
        elif now > former_ms:
            sample = timeline.sample(now, (now + offset) * 48 if flag else None)
            assert motion_ratio(sample.pose, former, now - former_ms) <= 1.002
            assert np.isfinite(sample.pose.weights).all()
            assert 0.0 <= sample.idle <= 1.0
            former, former_ms = sample.pose, now
        assert timeline.frames <= PLAYOUT_FRAMES_MAX


def _same(actual: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        for name in expected:
            _same(actual[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for index, value in enumerate(expected):
            _same(actual[index], value, f"{where}[{index}]")
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=max(TOLERANCE, 1e-6 * abs(expected))), where
    else:
        assert actual == expected, where


def test_the_shared_vectors_are_what_this_code_does() -> None:
    _same(json.loads(json.dumps(document())), json.loads(_SHARED.read_text()), "")

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from core.avatar.behaviour import Behaviours
from core.avatar.expression import channel
from core.session.state import FaceState

BLINK = channel("eyeBlinkLeft")


class Face:
    """One face in an arena, stepped alone."""

    def __init__(self, seed: int, capacity: int = 1, slot: int = 0) -> None:
        self.arena = Behaviours(capacity)
        self.arena.reset(slot, seed)
        self.slot = slot
        self.time_s = 50.0

    def live(
        self, seconds: float, state: FaceState, *, every_s: float = 0.02, level: float = 0.0, mouth: float = 0.0
    ) -> NDArray[np.float32]:
        poses = []
        for _ in range(round(seconds / every_s)):
            self.time_s += every_s
            poses.append(self.arena.step(
                np.array([self.slot]), np.array([self.time_s]), np.array([int(state)], dtype=np.int8),
                np.array([level]), np.array([mouth]),
            )[0])  # fmt: skip
        return np.array(poses)


def blinks(poses: NDArray[np.float32]) -> NDArray[np.intp]:
    shut = poses[:, BLINK] > 0.35
    return np.flatnonzero(shut[1:] & ~shut[:-1])


@pytest.mark.parametrize("state", list(FaceState))
def test_blinks_come_as_people_blink(state: FaceState) -> None:
    poses = np.concatenate([Face(seed).live(60.0, state) for seed in range(3)])
    per_minute = len(blinks(poses)) / 3
    assert 10 <= per_minute <= 40
    gaps = np.diff(blinks(poses)) * 0.02
    assert np.std(np.log(gaps)) > 0.3
    assert gaps.min() < 0.5 < 2.0 < gaps.max()


def test_a_blink_takes_a_fifth_of_a_second() -> None:
    poses = Face(3).live(30.0, FaceState.IDLE)
    shut = poses[:, BLINK] > 0.1
    edges = np.flatnonzero(np.diff(shut.astype(int)))
    assert 0.1 <= np.median(np.diff(edges)[::2]) * 0.02 <= 0.3


def test_thinking_shows_within_100_ms() -> None:
    for seed in range(8):
        face = Face(seed)
        before = face.live(2.0, FaceState.LISTENING)[-1]
        poses = face.live(0.1, FaceState.THINKING)
        after = poses[-1]
        if before[BLINK] == 0.0:  # a blink under way goes on, but none begins
            assert poses[:, BLINK].max() < 0.05
        brow = max(after[channel("browOuterUpLeft")], after[channel("browOuterUpRight")])
        assert brow - before[channel("browOuterUpLeft")] > 0.25
        assert after[channel("mouthPressLeft")] > 0.15
        turn = after[channel("leftEye.yaw")] - before[channel("leftEye.yaw")]
        assert abs(turn) > 0.1
        assert after[channel("leftEye.pitch")] < before[channel("leftEye.pitch")] - 0.03


def test_listening_looks_at_the_viewer() -> None:
    poses = Face(5).live(30.0, FaceState.LISTENING)
    direction = poses[:, channel("leftEye.yaw")] + poses[:, channel("head.yaw")] + poses[:, channel("neck.yaw")]
    assert np.mean(np.abs(direction) < 0.06) > 0.8


def test_eyes_return_before_the_voice_comes() -> None:
    face = Face(9)
    away = face.live(1.0, FaceState.THINKING)[-1][channel("leftEye.yaw")]
    face.arena.expect_speech(0)
    pose = face.live(0.1, FaceState.THINKING)[-1]
    direction = pose[channel("leftEye.yaw")] + pose[channel("head.yaw")] + pose[channel("neck.yaw")]
    assert abs(away) > 0.1
    assert abs(direction) < 0.12
    inhale = face.live(0.3, FaceState.THINKING)
    assert inhale[:, channel("leftShoulder.roll")].max() > 0.035


def test_phrase_ends_bring_nods() -> None:
    nodded = 0
    for seed in range(12):
        face = Face(seed)
        face.live(1.0, FaceState.LISTENING)
        head = channel("leftEye.pitch")
        talking = face.live(1.5, FaceState.LISTENING, level=0.5)[-10:, head].mean()
        quiet = face.live(0.7, FaceState.LISTENING, level=0.0)[:, channel("neck.pitch")]
        nodded += bool(np.ptp(quiet) > 0.012)
        assert np.isfinite(talking)
    assert 7 <= nodded <= 12


def test_nobody_nods_at_silence() -> None:
    poses = Face(1).live(20.0, FaceState.LISTENING)
    assert np.ptp(poses[100:, channel("neck.pitch")]) < 0.002


def test_moods_colour_the_face_and_ease() -> None:
    face = Face(2)
    neutral = face.live(1.0, FaceState.IDLE)[-1]
    face.arena.set_mood(0, 1.0, 0.5)
    poses = face.live(1.5, FaceState.IDLE)
    smile = poses[:, channel("mouthSmileLeft")]
    assert smile[-1] > neutral[channel("mouthSmileLeft")] + 0.4
    assert np.abs(np.diff(smile)).max() < 0.06
    face.arena.set_mood(0, -1.0, -1.0)
    sad = face.live(2.0, FaceState.IDLE)[-1]
    assert sad[channel("mouthFrownLeft")] > 0.3
    assert sad[channel("mouthSmileLeft")] < 0.02


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -7.0, 1e300])
def test_absurd_moods_are_tamed(value: float) -> None:
    face = Face(2)
    face.arena.set_mood(0, value, value)
    poses = face.live(1.0, FaceState.IDLE)
    assert np.isfinite(poses).all()
    assert poses.max() < 1.6


def test_speech_takes_the_mouth_from_thought() -> None:
    face = Face(4)
    assert face.live(1.0, FaceState.THINKING)[-1][channel("mouthPressLeft")] > 0.2
    poses = face.live(0.2, FaceState.SPEAKING, mouth=1.0)
    assert poses[-1][channel("mouthPressLeft")] < 0.01


def test_beats_never_overlap() -> None:
    face = Face(6)
    for _ in range(30):
        face.arena.beat(0, face.time_s, face.time_s + 0.1, 1.0)
        face.live(0.1, FaceState.SPEAKING)
    brow = face.live(0.02, FaceState.SPEAKING)[0][channel("browOuterUpLeft")]
    assert brow <= 0.2


@pytest.mark.parametrize("state", [FaceState.IDLE, FaceState.SPEAKING])
def test_time_steps_do_not_matter(state: FaceState) -> None:
    fine, coarse = Face(11), Face(11)
    fine.time_s = coarse.time_s = 50.0
    a = fine.live(0.08, state), fine.live(20.0, state)
    b = coarse.live(0.08, state, every_s=0.02), coarse.live(20.0, state, every_s=0.08)
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)
    np.testing.assert_allclose(a[1][3::4], b[1], atol=1e-4)


def test_batch_mates_do_not_matter() -> None:
    alone = Face(21).live(6.0, FaceState.THINKING)
    arena = Behaviours(40)
    for slot in range(40):
        arena.reset(slot, 21 if slot == 17 else slot)
    slots, time_s, together = np.arange(40)[::-1].copy(), 50.0, []
    states = np.full(40, int(FaceState.THINKING), dtype=np.int8)
    states[::3] = int(FaceState.SPEAKING)
    states[slots == 17] = int(FaceState.THINKING)
    for _ in range(300):
        time_s += 0.02
        pose = arena.step(slots, np.full(40, time_s), states, np.linspace(0, 1, 40), np.zeros(40))
        together.append(pose[int(np.flatnonzero(slots == 17)[0])])
    np.testing.assert_array_equal(np.array(together), alone)


def test_a_reused_slot_remembers_nothing() -> None:
    fresh = Face(8, capacity=2, slot=1).live(5.0, FaceState.IDLE)
    used = Face(99, capacity=2, slot=1)
    used.arena.set_mood(1, 1.0, 1.0)
    used.live(3.0, FaceState.THINKING, level=0.7)
    used.arena.expect_speech(1)
    used.arena.reset(1, 8)
    used.time_s = 50.0
    np.testing.assert_array_equal(used.live(5.0, FaceState.IDLE), fresh)


def test_growing_keeps_faces() -> None:
    steady, growing = Face(8), Face(8)
    steady.live(2.0, FaceState.IDLE)
    growing.live(2.0, FaceState.IDLE)
    growing.arena.grow(7)
    np.testing.assert_array_equal(growing.live(2.0, FaceState.LISTENING), steady.live(2.0, FaceState.LISTENING))


def test_a_long_absence_is_not_replayed() -> None:
    face = Face(8)
    face.live(1.0, FaceState.IDLE)
    face.time_s += 3600.0
    assert np.isfinite(face.live(1.0, FaceState.IDLE)).all()
    assert face.arena._draws[0][1] < 10

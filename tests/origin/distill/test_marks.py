from __future__ import annotations

import numpy as np
import pytest

from core.speech.student_layout import MOUTH, OUTPUTS
from origin.distill.marks import CHANNELS_MARKED, MOUTH_CHANNELS, closure_marks, mark, shown
from origin.distill.teacher import Closure


def talking(frames: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    answers = np.zeros((frames, len(OUTPUTS)), np.float32)
    answers[:, : len(MOUTH) - 2] = rng.uniform(0.3, 0.6, (frames, len(MOUTH) - 2))
    answers[:, OUTPUTS.index("voice")] = 1.0
    answers[20:23, OUTPUTS.index("lips")] = 1.0
    return answers


def test_the_same_face_has_full_marks() -> None:
    marks = mark(talking(), talking())
    assert all(marks.r[name] == pytest.approx(1.0) for name in MOUTH_CHANNELS)
    assert marks.mae_mouth == 0.0
    assert marks.r["browInner"] == 0.0, "a channel that never moves proves nothing"


def test_a_face_out_of_phase_has_bad_marks() -> None:
    marks = mark(np.roll(talking(), 5, axis=0), talking())
    assert marks.r_min_mouth < 0.3 and marks.r_mean_mouth < 0.5 and marks.mae_mouth > 0.01


def test_closures_are_found_within_forty_milliseconds() -> None:
    there = Closure("b", 20.0, 22.0)
    assert closure_marks([(talking(), [there])]).recall == 1.0
    assert closure_marks([(talking(), [Closure("b", 24.0, 25.0)])]).recall == 1.0
    missed = closure_marks([(talking(), [there, Closure("p", 40.0, 42.0)])])
    assert (missed.recall, missed.count) == (0.5, 2)
    assert closure_marks([(talking(), [Closure("p", 40.0, 42.0)])]).precision == 0.0
    assert closure_marks([(talking(), [Closure("p", 400.0, 402.0)])]).count == 0


def test_shut_lips_show_as_a_sealed_jaw() -> None:
    seen = dict(zip(CHANNELS_MARKED, shown(talking())[21], strict=True))
    assert seen["jaw"] == pytest.approx(seen["mouthClose"], abs=1e-6)
    assert seen["press"] > 0.1 and seen["lowerDown"] == 0.0

"""Machine code and numpy say the same of every face, whatever happens to it."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

import edge
from core.errors import LocalProtocolError
from core.limits import LOG_MEL_BANDS
from core.session.state import FaceState
from core.speech.coarticulation import SoundTable, Utterance, resolve
from core.speech.messages import PhonemeSpan
from core.speech.student_layout import INPUTS, MOUTH, PLAN, STATE_ROWS, TRUNK_WIDTH
from edge.animator import TIERS, Animator, AnimatorRow
from edge.compiled import CompiledFaces
from edge.compiling import load_compiled
from edge.student import Student

SPOKEN = json.loads((Path(__file__).parents[1] / "data" / "espeak_spans.json").read_text(encoding="utf-8"))
UTTERANCES = [[PhonemeSpan(*span) for span in spoken["spans"]] for spoken in SPOKEN]
COMPILED = CompiledFaces()
TICK = 960
FACES = 10


class Crowd:
    """Faces to which everything happens, alike in all animators that show them."""

    def __init__(self, animators: list[Animator], seed: int) -> None:
        self.animators = animators
        self.chance = random.Random(seed)
        self.times = [48_000 * 50 + 7 * face for face in range(FACES)]
        self.utterances = [0] * FACES
        self.ticks = [0] * FACES
        for animator in animators:
            assert [animator.open(seed=face, character=("mira", "gruff")[face % 2]) for face in range(FACES)]

    def _all(self, name: str, *arguments: object) -> None:
        for animator in self.animators:
            getattr(animator, name)(*arguments)

    def _happen(self, face: int) -> None:
        chance = self.chance.random()
        if chance < 0.02:
            self._all("set_tier", face, self.chance.choice(TIERS))
        elif chance < 0.03:
            self._all("speech_cut", face)
        elif chance < 0.04:
            self._all("set_mood", face, self.chance.uniform(-1.0, 1.0), self.chance.uniform(-1.0, 1.0))
        elif chance < 0.05:
            self._all("set_character", face, self.chance.choice(("mira", "dreamy", "nobody")))

    def _row(self, face: int, frame: int) -> AnimatorRow:
        chance = self.chance
        if (frame // 60 + face) % 3:
            spans = UTTERANCES[face % len(UTTERANCES)]
            if self.ticks[face] >= spans[-1].end or not self.utterances[face]:
                self.utterances[face] += 1
                self.ticks[face] = 0
                self._all("speech_start", face, self.utterances[face])
            late = chance.randrange(3) * TICK  # some phonemes come when they are under way
            now = self.ticks[face] - late
            new = [span for span in spans if now <= span.start + 4_800 < now + TICK]
            self._all("speech_phonemes", face, self.utterances[face], new)
            self.times[face] += TICK
            self.ticks[face] += TICK
            sound = bytes(chance.randrange(60, 180) for _ in range(LOG_MEL_BANDS))
            heard = sound * chance.choice((1, 1, 1, 1, 0, 3))
            return AnimatorRow(
                face, self.times[face], FaceState.SPEAKING, self.utterances[face], self.ticks[face], sound, 0.0, heard
            )
        self.times[face] += chance.choice((TICK, 4 * TICK, 60 * TICK))
        return AnimatorRow(face, self.times[face], FaceState(frame // 20 % 4), user_level=chance.random())

    def frame(self, frame: int) -> list[AnimatorRow]:
        """The rows of some of the faces."""
        here = [face for face in range(FACES) if self.chance.random() < 0.9]
        for face in here:
            self._happen(face)
        return [self._row(face, frame) for face in here]


@pytest.mark.parametrize("with_student", [True, False], ids=["student", "rules"])
def test_machine_code_shows_what_numpy_shows(with_student: bool) -> None:
    animators = [
        Animator(
            capacity=2, student=Student(precision="fp32", compiled=compiled) if with_student else None,
            compiled=compiled,
        )
        for compiled in (None, COMPILED)
    ]  # fmt: skip
    assert [animator.compiled for animator in animators] == [False, True]
    crowd = Crowd(animators, seed=3)
    moved = 0.0
    for frame in range(400):
        rows = crowd.frame(frame)
        one, other = (animator.animate(rows) for animator in animators)
        np.testing.assert_allclose(one.weights, other.weights, atol=2e-5)
        np.testing.assert_allclose(one.joints, other.joints, atol=2e-5)
        np.testing.assert_allclose(one.sync, other.sync, atol=2e-5)
        moved = max(moved, float(one.weights.max()))
    assert moved > 0.9, "they did something"
    tables = [animator.save(4).rows for animator in animators]
    assert [len(row) for row in tables[0]] == [len(row) for row in tables[1]]


def test_mouths_are_asked_alike_near_and_far_from_every_sound() -> None:
    table, count = SoundTable(len(UTTERANCES)), len(UTTERANCES)
    for slot, spans in enumerate(UTTERANCES):
        utterance = Utterance()
        utterance.add(spans)
        sounds = utterance.take(spans[-1].end // 2)[-16:]
        table.put([slot] * len(sounds), sounds)
    slots = np.arange(count)
    asked = np.empty((count, len(PLAN)), np.float32)
    beats = 0.0
    for tick in range(-24_000, 480_000, 1_111):
        COMPILED.ask(table, slots, np.full(count, tick), asked)
        rows = table.sample(slots, np.full(count, tick / 48_000))
        mouth, seals = resolve(rows)
        np.testing.assert_allclose(asked[:, : len(MOUTH)], np.hstack([mouth, seals]), atol=2e-6)
        np.testing.assert_allclose(asked[:, PLAN.index("beat")], rows[:, -1], atol=2e-6)
        assert (asked[:, PLAN.index("planned")] == 1.0).all()
        beats = max(beats, float(rows[:, -1].max()))
    assert beats > 0.5


def test_a_slot_that_is_not_open_is_refused() -> None:
    animator = Animator(capacity=2, compiled=COMPILED)
    with pytest.raises(LocalProtocolError, match="not open"):
        animator.animate([AnimatorRow(1, TICK, FaceState.IDLE)])


@pytest.mark.parametrize("compiled", [None, COMPILED], ids=["numpy", "compiled"])
def test_what_is_remembered_is_the_same_in_order_wherever_its_rings_stand(compiled: CompiledFaces | None) -> None:
    """A state that is taken out and put back at any moment goes on as if nothing had been."""
    going, moving = (Student(precision="fp32", compiled=compiled) for _ in range(2))
    one, other = going.open(), moving.open()
    rng = np.random.default_rng(0)
    for _ in range(3 * STATE_ROWS):
        inputs = rng.random((1, INPUTS), dtype=np.float32)
        given = going.run(np.array([one]), inputs)
        np.testing.assert_allclose(moving.run(np.array([other]), inputs), given, atol=1e-5)
        state = moving._memory.state(other)
        assert state.shape == (STATE_ROWS, TRUNK_WIDTH)
        np.testing.assert_allclose(state, going._memory.state(one), atol=1e-5)
        moving.close(other)
        other = moving.open()
        moving._memory.set_state(other, state)


def test_where_numba_is_missing_numpy_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_compiled()[0] is not None
    for name in ("compiled", "kernels"):
        monkeypatch.delitem(sys.modules, f"edge.{name}")
        monkeypatch.delattr(edge, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    compiled, reason = load_compiled()
    assert compiled is None
    assert reason.startswith("numba cannot be used here: ")

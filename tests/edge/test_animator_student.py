"""Faces that the student moves: what it is told, who shares a batch, and what changing tier or character looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from core.avatar.blend import STEP_MAX
from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import BLENDSHAPE_COUNT, LOG_MEL_BANDS, PHASES_PER_TICK, TICK_SAMPLES
from core.session.state import FaceState
from core.speech.features import log_mel_frames
from core.speech.messages import PhonemeSpan, SpeechPacket
from core.speech.student_layout import INPUTS, LOOKAHEAD_FRAMES, MOUTH, OUTPUTS, PLAN, STATE_ROWS
from core.stream.speech_track import SpeechTrack
from edge.animator import RULES, TIERS, AnimatedBatch, Animator, AnimatorRow
from edge.compiled import CompiledFaces
from edge.overload import Overload
from edge.student import Student
from origin.distill.teacher import plan_of
from tests.edge.speech import recording
from tests.edge.test_animator import START, UTTERANCES

COMPILED: Final = CompiledFaces()
"""As in a POP; `test_kernels` compares it with numpy, by which `test_animator` goes."""
JAW: Final = BLENDSHAPE_INDEX["jawOpen"]
MOUTH_WEIGHTS: Final = [
    index for name, index in BLENDSHAPE_INDEX.items() if name.startswith(("mouth", "jaw", "tongue"))
]


class CountingModel:
    """The real model; what it was given is kept."""

    def __init__(self, student: Student, fidelity: int) -> None:
        self._model = student._models[fidelity]
        self.inputs: list[NDArray[np.float32]] = []

    def run(self, names: None, feed: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        self.inputs.append(np.array(feed["inputs"], dtype=np.float32))
        return self._model.run(names, feed)

    def get_inputs(self) -> Sequence[object]:
        return ()

    def get_outputs(self) -> Sequence[object]:
        return ()


def counted(student: Student) -> list[CountingModel]:
    models = [CountingModel(student, fidelity) for fidelity in range(len(student._models))]
    student._models = models  # type: ignore[assignment]
    return models


def voice_of(spans: Sequence[PhonemeSpan], seed: int = 1) -> NDArray[np.uint8]:
    """Log-mel with the rhythm of an utterance: louder on vowels, quiet in pauses."""
    frames = spans[-1].end // TICK_SAMPLES + 1
    level = np.full(frames, 10.0)
    for span in spans:
        if span.symbol not in ("", "_"):
            level[span.start // TICK_SAMPLES : span.end // TICK_SAMPLES + 1] = 150 if span.stress else 110
    tilt = np.linspace(30, -50, LOG_MEL_BANDS)
    noise = np.random.default_rng(seed).normal(0, 8, (frames, LOG_MEL_BANDS))
    return np.clip(level[:, None] + tilt + noise, 0, 255).astype(np.uint8)


class Speaker:
    """A session that says utterances through a track, as `edge.session` does."""

    def __init__(self, animator: Animator, *, seed: int = 7, character: str = "neutral") -> None:
        self.animator = animator
        self.slot = animator.open(seed=seed, character=character)
        self.track = SpeechTrack()
        self.media_time = START
        self.latest = 0

    def say(self, spans: Sequence[PhonemeSpan], log_mel: NDArray[np.uint8], *, phonemes: bool = True) -> int:
        """Everything of an utterance arrives at once. Returns: its ticks."""
        self.latest += 1
        self.track.start(self.latest)
        self.animator.speech_start(self.slot, self.latest)
        for index, frame in enumerate(log_mel[:150]):
            packet = SpeechPacket(utterance_id=self.latest, index=index, opus=b"x", log_mel=frame.tobytes())
            assert self.track.push(packet, 0.0) is None
        if phonemes:
            self.animator.speech_phonemes(self.slot, self.latest, spans)
        self.track.end(self.latest, len(log_mel[:150]))
        return len(log_mel[:150])

    def row(self, state: FaceState = FaceState.SPEAKING) -> AnimatorRow:
        placed = self.track.pop(self.media_time)
        row = AnimatorRow(
            slot=self.slot,
            media_time=self.media_time,
            state=state,
            utterance_id=placed.utterance_id if placed else 0,
            utterance_ticks=placed.ticks if placed else 0,
            log_mel=placed.log_mel if placed else b"",
            heard=self.track.hear(LOOKAHEAD_FRAMES) if placed else b"",
        )
        self.media_time += TICK_SAMPLES
        return row


def play(animator: Animator, speakers: Sequence[Speaker], ticks: int) -> list[AnimatedBatch]:
    return [animator.animate([speaker.row() for speaker in speakers]) for _ in range(ticks)]


def poses(batches: Sequence[AnimatedBatch], index: int = 0) -> NDArray[np.float32]:
    return np.array([batch.weights[index] for batch in batches])


@pytest.fixture(scope="module")
def student() -> Student:
    return Student(precision="fp32", compiled=COMPILED)


def fresh(capacity: int = 2) -> Animator:
    student = Student(precision="fp32", capacity=capacity, compiled=COMPILED)
    return Animator(capacity=capacity, student=student, compiled=COMPILED)


# --- what it is told -------------------------------------------------------------------------------------------------


def test_the_student_hears_the_future_and_sees_the_plan_of_the_frame_it_answers(student: Student) -> None:
    [high, *_] = counted(student)
    animator = Animator(capacity=1, student=student, compiled=COMPILED)
    speaker = Speaker(animator)
    animator.set_mood(speaker.slot, 0.5, float("nan"))
    spans = UTTERANCES[1]
    mel = voice_of(spans)
    count = speaker.say(spans, mel)
    play(animator, [speaker], count)
    fed = np.concatenate(high.inputs)
    assert fed.shape == (count + LOOKAHEAD_FRAMES, INPUTS)
    np.testing.assert_allclose(fed[:count, :LOG_MEL_BANDS], mel[:count] / np.float32(255.0), rtol=1e-6)
    assert not fed[count:, :LOG_MEL_BANDS].any(), "past the end there is silence"
    np.testing.assert_allclose(
        fed[LOOKAHEAD_FRAMES:, LOG_MEL_BANDS : LOG_MEL_BANDS + len(PLAN)], plan_of(spans, count), atol=2e-5
    )
    np.testing.assert_array_equal(fed[:, -2:], np.tile(np.array([0.5, 0.0], np.float32), (len(fed), 1)))


def test_the_student_moves_the_mouth_as_it_answers() -> None:
    animator, plain = fresh(), Animator(capacity=2)
    spans, mel = UTTERANCES[0], voice_of(UTTERANCES[0])
    moved = []
    for each in (animator, plain):
        speaker = Speaker(each)
        moved.append(poses(play(each, [speaker], speaker.say(spans, mel))))
    with_student, by_rules = moved
    assert np.corrcoef(with_student[5:, JAW], by_rules[5:, JAW])[0, 1] > 0.9
    assert np.abs(with_student - by_rules)[:, MOUTH_WEIGHTS].max() > 0.05, "they are not the same"


def test_a_silent_face_costs_no_run_once_it_has_settled(student: Student) -> None:
    [high, *_] = counted(student)
    animator = Animator(capacity=2, student=student, compiled=COMPILED)
    speaker = Speaker(animator)
    play(animator, [speaker], 20)
    assert high.inputs == []
    count = speaker.say(UTTERANCES[0], voice_of(UTTERANCES[0]))
    play(animator, [speaker], count + 8)
    assert speaker.track.pop(speaker.media_time) is None, "the tail is over"
    before = len(high.inputs)
    play(animator, [speaker], 60)
    assert len(high.inputs) - before == STATE_ROWS
    play(animator, [speaker], 60)
    assert len(high.inputs) - before == STATE_ROWS
    own = int(animator._faces._own[speaker.slot])  # type: ignore[union-attr]
    quiet = student._memory.state(own)
    student.run(np.array([own]), np.zeros((1, INPUTS), np.float32))
    np.testing.assert_allclose(
        student._memory.state(own)[1:], quiet[1:], atol=2e-3, err_msg="more silence would change nothing"
    )


def test_a_second_sentence_after_a_rest_is_said_like_one_of_its_own() -> None:
    animator = fresh()
    speaker = Speaker(animator)
    spans, mel = UTTERANCES[2], voice_of(UTTERANCES[2])
    first = poses(play(animator, [speaker], speaker.say(spans, mel)))
    play(animator, [speaker], 60)
    second = poses(play(animator, [speaker], speaker.say(spans, mel)))
    # The slow mean of what was heard remains, so that they need not be equal.
    assert np.abs(first - second)[10:, JAW].mean() < 0.03


def test_packets_of_three_ticks_lose_no_sound(student: Student) -> None:
    [high, *_] = counted(student)
    animator = Animator(capacity=1, student=student, compiled=COMPILED)
    speaker = Speaker(animator)
    mel = voice_of(UTTERANCES[0])
    count = speaker.say(UTTERANCES[0], mel) // 3 * 3
    for _ in range(count // 3):
        row = speaker.row()
        for _ in range(2):
            speaker.track.pop(speaker.media_time)
            speaker.media_time += TICK_SAMPLES
        animator.animate([row])
    fed = np.concatenate(high.inputs)[:, :LOG_MEL_BANDS]
    assert len(fed) == count - 2 + LOOKAHEAD_FRAMES
    np.testing.assert_allclose(fed[:count], mel[:count] / np.float32(255.0), rtol=1e-6)


@pytest.mark.parametrize("heard", [b"x", b"y" * 41, b""])
def test_garbage_is_not_heard(heard: bytes, student: Student) -> None:
    [high, *_] = counted(student)
    animator = Animator(capacity=1, student=student, compiled=COMPILED)
    slot = animator.open(seed=1)
    batch = animator.animate([AnimatorRow(slot, START, FaceState.SPEAKING, 1, 0, heard, heard=heard)])
    assert np.isfinite(batch.weights).all()
    assert high.inputs == []


def test_unknown_phonemes_are_counted_and_the_face_goes_on() -> None:
    animator = fresh()
    speaker = Speaker(animator)
    spans = [PhonemeSpan(symbol, k * 4_800, (k + 1) * 4_800, 2) for k, symbol in enumerate("日x本☃ɑ")]
    batches = play(animator, [speaker], speaker.say(spans, voice_of(spans)))
    assert animator.unknown_phonemes >= 2
    assert all(np.isfinite(batch.weights).all() and np.isfinite(batch.joints).all() for batch in batches)


# --- the audio-only path ---------------------------------------------------------------------------------------------


def test_sound_alone_moves_the_mouth_of_a_recorded_person() -> None:
    sound, start_s, end_s = recording("mars")
    mel = log_mel_frames(sound, 48_000)
    animator = fresh()
    speaker = Speaker(animator)
    batches = play(animator, [speaker], speaker.say((), mel, phonemes=False))
    jaw = poses(batches)[:, JAW]
    speaking = jaw[round(start_s * 50) + 3 : round(end_s * 50) - 3]
    assert speaking.max() > 0.2
    assert speaking.std() > 0.04
    assert jaw[: round(start_s * 50) - 8].max() < 0.1, "the mouth is shut before the first word"


@pytest.mark.parametrize("level", [0, 255])
def test_silence_and_clipping_leave_a_face(level: int) -> None:
    animator = fresh()
    speaker = Speaker(animator)
    mel = np.full((80, LOG_MEL_BANDS), level, np.uint8)
    batches = play(animator, [speaker], speaker.say((), mel, phonemes=False))
    weights = poses(batches)
    assert np.isfinite(weights).all()
    if level == 0:
        assert weights[10:, JAW].max() < 0.1


# --- batch mates -----------------------------------------------------------------------------------------------------


def test_batch_mates_do_not_matter_not_even_a_damaged_one() -> None:
    """Products of matrices are summed in another order when there are more rows: float32 differs by its rounding."""
    spans, mel = UTTERANCES[1], voice_of(UTTERANCES[1])
    alone = fresh()
    one = Speaker(alone, seed=5, character="mira")
    expected = poses(play(alone, [one], one.say(spans, mel)))

    animator = fresh(capacity=24)
    crowd = [
        Speaker(animator, seed=5 if k == 11 else 100 + k, character="mira" if k == 11 else "gruff") for k in range(23)
    ]
    for k, speaker in enumerate(crowd):
        if k == 11:
            speaker.say(spans, mel)
        else:
            speaker.say(UTTERANCES[k % 5], np.full((150, LOG_MEL_BANDS), 255, np.uint8))
            animator.set_tier(speaker.slot, TIERS[k % len(TIERS)])
    faces = animator._faces
    assert faces is not None
    together = []
    for tick in range(len(expected)):
        if tick == 40:
            faces.student._memory._states[faces._own[crowd[3].slot]] = np.nan
            faces._moods[crowd[4].slot] = np.nan
        together.append(animator.animate([speaker.row() for speaker in crowd]).weights)
    np.testing.assert_allclose(np.array(together)[:, 11], expected, atol=2e-4)
    assert faces.student.mended > 0
    assert np.isfinite(np.array(together)).all()


def test_characters_share_a_batch(student: Student) -> None:
    [high, *_] = counted(student)
    animator = Animator(capacity=4, student=student, compiled=COMPILED)
    speakers = [Speaker(animator, character=name) for name in ("neutral", "mira", "gruff", "nobody-knows")]
    for speaker in speakers:
        speaker.say(UTTERANCES[0], voice_of(UTTERANCES[0]))
    batches = play(animator, speakers, 60)
    assert [len(inputs) for inputs in high.inputs[LOOKAHEAD_FRAMES:]] == [4] * 60
    jaws = np.array([batch.weights[:, JAW] for batch in batches])
    assert np.abs(jaws[:, 0] - jaws[:, 2]).max() > 0.03, "a character looks like itself"
    np.testing.assert_allclose(jaws[:, 0], jaws[:, 3], atol=1e-5, err_msg="one without a style is neutral")


# --- changing hands --------------------------------------------------------------------------------------------------


def test_changing_tier_and_character_every_second_adds_no_jump_and_resets_nothing() -> None:
    characters = ("mira", "gruff", "lively", "neutral")
    changed, plain = fresh(), fresh()
    runs = []
    for animator in (changed, plain):
        speaker = Speaker(animator)
        frames: list[NDArray[np.float32]] = []
        for utterance in range(4):
            count = speaker.say(UTTERANCES[utterance], voice_of(UTTERANCES[utterance]))
            for _ in range(count):
                if animator is changed and (len(frames) + 17) % 50 == 0:
                    second = len(frames) // 50
                    animator.set_tier(speaker.slot, TIERS[(second + 1) % len(TIERS)])
                    animator.set_character(speaker.slot, characters[second % 4])
                frames.append(animator.animate([speaker.row()]).weights[0])
        runs.append(np.array(frames))
    swapped, steady = runs
    steps = np.abs(np.diff(swapped, axis=0))
    assert (steps <= STEP_MAX[:BLENDSHAPE_COUNT] + 1e-6).all()
    # What a swap adds to the motion is far below what would be seen as a jump: the limiter has nothing to do.
    added = np.abs(np.diff(swapped - steady, axis=0))[16::50, MOUTH_WEIGHTS]
    assert added.max() < 0.12
    faces = changed._faces
    assert faces is not None
    assert faces.student.mended == 0
    assert np.abs(faces.student._memory.state(int(faces._own[0]))).max() > 0.1, "the state was never reset"


@pytest.mark.parametrize("tier", TIERS)
def test_every_tier_speaks(tier: str) -> None:
    animator = fresh()
    speaker = Speaker(animator)
    animator.set_tier(speaker.slot, tier)
    assert animator.tier(speaker.slot) == tier
    weights = poses(play(animator, [speaker], speaker.say(UTTERANCES[0], voice_of(UTTERANCES[0]))))
    assert weights[:, JAW].max() > 0.2


def test_a_cut_closes_the_mouth_softly() -> None:
    animator = fresh()
    speaker = Speaker(animator)
    speaker.say([PhonemeSpan("ɑː", 0, 96_000)], np.full((100, LOG_MEL_BANDS), 140, np.uint8))
    play(animator, [speaker], 30)
    animator.speech_cut(speaker.slot)
    speaker.track.cancel(1)
    jaw = poses(play(animator, [speaker], 20))[:, JAW]
    assert jaw[0] > 0.15
    assert jaw[8] < 0.08
    assert np.abs(np.diff(jaw)).max() < 0.15


def test_without_a_student_the_rules_serve_whatever_tier_is_asked_for() -> None:
    animator = Animator(capacity=1)
    slot = animator.open(seed=1, character="mira")
    animator.set_tier(slot, "high")
    animator.set_character(slot, "gruff")
    assert animator.tier(slot) == TIERS[RULES] == "rules"
    assert animator.student is None
    assert animator.tier_counts() == {"high": 0, "medium": 0, "low": 0, "rules": 1}


def test_sessions_come_and_go_without_a_trace() -> None:
    animator = fresh(capacity=1)
    speakers = [Speaker(animator, seed=k) for k in range(5)]
    for speaker in speakers:
        speaker.say(UTTERANCES[0], voice_of(UTTERANCES[0]))
    play(animator, speakers, 30)
    for speaker in speakers[1:]:
        animator.close(speaker.slot)
    assert sum(animator.tier_counts().values()) == 1
    heir = Speaker(animator, seed=9)
    first = animator.animate([heir.row(FaceState.IDLE)])
    assert first.weights[0, JAW] < 0.1
    faces = animator._faces
    assert faces is not None
    assert not faces.student._memory.state(int(faces._own[heir.slot])).any()
    assert not faces._answers[heir.slot, : len(OUTPUTS)].any()
    assert len(MOUTH) < len(OUTPUTS)


# --- overload --------------------------------------------------------------------------------------------------------


def test_overload_takes_from_the_silent_first_then_from_all_and_gives_everything_back() -> None:
    animator = fresh(capacity=8)
    silent, talker = Speaker(animator, seed=1), Speaker(animator, seed=2)
    overload = Overload(animator)
    talker.say(UTTERANCES[0], voice_of(UTTERANCES[0]))
    play(animator, [silent, talker], 140)

    def serve(seconds: float, busy_s: float, now: float) -> float:
        for _ in range(round(seconds * 50)):
            for phase in range(PHASES_PER_TICK):
                overload.phase_done(phase, 0.0, busy_s, 50, now)
            now += 0.02
        return now

    now = serve(1.0, 0.002, 0.0)
    assert (animator.tier(silent.slot), animator.tier(talker.slot)) == ("high", "high")
    while animator.tier(silent.slot) == "high":
        now = serve(0.02, 0.006, now)
    assert animator.tier(talker.slot) == "high", "the silent one went first"
    assert animator.tier(silent.slot) == "rules"
    now = serve(4.0, 0.006, now)
    assert animator.tier(talker.slot) == "rules"
    assert not overload.admits(8)
    assert sum(animator.tier_counts().values()) == 2, "nobody was dropped"
    serve(40.0, 0.001, now)
    assert (animator.tier(silent.slot), animator.tier(talker.slot)) == ("high", "high")
    assert overload.admits(8)

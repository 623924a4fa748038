from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.avatar.rig import BLENDSHAPE_INDEX, JOINT_INDEX
from core.errors import LocalProtocolError
from core.limits import LID_STEP_MAX, UTTERANCES_PER_SLOT_MAX, WEIGHT_STEP_MAX
from core.session.state import FaceState
from core.speech.messages import PhonemeSpan
from edge.animator import AnimatedBatch, Animator, AnimatorRow

SPOKEN = json.loads((Path(__file__).parents[1] / "data" / "espeak_spans.json").read_text(encoding="utf-8"))
UTTERANCES = [[PhonemeSpan(*span) for span in spoken["spans"]] for spoken in SPOKEN]
TICK = 960
START = 48_000 * 100

JAW, CLOSE = BLENDSHAPE_INDEX["jawOpen"], BLENDSHAPE_INDEX["mouthClose"]
PARTING = [BLENDSHAPE_INDEX[name] for name in (
    "mouthFunnel", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "tongueOut",
)]  # fmt: skip
LIDS = [index for name, index in BLENDSHAPE_INDEX.items() if name.startswith(("eyeBlink", "eyeWide", "eyeLook"))]
OTHERS = [index for index in range(52) if index not in LIDS]


def opening(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far the lips are apart: jaw not made up for by mouthClose, plus what parts the lips themselves."""
    apart: NDArray[np.float32] = weights[..., JAW] - weights[..., CLOSE] + weights[..., PARTING].sum(axis=-1)
    return apart


class Session:
    """One slot and its media clock."""

    def __init__(self, animator: Animator | None = None, *, seed: int = 7) -> None:
        self.animator = animator or Animator(capacity=2)
        self.slot = self.animator.open(seed=seed)
        self.media_time = START
        self.weights: list[NDArray[np.float32]] = []
        self.joints: list[NDArray[np.float32]] = []
        self.sync: list[float] = []

    def show(self, state: FaceState, ticks: int = TICK, *, utterance: int = 0, at: int = 0, log_mel: bytes = b"",
             level: float = 0.0) -> AnimatedBatch:  # fmt: skip
        row = AnimatorRow(self.slot, self.media_time, state, utterance, at, log_mel, level)
        batch = self.animator.animate([row])
        self.media_time += ticks
        self.weights.append(batch.weights[0])
        self.joints.append(batch.joints[0])
        self.sync.append(float(batch.sync[0]))
        return batch

    def say(self, utterance: int, spans: Sequence[PhonemeSpan], *, ahead: int = 15, frames: int | None = None) -> None:
        """Speak with phonemes that arrive `ahead` packets before their sound."""
        self.animator.speech_start(self.slot, utterance)
        count = spans[-1].end // TICK + 1 if frames is None else frames
        for packet in range(-ahead, count):
            due = (packet + ahead) * TICK
            new = [span for span in spans if due <= span.start < due + TICK]
            self.animator.speech_phonemes(self.slot, utterance, new)
            if packet >= 0:
                self.show(FaceState.SPEAKING, utterance=utterance, at=packet * TICK)

    @property
    def trajectory(self) -> NDArray[np.float32]:
        return np.array(self.weights)


@pytest.mark.parametrize("spans", UTTERANCES)
@pytest.mark.parametrize("ahead", [15, 2])
@pytest.mark.parametrize("valence", [0.0, 1.0])
def test_lips_really_shut_in_every_bilabial(spans: list[PhonemeSpan], ahead: int, valence: float) -> None:
    session = Session()
    session.animator.set_mood(session.slot, valence, 0.5)
    for _ in range(30):
        session.show(FaceState.THINKING)
    session.say(1, spans, ahead=ahead)
    spoken = session.trajectory[30:]
    closures = [span for span in spans if span.symbol in ("p", "b", "m")]
    assert len(closures) >= 2
    for span in closures:
        # espeak-ng counts the silence of a voiceless stop to the sound before it.
        first = (span.start - (1_900 if span.symbol == "p" else 0)) // TICK
        during = spoken[max(first, 0) : span.end // TICK + 2]
        assert opening(during).min() < 0.04, span
        assert during[:, JAW].min() <= 0.16, span


@pytest.mark.parametrize("spans", UTTERANCES[:3])
def test_vowels_open_the_mouth_between_closures(spans: list[PhonemeSpan]) -> None:
    session = Session()
    session.say(1, spans)
    for span in spans:
        if span.symbol[:1] in "aæɑɔɛʌ" and span.symbol and span.stress == 2 and span.end - span.start > 3_840:
            assert session.trajectory[span.start // TICK : span.end // TICK + 1, JAW].max() > 0.2, span
    assert max(session.sync) > 0.99


def test_the_mouth_closes_after_the_last_word() -> None:
    session = Session()
    session.say(1, UTTERANCES[0])
    for _ in range(20):
        session.show(FaceState.LISTENING)
    assert opening(session.trajectory[-1]) < 0.01
    assert session.sync[-1] < 0.01


def test_a_cut_closes_the_mouth_softly_and_for_good() -> None:
    spans = [PhonemeSpan("ɑː", 0, 48_000)]
    session = Session()
    session.say(3, spans, frames=20)
    assert opening(session.trajectory[-1]) > 0.5
    session.animator.speech_cut(session.slot)
    for packet in range(20, 40):
        session.show(FaceState.LISTENING, utterance=3 if packet < 24 else 0, at=packet * TICK)
    after = opening(session.trajectory[19:])
    assert np.all(np.diff(after) <= 1e-6)
    assert np.abs(np.diff(session.trajectory[19:, JAW])).max() < 0.2
    assert after[8] < 0.05
    assert after[15] < 0.01
    session.animator.speech_phonemes(session.slot, 3, [PhonemeSpan("a", 0, 48_000)])
    session.show(FaceState.SPEAKING, utterance=3, at=40 * TICK)
    assert session.animator.dropped_phonemes == 1
    assert opening(session.trajectory[-1]) < 0.02
    session.say(4, spans, frames=20)
    assert opening(session.trajectory[-1]) > 0.5


def test_sound_without_phonemes_still_moves_the_jaw() -> None:
    session = Session()
    loud, soft = bytes([170]) * 40, bytes([60]) * 40
    for k in range(40):
        session.show(FaceState.SPEAKING, utterance=1, at=k * TICK, log_mel=loud if k // 5 % 2 else soft)
    jaw = session.trajectory[10:, JAW]
    assert np.ptp(jaw) > 0.1
    assert max(session.sync) < 0.6


def test_a_louder_voice_opens_further() -> None:
    session = Session()
    session.animator.speech_phonemes(session.slot, 1, [PhonemeSpan("ɑː", 0, 48_000)])
    for k in range(30):
        session.show(FaceState.SPEAKING, utterance=1, at=k * TICK, log_mel=bytes([150 if k >= 15 else 110]) * 40)
    jaw = session.trajectory[:, JAW]
    assert jaw[15:].max() > 1.2 * jaw[14]


def test_garbage_log_mel_counts_as_none() -> None:
    session = Session()
    for log_mel in (b"x", b"y" * 41, b"z" * 4000):
        batch = session.show(FaceState.SPEAKING, utterance=1, log_mel=log_mel)
        assert np.isfinite(batch.weights).all()


def test_late_phonemes_do_not_pop() -> None:
    session = Session()
    session.animator.speech_start(session.slot, 1)
    for k in range(40):
        if k == 20:
            session.animator.speech_phonemes(session.slot, 1, [PhonemeSpan("ɑː", 0, 48_000)])
        session.show(FaceState.SPEAKING, utterance=1, at=k * TICK)
    jaw = session.trajectory[:, JAW]
    assert jaw[19] < 0.06
    assert jaw[-1] > 0.4
    assert np.abs(np.diff(jaw)).max() < 0.27


@pytest.mark.parametrize("state", list(FaceState))
@pytest.mark.parametrize("frame_ticks", [TICK, 4 * TICK])
def test_a_face_is_never_frozen(state: FaceState, frame_ticks: int) -> None:
    window = 100 * 48 // frame_ticks
    for seed in range(2):
        session = Session(seed=seed)
        for _ in range(20 * 48_000 // frame_ticks):
            session.show(state, frame_ticks)
        weights = np.rint(session.trajectory * 255)
        joints = np.array(session.joints)
        moved = (weights[window:] != weights[:-window]).any(axis=1)
        # A turn of a tenth of a degree is about half a pixel at the edge of a head 600 pixels high.
        cosine = np.abs(np.einsum("njk,njk->nj", joints[window:].astype(float), joints[:-window].astype(float)))
        turned = np.degrees(2.0 * np.arccos(np.minimum(cosine, 1.0))).max(axis=1) > 0.1
        assert np.all(moved | turned)


def test_a_new_face_is_alive_and_whole_at_once() -> None:
    session = Session()
    session.animator.set_mood(session.slot, 1.0, 0.0)
    batch = session.show(FaceState.LISTENING)
    assert batch.weights[0, BLENDSHAPE_INDEX["mouthSmileLeft"]] > 0.4
    assert batch.weights[0, BLENDSHAPE_INDEX["eyeBlinkLeft"]] < 0.2
    session.show(FaceState.LISTENING)
    assert np.abs(np.diff(session.trajectory, axis=0))[0, OTHERS].max() < 0.05


def test_frames_are_what_the_wire_wants() -> None:
    session = Session()
    batch = session.show(FaceState.THINKING)
    frame = batch.frames()[0]
    assert frame.weights.shape == (52,)
    assert frame.weights.dtype == np.float32
    assert frame.joints.shape == (7, 4)
    assert frame.sync_score == 0.0
    np.testing.assert_allclose(np.linalg.norm(frame.joints, axis=1), 1.0, atol=1e-6)


def test_time_steps_do_not_matter_to_an_idle_face() -> None:
    fine, coarse = Session(seed=3), Session(seed=3)
    for _ in range(1200):
        fine.show(FaceState.IDLE)
    for _ in range(300):
        coarse.show(FaceState.IDLE, 4 * TICK)
    np.testing.assert_allclose(fine.trajectory[::4], coarse.trajectory, atol=2e-2)
    np.testing.assert_allclose(np.array(fine.joints)[::4], np.array(coarse.joints), atol=2e-2)
    assert np.abs(fine.trajectory[::4] - coarse.trajectory).mean() < 1e-4


def test_batch_mates_do_not_matter() -> None:
    alone = Session(seed=5)
    alone.say(1, UTTERANCES[1], frames=120)
    animator = Animator(capacity=1)
    crowd = [Session(animator, seed=5 if k == 11 else 100 + k) for k in range(23)]
    subject = crowd[11]
    for session in crowd:
        animator.speech_start(session.slot, 1)
        animator.speech_phonemes(session.slot, 1, UTTERANCES[1 if session is subject else 0])
    together = []
    for k in range(120):
        rows = [
            AnimatorRow(s.slot, START + k * TICK, FaceState.SPEAKING, 1, k * TICK)
            if s is subject
            else AnimatorRow(s.slot, START + k * TICK + 7, FaceState(n % 4), n % 2, k * TICK, bytes([n]) * 40, n / 23)
            for n, s in enumerate(crowd)
        ]
        together.append(animator.animate(rows).weights[11])
    np.testing.assert_allclose(np.array(together), alone.trajectory, atol=1e-4)


def test_a_reused_slot_leaks_nothing() -> None:
    fresh = Session(Animator(capacity=1))
    for _ in range(50):
        fresh.show(FaceState.IDLE)
    animator = Animator(capacity=1)
    former = Session(animator, seed=1)
    animator.set_mood(former.slot, -1.0, 1.0)
    former.say(9, UTTERANCES[2], frames=60)
    animator.close(former.slot)
    heir = Session(animator)
    assert heir.slot == former.slot
    for _ in range(50):
        heir.show(FaceState.IDLE)
    np.testing.assert_array_equal(heir.trajectory, fresh.trajectory)
    heir.say(1, UTTERANCES[2], frames=60)
    assert opening(heir.trajectory[50:]).max() > 0.2


def test_slots_grow_and_faces_keep_moving() -> None:
    animator = Animator(capacity=1)
    sessions = [Session(animator, seed=k) for k in range(9)]
    assert len({session.slot for session in sessions}) == 9
    for session in sessions:
        session.show(FaceState.IDLE)
    assert not np.array_equal(sessions[0].joints[0], sessions[8].joints[0])


def test_announced_utterances_are_bounded() -> None:
    session = Session()
    for utterance in range(1, 50):
        session.animator.speech_start(session.slot, utterance)
    voice = session.animator._mouths._voices[session.slot]
    assert voice is not None
    assert len(voice.utterances) == UTTERANCES_PER_SLOT_MAX
    session.say(60, UTTERANCES[0], frames=20)
    assert set(voice.utterances) == {60}


def test_misuse_is_named() -> None:
    animator = Animator(capacity=1)
    slot = animator.open(seed=1)
    animator.close(slot)
    with pytest.raises(LocalProtocolError):
        animator.close(slot)
    with pytest.raises(LocalProtocolError):
        animator.speech_start(99, 1)
    with pytest.raises(LocalProtocolError):
        animator.animate([AnimatorRow(slot, 0, FaceState.IDLE)])
    with pytest.raises(LocalProtocolError):
        Animator(capacity=0)
    assert animator.animate([]).weights.shape == (0, 52)


def test_unknown_phonemes_are_counted() -> None:
    session = Session()
    session.animator.speech_phonemes(session.slot, 1, [PhonemeSpan("日", 0, 4_800), PhonemeSpan("a", 9, 3)])
    assert (session.animator.unknown_phonemes, session.animator.dropped_phonemes) == (1, 1)


_EVENT = st.one_of(
    st.tuples(st.just("state"), st.sampled_from(list(FaceState))),
    st.tuples(st.just("mood"), st.tuples(st.floats(-1, 1), st.floats(-1, 1))),
    st.tuples(st.just("say"), st.integers(0, len(UTTERANCES) - 1)),
    st.tuples(st.just("late"), st.integers(0, 200)),
    st.tuples(st.just("cut"), st.none()),
    st.tuples(st.just("end"), st.none()),
    st.tuples(st.just("level"), st.floats(0, 1)),
    st.tuples(st.just("slow"), st.none()),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_EVENT, st.integers(1, 12)), max_size=20), st.integers(0, 2**63))
def test_nothing_makes_a_face_jump(events: list[tuple[tuple[str, object], int]], seed: int) -> None:
    session = Session(seed=seed)
    state, utterance, latest, at, level, steps = FaceState.IDLE, 0, 0, 0, 0.0, [TICK]
    for (kind, value), frames in events:
        match kind, value:
            case "state", FaceState():
                state = value
            case "mood", (float(valence), float(arousal)):
                session.animator.set_mood(session.slot, valence, arousal)
            case "say", int(which):
                latest += 1
                utterance, at = latest, 0
                session.animator.speech_start(session.slot, utterance)
                session.animator.speech_phonemes(session.slot, utterance, UTTERANCES[which])
            case "late", int(ms):
                span = PhonemeSpan("ɑmfʃ"[ms % 4], at - ms * 48, at + 4_800)
                session.animator.speech_phonemes(session.slot, max(latest, 1), [span])
            case "cut", _:
                session.animator.speech_cut(session.slot)
            case "end", _:
                utterance = 0
            case "level", float():
                level = value
        for _ in range(frames):
            ticks = 4 * TICK if kind == "slow" else TICK
            mel = bytes([(at * 7) % 256]) * 40 if utterance else b""
            session.show(state, ticks, utterance=utterance, at=at, log_mel=mel, level=level)
            steps.append(ticks)
            at += ticks
    if len(session.weights) < 2:
        return
    weights, joints = session.trajectory, np.array(session.joints)
    assert np.isfinite(weights).all()
    assert np.isfinite(joints).all()
    assert weights.min() >= 0.0
    assert weights.max() <= 1.0
    change = np.abs(np.diff(weights, axis=0)) / (np.array(steps[1 : len(weights)]) / TICK)[:, None]
    assert change[:, LIDS].max() <= LID_STEP_MAX + 1e-5
    assert change[:, OTHERS].max() <= WEIGHT_STEP_MAX + 1e-5
    head = joints[:, JOINT_INDEX["head"]].astype(float)
    turn = 2.0 * np.arccos(np.minimum(np.abs((head[1:] * head[:-1]).sum(axis=1)), 1.0))
    assert (turn / (np.array(steps[1 : len(weights)]) / TICK)).max() < 0.09
    np.testing.assert_allclose(np.linalg.norm(joints, axis=2), 1.0, atol=1e-5)

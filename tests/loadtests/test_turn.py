"""What a recording says, with recordings whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import MEDIA_CLOCK_HZ, TICK_S, TICK_SAMPLES
from core.session.state import FaceState
from core.wire.access_unit import AccessUnitFlags
from loadtests.recording import Arrival, ControlEvent, Drawn, Heard, Recording, Spoken
from loadtests.turn import measure

JAW = BLENDSHAPE_INDEX["jawOpen"]
T0 = 1_000.0
"""Monotonic seconds at which media time 0 arrives."""
QUESTION = Spoken(started_at=T0, speech_from=T0 + 0.3, speech_until=T0 + 2.0)


def loudness(media_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """A voice from 3 s to 7 s that swells like syllables, each one different."""
    rng = np.random.default_rng(5)
    marks = np.arange(3.0, 7.0, 0.11)
    heights = rng.uniform(0.0, 1.0, marks.size)
    heights[[0, -1]] = 0.0
    swell = np.interp(media_s, marks, heights, left=0.0, right=0.0)
    return np.asarray(swell, dtype=np.float64)


def voice(start: int, size: int) -> NDArray[np.float32]:
    times = (start + np.arange(size)) / MEDIA_CLOCK_HZ
    return (0.3 * loudness(times) * np.sin(2 * np.pi * 180 * times)).astype(np.float32)


def frame(jaw_open: float) -> AnimationFrame:
    weights = REST_FRAME.weights.copy()
    weights[JAW] = jaw_open
    return AnimationFrame(weights=weights, joints=REST_FRAME.joints, sync_score=1.0)


def conversation(
    *, states: dict[float, FaceState], playout_s: float = 0.05, drawn_late_s: float = 0.0, seconds: float = 9.0
) -> Recording:
    """A perfect link; `states` says from which media second on the face does what."""
    recording = Recording()
    for index in range(round(seconds / TICK_S)):
        media_time = index * TICK_SAMPLES
        media_s = index * TICK_S
        state = [value for since, value in sorted(states.items()) if media_s >= since - 1e-9][-1]
        speech = 3.0 <= media_s < 7.0
        flags = AccessUnitFlags.SPEECH if speech else AccessUnitFlags(0)
        recording.arrivals.append(
            Arrival(
                at=T0 + media_s,
                media_time=media_time,
                duration=TICK_SAMPLES,
                sequence_number=index,
                state=state,
                flags=flags,
                frame_bytes=30 if speech else 10,
                packet_bytes=150,
                frame=frame(float(loudness(np.array([media_s]))[0])),
            )
        )
        samples = voice(media_time, TICK_SAMPLES)
        recording.heard.append(Heard(T0 + media_s + playout_s, media_time, samples, speech, samples))
    for tick in range(round(seconds * 60)):
        at = T0 + tick / 60
        media_s = at - T0 - playout_s - drawn_late_s
        recording.drawn.append(Drawn(at, float(loudness(np.array([media_s]))[0])))
    return recording


IDLE, LISTENING, THINKING, SPEAKING = FaceState
NORMAL = {0.0: IDLE, 0.4: LISTENING, 2.1: THINKING, 3.0: SPEAKING, 7.0: IDLE}


def test_times_count_from_the_end_of_speech() -> None:
    turn = measure(conversation(states=NORMAL), question_end=QUESTION.speech_until, spoken=QUESTION)
    assert turn.first_motion_ms == pytest.approx(100.0, abs=1.0)
    assert turn.first_audio_ms == pytest.approx(1_050.0, abs=30.0)
    assert turn.stages["playout"] == pytest.approx(50.0, abs=30.0)
    assert turn.speech_s == pytest.approx(1.7)
    assert turn.false_reactions == 0
    assert turn.answered
    assert turn.frames == 450
    assert turn.mean_frame_bytes == 30.0
    assert turn.reply_audio.size == pytest.approx(4.0 * MEDIA_CLOCK_HZ, abs=10)


def test_reaction_while_the_user_speaks_is_false_and_one_after_is_not() -> None:
    states = {**NORMAL, 1.0: THINKING, 1.3: LISTENING}
    turn = measure(conversation(states=states), question_end=QUESTION.speech_until, spoken=QUESTION)
    assert turn.false_reactions == 1
    assert turn.first_motion_ms == pytest.approx(100.0, abs=1.0)


def test_face_that_already_thinks_when_the_user_ends_has_reacted_at_once_but_falsely() -> None:
    states = {0.0: IDLE, 0.4: LISTENING, 1.8: THINKING, 3.0: SPEAKING, 7.0: IDLE}
    turn = measure(conversation(states=states), question_end=QUESTION.speech_until, spoken=QUESTION)
    assert turn.false_reactions == 1
    assert turn.first_motion_ms is not None
    assert 0.0 <= turn.first_motion_ms <= 20.0


@pytest.mark.parametrize("playout_s", [0.03, 0.12])
def test_lips_drawn_with_the_sound_have_no_offset_whatever_the_playout_delay(playout_s: float) -> None:
    turn = measure(
        conversation(states=NORMAL, playout_s=playout_s), question_end=QUESTION.speech_until, spoken=QUESTION
    )
    assert turn.av_offset_ms is not None
    # A display at 60 Hz shows each picture until the next: half a refresh late on average.
    assert turn.av_offset_ms == pytest.approx(8.3, abs=3.0)


@pytest.mark.parametrize("late_s", [0.04, 0.1, -0.05])
def test_lips_drawn_late_or_early_are_found_out(late_s: float) -> None:
    turn = measure(
        conversation(states=NORMAL, drawn_late_s=late_s), question_end=QUESTION.speech_until, spoken=QUESTION
    )
    assert turn.av_offset_ms == pytest.approx(late_s * 1e3 + 8.3, abs=3.0)


def test_jaw_that_is_not_the_sent_one_has_no_offset_to_speak_of() -> None:
    recording = conversation(states=NORMAL)
    rng = np.random.default_rng(1)
    recording.drawn = [Drawn(d.at, float(rng.uniform())) for d in recording.drawn]
    assert measure(recording, question_end=QUESTION.speech_until, spoken=QUESTION).av_offset_ms is None


def test_no_answer_at_all() -> None:
    turn = measure(Recording(), question_end=QUESTION.speech_until, spoken=QUESTION)
    assert not turn.answered
    assert turn.first_motion_ms is None
    assert turn.first_audio_ms is None
    assert turn.edge_added_ms_p99 is None
    assert turn.av_offset_ms is None
    assert turn.mean_frame_bytes is None
    assert turn.reply_audio.size == 0


def test_voice_flag_without_a_sound_is_no_answer() -> None:
    recording = conversation(states=NORMAL)
    recording.heard = [Heard(h.at, h.media_time, h.samples * 0, h.voice, h.source) for h in recording.heard]
    assert not measure(recording, question_end=QUESTION.speech_until, spoken=QUESTION).answered


def test_words_stages_and_faults_come_from_the_control_channel() -> None:
    recording = Recording(
        control=[
            ControlEvent(1.0, "user-transcription", {"text": "tell me", "final": False}),
            ControlEvent(1.1, "user-transcription", {"text": "tell me about mars", "final": True}),
            ControlEvent(1.2, "bot-transcription", {"text": "Mars is red."}),
            ControlEvent(1.3, "bot-transcription", {"text": "Very red."}),
            ControlEvent(1.4, "server-message", {"t": "stages", "d": {"turn_id": 1, "stages": {"think": 12.0}}}),
            ControlEvent(
                1.5,
                "server-message",
                {"t": "stages", "d": {"turn_id": 1, "stages": {"think": 12.0, "edge": 9.5}, "edge_added_ms_p99": 4.5}},
            ),
            ControlEvent(1.6, "server-message", {"t": "fault", "d": {"code": "stt-failed", "message": "…"}}),
            ControlEvent(1.7, "error", {"message": "That text is too long.", "fatal": False}),
            ControlEvent(1.8, "server-message", {"t": "stages", "d": None}),
            ControlEvent(1.9, "server-message", {"t": "stages", "d": {"stages": {"odd": "words"}}}),
        ]
    )
    turn = measure(recording, question_end=0.0, spoken=None)
    assert turn.transcript == "tell me about mars"
    assert turn.reply_text == "Mars is red. Very red."
    assert turn.stages == {"think": 12.0, "edge": 9.5}
    assert turn.edge_added_ms_p99 == 4.5
    assert turn.faults == ("stt-failed", "That text is too long.")
    assert turn.speech_s == 0.0

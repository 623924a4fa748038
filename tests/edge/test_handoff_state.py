"""A session that goes on at another POP: the same voice at the same media times, and a face that does not jump."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from core.avatar.frame import AnimationFrame
from core.errors import RemoteProtocolError
from core.limits import HANDOFF_STATE_SIZE_BYTES_MAX, TICK_S, TICK_SAMPLES
from core.speech import messages
from core.wire.access_unit import AccessUnit, AccessUnitFlags
from core.wire.frame_codec import FrameDecoder
from core.wire.opus_padding import strip
from edge.animator import Animator
from edge.handoff_state import capture, decode_state, resume
from edge.student import Student
from tests.edge.stage import VOICE, Stage

WORDS = ("m", "ɑː", "m", "a", "f", "iː", "b", "uː")


@pytest.fixture(scope="module")
def student() -> Student:
    return Student(precision="fp32")


def speak(stages: list[Stage], begin: int, count: int) -> None:
    """Packets of utterance 1 reach every stage, as over the bus."""
    for index in range(begin, begin + count):
        symbol = WORDS[index // 4 % len(WORDS)]
        spans = (messages.PhonemeSpan(symbol, index * TICK_SAMPLES, (index + 4) * TICK_SAMPLES, 1),)
        packet = messages.SpeechPacket(
            utterance_id=1,
            index=index,
            opus=VOICE[:1] + bytes([index % 250]) * 30,
            phonemes=spans if index % 4 == 0 else (),
            log_mel=bytes([80 + index * 7 % 90]) * 40,
        )
        for stage in stages:
            stage.session.receive(packet, stage.now)


def units(stage: Stage) -> dict[int, AccessUnit]:
    return {ticks: unit for unit, (_, ticks) in zip(stage.link.units, stage.link.packets, strict=True)}


def faces(stage: Stage) -> dict[int, AnimationFrame]:
    decoder, found = FrameDecoder(), {}
    for ticks, unit in units(stage).items():
        frame = decoder.decode(unit.frame, unit.sequence_number)
        assert isinstance(frame, AnimationFrame)
        found[ticks] = frame
    return found


def moved(source: Stage, target: Stage) -> None:
    state = decode_state(capture(source.session.parts, source.now))
    target.now = source.now
    target.session.begin_as_successor(target.now)
    resume(target.session.parts, state, target.now)
    target.connect()


@pytest.mark.parametrize("with_student", [True, False])
def test_voice_and_face_go_on_where_they_were(with_student: bool, student: Student) -> None:
    one, two = (Stage(animator=Animator(student=student if with_student else None)) for _ in range(2))
    one.connect()
    one.ticks(40)
    one.session.receive(messages.Mood(label="joy", valence=0.8, arousal=0.2), one.now)
    one.session.receive(messages.SpeechStart(utterance_id=1, turn_id=1), one.now)
    speak([one], 0, 50)
    for step in range(60):
        speak([one], 50 + step, 1)
        one.ticks(1)
    moved(one, two)
    for step in range(60):
        speak([one, two], 110 + step, 1)
        one.ticks(1)
        two.ticks(1)
    voices_of_one = {ticks: strip(payload) for payload, ticks in one.link.packets}
    voices_of_two = {ticks: strip(payload) for payload, ticks in two.link.packets}
    assert len(voices_of_two) == 60
    shared = sorted(set(voices_of_one) & set(voices_of_two))
    assert len(shared) >= 58  # a millisecond of fabric is made up for by a tick
    assert all(voices_of_one[ticks] == voices_of_two[ticks] for ticks in shared)
    assert all(unit.flags & AccessUnitFlags.PREVIEW for unit in two.link.units)
    assert not any(unit.flags & AccessUnitFlags.PREVIEW for unit in one.link.units)
    of_one, of_two = faces(one), faces(two)
    first = min(of_two)
    before = of_one[first - TICK_SAMPLES].weights
    # Across the switch no weight moves more than it does from one frame to the next anyway.
    usual = max(
        float(np.abs(of_one[ticks].weights - of_one[ticks - TICK_SAMPLES].weights).max()) for ticks in shared[1:]
    )
    assert float(np.abs(of_two[first].weights - before).max()) <= max(usual, 0.02)
    # And afterwards both show the same face: blinks, gaze, breath and mouth.
    assert max(float(np.abs(of_one[ticks].weights - of_two[ticks].weights).max()) for ticks in shared) < 0.05


def test_a_second_of_speech_and_a_face_fit(student: Student) -> None:
    stage = Stage(animator=Animator(student=student))
    stage.connect()
    stage.session.receive(messages.SpeechStart(utterance_id=1, turn_id=1), stage.now)
    speak([stage], 0, 50)
    stage.ticks(20)
    speak([stage], 50, 20)
    data = capture(stage.session.parts, stage.now)
    assert 4_000 < len(data) < HANDOFF_STATE_SIZE_BYTES_MAX
    assert msgspec.msgpack.decode(data)[-1][-1] is not None


def test_what_is_too_large_goes_without_what_the_student_remembers(student: Student) -> None:
    stage = Stage(animator=Animator(student=student))
    stage.connect()
    stage.session.receive(messages.SpeechStart(utterance_id=1, turn_id=1), stage.now)
    for index in range(70):
        packet = messages.SpeechPacket(utterance_id=1, index=index, opus=VOICE[:1] + bytes(145), log_mel=bytes(40))
        stage.session.receive(packet, stage.now)
    stage.ticks(2)
    data = capture(stage.session.parts, stage.now)
    assert decode_state(data).motion.student is None
    assert len(data) < HANDOFF_STATE_SIZE_BYTES_MAX


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", msgspec.msgpack.encode([1, 2]), bytes(HANDOFF_STATE_SIZE_BYTES_MAX + 1)]
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        decode_state(data)
    assert refused.value.code == "bad-state"


def test_rows_of_another_face_are_refused_and_change_nothing() -> None:
    one, two = Stage(), Stage()
    one.connect()
    one.ticks(5)
    state = decode_state(capture(one.session.parts, one.now))
    for rows in ([], [b"x"] * len(state.motion.rows), [b"\xff" * len(row) for row in state.motion.rows]):
        bad = msgspec.structs.replace(state, motion=msgspec.structs.replace(state.motion, rows=rows))
        with pytest.raises(RemoteProtocolError, match=r"row|number"):
            resume(two.session.parts, bad, two.now)


def test_a_successor_tells_nobody_anything_until_it_owns_the_session() -> None:
    one, two = Stage(), Stage()
    one.connect()
    one.ticks(5)
    moved(one, two)
    two.say(1, 10)
    two.ticks(20)
    assert two.up == []
    assert two.link.control == []
    two.session.own(7, two.now)  # somebody else's
    assert two.up == []
    two.session.parts.role = type(two.session.parts.role).SUCCESSOR
    two.session.own(two.session.claims.epoch, two.now)
    assert two.link.words("commit") == [{"epoch": 1}]
    assert len(two.sent_up(messages.Opened)) == 1
    two.ticks(1)
    assert not two.link.units[-1].flags & AccessUnitFlags.PREVIEW
    assert one.now + 20 * TICK_S <= two.now


def test_a_former_owner_sends_media_and_says_nothing() -> None:
    stage = Stage()
    stage.connect()
    stage.ticks(5)
    stage.session.receive(messages.Owner(epoch=2), stage.now)
    told, sent = len(stage.link.control), len(stage.link.packets)
    up = len(stage.up)
    stage.say(1, 10)
    stage.ticks(10)
    assert len(stage.link.packets) == sent + 10
    assert (len(stage.link.control), len(stage.up)) == (told, up)
    stage.session.release()
    assert stage.ended == ["moved"]
    assert len(stage.up) == up

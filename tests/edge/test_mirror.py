"""A microphone that is the character's voice: packets, gaps, silence, and the whole way through a session."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import LIVE_QUEUE_PACKETS_MAX, LIVE_SILENCE_S, MEDIA_CLOCK_HZ, TICK_SAMPLES
from core.session.claims import MODE_MIRROR
from core.session.state import FaceState
from core.speech import messages
from core.wire.access_unit import AccessUnitFlags
from core.wire.control import encode_control
from core.wire.feedback import Feedback, embed_feedback
from core.wire.frame_codec import FrameDecoder
from core.wire.opus_padding import strip
from edge.animator import Animator
from edge.live_voices import LIVE_LEAD_PACKETS
from edge.mirror import Mirror
from edge.student import Student
from edge.transports.link import MicrophoneUnit
from tests.edge.speech import encode, recording
from tests.edge.stage import VOICE, Stage

JAW = BLENDSHAPE_INDEX["jawOpen"]


def unit(timestamp: int, payload: bytes = VOICE) -> MicrophoneUnit:
    return MicrophoneUnit(payload=payload, timestamp=timestamp, sequence_number=timestamp // TICK_SAMPLES)


def listen(mirror: Mirror, timestamps: list[int], queued: int = 0) -> list[messages.DownMessage]:
    return [message for time in timestamps for message in mirror.receive(unit(time), 0.0, queued=queued)]


def test_a_stretch_of_packets_is_one_utterance() -> None:
    dropped: list[str] = []
    mirror = Mirror(dropped.append)
    said = listen(mirror, [5_000 + k * TICK_SAMPLES for k in (0, 1, 3, 2, 4)])
    assert said[0] == messages.SpeechStart(utterance_id=1, turn_id=1)
    assert [message.index for message in said if isinstance(message, messages.SpeechPacket)] == [0, 1, 3, 2, 4]
    assert mirror.handle_timer(LIVE_SILENCE_S / 2) == []
    assert mirror.handle_timer(LIVE_SILENCE_S * 1.1) == [messages.SpeechEnd(utterance_id=1, packets=5)]
    assert mirror.handle_timer(LIVE_SILENCE_S * 3) == []
    assert dropped == []


def test_a_long_gap_ends_it_and_begins_another() -> None:
    said = listen(Mirror(lambda _reason: None), [0, TICK_SAMPLES, MEDIA_CLOCK_HZ])
    kinds = [type(message).__name__ for message in said]
    assert kinds == ["SpeechStart", "SpeechPacket", "SpeechPacket", "SpeechEnd", "SpeechStart", "SpeechPacket"]


def test_feedback_in_the_padding_is_taken_off_and_the_voice_is_untouched() -> None:
    payload = embed_feedback(VOICE, Feedback())
    said = Mirror(lambda _reason: None).receive(unit(0, payload), 0.0, queued=0)
    assert isinstance(said[1], messages.SpeechPacket)
    assert said[1].opus == strip(VOICE) == VOICE


def test_silence_that_the_encoder_tells_of_begins_nothing() -> None:
    assert Mirror(lambda _reason: None).receive(unit(0, b"\xf8\xff\xfe"), 0.0, queued=0) == []


def test_what_comes_too_late_is_left_out_so_that_nothing_gets_ever_later() -> None:
    dropped: list[str] = []
    mirror = Mirror(dropped.append)
    listen(mirror, [0])
    assert listen(mirror, [TICK_SAMPLES], queued=LIVE_QUEUE_PACKETS_MAX + 1) == []
    [packet] = listen(mirror, [2 * TICK_SAMPLES])
    assert isinstance(packet, messages.SpeechPacket)
    assert packet.index == 1
    assert dropped == ["live-too-late"]


@given(
    st.lists(
        st.tuples(st.integers(0, 400_000), st.binary(max_size=60), st.integers(0, 30), st.floats(0, 1)), max_size=40
    )
)
def test_no_microphone_breaks_it(units: list[tuple[int, bytes, int, float]]) -> None:
    dropped: list[str] = []
    mirror = Mirror(dropped.append)
    started = ended = 0
    now = 0.0
    for timestamp, payload, queued, wait_s in units:
        now += wait_s
        said = [*mirror.handle_timer(now), *mirror.receive(unit(timestamp, payload), now, queued=queued)]
        for message in said:
            started += isinstance(message, messages.SpeechStart)
            ended += isinstance(message, messages.SpeechEnd)
            assert started - ended in (0, 1)
            if isinstance(message, messages.SpeechPacket):
                assert message.utterance_id == started == ended + 1
                assert message.index >= 0
    assert set(dropped) <= {"bad-opus", "live-too-late"}


@pytest.fixture(scope="module")
def student() -> Student:
    return Student(precision="fp32")


def test_a_performers_voice_moves_the_face_and_comes_back_in_step(student: Student) -> None:
    stage = Stage(animator=Animator(capacity=2, student=student), mode=MODE_MIRROR)
    stage.connect()
    sound, start_s, end_s = recording("mars")
    packets = [payload for payload, _ in encode(sound)]
    for payload in packets:
        stage.hear(payload=payload)
        stage.ticks(1)
    stage.ticks(20)
    units = [one for one in stage.link.units if one.flags & AccessUnitFlags.SPEECH]
    assert len(units) == len(packets)
    voices = [strip(payload) for payload, _ in stage.link.packets]
    first = voices.index(strip(packets[0]))
    assert first == LIVE_LEAD_PACKETS + 1, "sound waits for what the student has to hear of the future"
    assert voices[first : first + len(packets)] == [strip(payload) for payload in packets], "Opus is untouched"
    decoder = FrameDecoder()
    faces = [decoder.decode(one.frame, one.sequence_number) for one in stage.link.units]
    jaw = np.array([face.weights[JAW] for face in faces if hasattr(face, "weights")])[first:]
    begin, end = round(start_s * 50), round(end_s * 50)
    assert jaw[begin:end].max() > 0.2
    assert jaw[begin:end].mean() > 3 * jaw[: begin - 5].mean()
    assert stage.sent_up(messages.MicrophonePacket) == [], "nothing goes to the origin"
    assert stage.sent_up(messages.UserSpeech) == []
    assert {one.state for one in units} == {FaceState.SPEAKING}
    assert stage.ended == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_not_even_a_short_sound_is_lost(count: int) -> None:
    stage = Stage(mode=MODE_MIRROR)
    stage.connect()
    for _ in range(count):
        stage.hear()
        stage.ticks(1)
    stage.ticks(30)
    voices = [strip(payload) for payload, _ in stage.link.packets]
    assert voices.count(VOICE) == count
    assert stage.session.parts.track.holes == 0


def test_a_mirror_answers_nobody() -> None:
    stage = Stage(mode=MODE_MIRROR)
    stage.connect()
    stage.session.on_control(encode_control("send-text", {"content": "Hello?"}), stage.now)
    assert stage.sent_up(messages.UserText) == []
    assert stage.link.words("error")


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"\x10ab", b"\xf8" + bytes(1_200)], ids=["no", "cut", "40ms", "large"]
)
def test_packets_that_are_no_voice_are_counted(payload: bytes) -> None:
    stage = Stage(mode=MODE_MIRROR)
    stage.connect()
    stage.hear()
    stage.hear(payload=payload)
    stage.ticks(30)
    assert stage.ended == []
    counted = [
        stage.registry.get_sample_value("edge_dropped_total", {"reason": reason}) or 0.0
        for reason in ("bad-opus", "bad-voice")
    ]
    assert sum(counted) >= 1

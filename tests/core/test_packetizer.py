"""Frames and Opus become access units: numbered, decodable, and safe against strange feedback."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.limits import IDLE_FRAMES_PER_PACKET, TICK_SAMPLES
from core.session.state import FaceState
from core.stream.packetizer import Packetizer
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit
from core.wire.feedback import Feedback
from core.wire.frame_codec import FrameDecoder, Layer
from core.wire.opus_padding import duration_samples, silence, strip

_VOICE = b"\x78" + bytes(range(60))


def _frame(level: float) -> AnimationFrame:
    return AnimationFrame(weights=np.full(52, level, dtype=np.float32), joints=REST_FRAME.joints, sync_score=level)


def _pack(packetizer: Packetizer, level: float = 0.0, opus: bytes = b"") -> tuple[bytes, AccessUnit]:
    packet = packetizer.pack(frame=_frame(level), opus=opus, state=FaceState.LISTENING, flags=AccessUnitFlags.DUCK)
    unit = decode_access_unit(packet)
    assert unit is not None
    return packet, unit


def test_units_are_numbered_and_say_what_they_carry() -> None:
    packetizer = Packetizer(epoch=7)
    _, first = _pack(packetizer)
    packet, second = _pack(packetizer, opus=_VOICE)
    assert (first.sequence_number, second.sequence_number) == (0, 1)
    assert first.epoch == second.epoch == 7
    assert first.flags == AccessUnitFlags.DUCK
    assert second.flags == AccessUnitFlags.DUCK | AccessUnitFlags.SPEECH
    assert second.state is FaceState.LISTENING
    assert strip(packet)[-60:] == _VOICE[1:]
    assert packetizer.units == 2
    assert packetizer.frame_bytes == len(first.frame) + len(second.frame)


def test_silence_is_one_tick_and_idle_is_four() -> None:
    packetizer = Packetizer(epoch=1)
    packet, _ = _pack(packetizer)
    assert duration_samples(packet) == TICK_SAMPLES
    assert strip(packet)[-2:] == silence(1)[-2:]
    idle = packetizer.pack_idle(frame=REST_FRAME, state=FaceState.IDLE)
    assert duration_samples(idle) == IDLE_FRAMES_PER_PACKET * TICK_SAMPLES


def test_acknowledged_frames_become_baselines() -> None:
    packetizer = Packetizer(epoch=1)
    _, first = _pack(packetizer, 0.5)
    _, from_rest = _pack(packetizer, 0.5)
    packetizer.receive_feedback(Feedback(acknowledged=first.sequence_number))
    _, from_first = _pack(packetizer, 0.5)
    assert len(from_first.frame) < len(from_rest.frame)
    packetizer.receive_feedback(Feedback(keyframe_request=True))
    _, again_from_rest = _pack(packetizer, 0.5)
    assert len(again_from_rest.frame) == len(from_rest.frame)


def test_another_owners_acknowledgement_does_not_count() -> None:
    packetizer = Packetizer(epoch=2)
    _, first = _pack(packetizer, 0.5)
    packetizer.receive_feedback(Feedback(acknowledged=first.sequence_number, epoch=1))
    _, second = _pack(packetizer, 0.5)
    assert isinstance(FrameDecoder().decode(second.frame, second.sequence_number), AnimationFrame)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.booleans()), max_size=40))
def test_no_feedback_makes_a_viewer_who_has_everything_lose_anything(script: list[tuple[int, bool]]) -> None:
    packetizer = Packetizer(epoch=1)
    decoder = FrameDecoder()
    for step, (acknowledged, keyframe_request) in enumerate(script):
        level = (step % 10) / 10
        _, unit = _pack(packetizer, level)
        frame = decoder.decode(unit.frame, unit.sequence_number)
        assert isinstance(frame, AnimationFrame)
        assert abs(float(frame.weights[0]) - level) < 0.01
        packetizer.receive_feedback(Feedback(acknowledged=acknowledged, keyframe_request=keyframe_request))


def test_an_idle_track_is_all_of_the_lowest_layer() -> None:
    packetizer = Packetizer(epoch=1)
    packets = [packetizer.pack_idle(frame=_frame(0.1), state=FaceState.IDLE) for _ in range(4)]
    layers = [unit.frame[2] >> 6 for unit in map(decode_access_unit, packets) if unit is not None]
    assert layers == [Layer.T0] * 4

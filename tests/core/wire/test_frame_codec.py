from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.errors import LocalProtocolError, RemoteProtocolError
from core.limits import FRAME_HISTORY
from core.wire.frame_codec import BaselineMissing, FrameDecoder, FrameEncoder, Layer, layer_of
from core.wire.quantization import WEIGHT_MAX
from tests.core.wire.strategies import frames, mutated
from tests.vectors.frames import synthetic_frame

_MAX = np.array(WEIGHT_MAX)
_COARSEST = np.where(_MAX == 1023, 8.5 / 1023, 2.5 / 255)
"""Half of the coarsest step, and the half step of quantisation."""


def _error_deg(a: AnimationFrame, b: AnimationFrame) -> float:
    norms = np.linalg.norm(b.joints.astype(np.float64), axis=1, keepdims=True)
    other = b.joints / norms
    distance = np.minimum(np.linalg.norm(a.joints - other, axis=1), np.linalg.norm(a.joints + other, axis=1))
    return float(np.degrees(4.0 * np.arcsin(distance / 2.0)).max())


def _assert_close(decoded: AnimationFrame | BaselineMissing, frame: AnimationFrame) -> AnimationFrame:
    assert isinstance(decoded, AnimationFrame)
    assert (np.abs(decoded.weights - frame.weights) <= _COARSEST + 1e-6).all()
    assert _error_deg(decoded, frame) < 0.2
    np.testing.assert_allclose(np.linalg.norm(decoded.joints, axis=1), 1.0, atol=1e-6)
    assert (decoded.joints[:, 3] >= 0).all()
    assert abs(decoded.sync_score - frame.sync_score) <= 0.5 / 255 + 1e-9
    return decoded


@given(track=st.lists(frames(), min_size=1, max_size=6), lag=st.integers(1, 4), first=st.integers(0, 65_535))
@settings(deadline=None)
def test_round_trip_at_any_lag(track: list[AnimationFrame], lag: int, first: int) -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    for index, frame in enumerate(track):
        if index >= lag:
            assert encoder.acknowledge((first + index - lag) & 0xFFFF)
        number = (first + index) & 0xFFFF
        _assert_close(decoder.decode(encoder.encode(frame, number), number), frame)


@given(frame=frames())
@settings(deadline=None)
def test_a_still_face_settles_exactly(frame: AnimationFrame) -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    for number in range(6):
        decoded = decoder.decode(encoder.encode(frame, number), number)
        encoder.acknowledge(number)
    assert isinstance(decoded, AnimationFrame)
    assert (np.abs(decoded.weights - frame.weights) <= 0.5 / _MAX + 1e-6).all()
    assert len(encoder.encode(frame, 6)) == 5


@given(track=st.lists(frames(), min_size=2, max_size=5), data=st.data())
@settings(deadline=None)
def test_damage_gives_a_value_or_an_error(track: list[AnimationFrame], data: st.DataObject) -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    for number, frame in enumerate(track):
        encoded = encoder.encode(frame, number)
        try:
            decoder.decode(mutated(encoded, data.draw), number)
        except RemoteProtocolError as error:
            assert error.code == "bad-frame"
        decoder.decode(encoded, number)
        encoder.acknowledge(number)


@given(data=st.binary(max_size=120), sequence_number=st.integers(0, 65_535))
def test_any_bytes_give_a_value_or_an_error(data: bytes, sequence_number: int) -> None:
    try:
        FrameDecoder().decode(data, sequence_number)
    except RemoteProtocolError as error:
        assert error.code == "bad-frame"


@given(losses=st.lists(st.booleans(), min_size=80, max_size=200), lag=st.integers(1, 70))
@settings(deadline=None, max_examples=30)
def test_no_loss_ever_propagates(losses: list[bool], lag: int) -> None:
    """Whatever is lost, every frame that arrives decodes: its baseline was acknowledged, so it is there."""
    encoder, decoder = FrameEncoder(), FrameDecoder()
    arrived: list[int] = []
    for number, lost in enumerate(losses):
        while arrived and arrived[0] <= number - lag:
            encoder.acknowledge(arrived.pop(0))
        data = encoder.encode(synthetic_frame(number), number)
        if not lost:
            _assert_close(decoder.decode(data, number), synthetic_frame(number))
            arrived.append(number)


def test_errors_do_not_accumulate() -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    for number in range(3_000):
        frame = synthetic_frame(number)
        _assert_close(decoder.decode(encoder.encode(frame, number), number), frame)
        if number >= 5:
            encoder.acknowledge(number - 5)


def test_sequence_numbers_wrap() -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    for index in range(200):
        number = (65_500 + index) & 0xFFFF
        _assert_close(decoder.decode(encoder.encode(synthetic_frame(index), number), number), synthetic_frame(index))
        assert encoder.acknowledge(number)
    assert isinstance(decoder.decode(encoder.encode(synthetic_frame(200), 164), 164), AnimationFrame)


def test_the_rest_pose_is_the_baseline_until_something_is_acknowledged() -> None:
    encoder = FrameEncoder()
    data = [encoder.encode(synthetic_frame(number), number) for number in range(5)]
    for number, frame in enumerate(data):
        assert isinstance(FrameDecoder().decode(frame, number), AnimationFrame)
    encoder.acknowledge(4)
    assert FrameDecoder().decode(encoder.encode(synthetic_frame(5), 5), 5) == BaselineMissing(4)
    encoder.reset()
    assert isinstance(FrameDecoder().decode(encoder.encode(synthetic_frame(6), 6), 6), AnimationFrame)
    assert not encoder.acknowledge(5), "what was sent before the reset counts no more"


def test_a_baseline_that_is_too_old_is_given_up() -> None:
    encoder, decoder = FrameEncoder(), FrameDecoder()
    for number in range(FRAME_HISTORY + 3):
        data = encoder.encode(synthetic_frame(number), number)
        assert isinstance(decoder.decode(data, number), AnimationFrame)
        distance = (data[2] & 0x3F) << 1 | data[3] >> 7
        assert distance == (number if 1 <= number <= FRAME_HISTORY else 0)
        if number == 0:
            assert encoder.acknowledge(0)
    assert not encoder.acknowledge(0)


def test_acknowledgements_only_go_forward() -> None:
    encoder = FrameEncoder()
    for number in range(4):
        encoder.encode(REST_FRAME, number)
    assert encoder.acknowledge(2)
    assert not encoder.acknowledge(1)
    assert not encoder.acknowledge(2)
    assert not encoder.acknowledge(77)
    assert encoder.acknowledge(3)


def test_a_receiver_notices_that_it_diverged() -> None:
    encoder, honest, other = FrameEncoder(), FrameDecoder(), FrameDecoder()
    first = encoder.encode(synthetic_frame(0), 0)
    honest.decode(first, 0)
    other.decode(FrameEncoder().encode(synthetic_frame(40), 0), 0)
    encoder.acknowledge(0)
    second = encoder.encode(synthetic_frame(1), 1)
    assert isinstance(honest.decode(second, 1), AnimationFrame)
    assert other.decode(second, 1) == BaselineMissing(0, diverged=True)
    assert other.decode(second, 1) == BaselineMissing(0), "a baseline that is not the sender's is forgotten"


def test_layers_follow_the_sequence_number() -> None:
    layers = [layer_of(number) for number in range(100)]
    assert layers.count(Layer.T0) == 25
    assert layers.count(Layer.T1) == 25
    assert layers.count(Layer.T2) == 50
    assert layers[:4] == [Layer.T0, Layer.T2, Layer.T1, Layer.T2]
    encoder = FrameEncoder()
    assert [encoder.encode(REST_FRAME, number)[2] >> 6 for number in range(4)] == [0, 2, 1, 2]
    assert encoder.encode(REST_FRAME, 5, layer=0)[2] >> 6 == 0


@pytest.mark.parametrize(("sequence_number", "layer"), [(-1, None), (65_536, None), (1, 3), (1, -1)])
def test_impossible_arguments_are_local_errors(sequence_number: int, layer: int | None) -> None:
    with pytest.raises(LocalProtocolError, match="out of range"):
        FrameEncoder().encode(REST_FRAME, sequence_number, layer)


def test_sequence_numbers_must_grow() -> None:
    encoder = FrameEncoder()
    encoder.encode(REST_FRAME, 5)
    for number in (5, 4, 40_000):
        with pytest.raises(LocalProtocolError, match="not newer"):
            encoder.encode(REST_FRAME, number)


def test_poisoned_frames_are_made_harmless() -> None:
    weights = np.full(52, np.nan, dtype=np.float32)
    weights[:4] = np.inf, -np.inf, 7.0, -1.0
    joints = np.full((7, 4), np.nan, dtype=np.float32)
    joints[1] = 0.0
    joints[2] = np.inf
    frame = AnimationFrame(weights=weights, joints=joints, sync_score=math.nan)
    decoded = FrameDecoder().decode(FrameEncoder().encode(frame, 0), 0)
    assert isinstance(decoded, AnimationFrame)
    assert decoded.weights[:4].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert not decoded.weights[4:].any()
    np.testing.assert_array_equal(decoded.joints, REST_FRAME.joints)
    assert decoded.sync_score == 0.0


def test_parts_add_up() -> None:
    encoder = FrameEncoder()
    data = encoder.encode(synthetic_frame(3), 0)
    parts = encoder.parts
    assert len(data) == math.ceil((parts.header + parts.weights + parts.joints) / 8)

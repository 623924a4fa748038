"""A whole track through a lossy link, from frames to frames: what redundancy brings back is drawn as if it had come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import pytest

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.errors import Dropped
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX, TICK_SAMPLES
from core.session.state import FaceState
from core.stream.fec import FecEncoder, FecTier, RestoredUnit, decode_block, encode_block
from core.stream.fec_decoder import FecDecoder
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit, encode_access_unit
from core.wire.frame_codec import FrameDecoder, FrameEncoder
from core.wire.opus_padding import duration_samples, silence, strip

_ACKNOWLEDGED_AFTER = 5


def _frame(index: int) -> AnimationFrame:
    weights = (0.5 + 0.5 * np.sin(index / 7 + np.arange(52))).astype(np.float32)
    return AnimationFrame(weights=weights, joints=REST_FRAME.joints, sync_score=0.5)


def _opus(index: int) -> bytes:
    """Voice, and now and then 80 ms of silence as one packet."""
    return (
        silence(4)
        if index % 9 == 8
        else b"\x78" + bytes((index * 31 + place) & 0xFF for place in range(40 + index % 30))
    )


@dataclass
class _Sender:
    """What a POP does for one viewer."""

    sound: bool
    tier: FecTier
    first: int = 65_400
    frames: FrameEncoder = field(default_factory=FrameEncoder)
    encoder: FecEncoder = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = FecEncoder(sound=self.sound)

    def send(self, index: int) -> bytes:
        number, opus = self.first + index & 0xFFFF, _opus(index)
        unit = AccessUnit(
            epoch=3, sequence_number=number, flags=AccessUnitFlags.SPEECH, state=FaceState.SPEAKING,
            frame=self.frames.encode(_frame(index), number),
        )  # fmt: skip
        packet = encode_access_unit(unit, opus)
        block = encode_block(unit, span_ticks=duration_samples(opus), opus=strip(opus) if self.sound else None)
        room = (
            ACCESS_UNIT_SIZE_BYTES_MAX - len(packet) - 8
        )  # the frame's length, and longer length bytes of the padding
        fec = self.encoder.protect(number, block, tier=self.tier, window=6, size_bytes_max=room)
        return encode_access_unit(replace(unit, fec=fec), opus)


@dataclass
class _Viewer:
    """What a viewer does; keeps what it would draw and play."""

    sound: bool
    first: int
    frames: FrameDecoder = field(default_factory=FrameDecoder)
    decoder: FecDecoder = field(init=False)
    drawn: dict[int, AnimationFrame] = field(default_factory=dict)
    restored: dict[int, RestoredUnit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.decoder = FecDecoder(sound=self.sound)

    def receive(self, packet: bytes) -> None:
        unit = decode_access_unit(packet)
        assert unit is not None
        opus = strip(packet) if self.sound else None
        block = encode_block(unit, span_ticks=duration_samples(packet), opus=opus)
        result = self.decoder.receive(unit.sequence_number, block, unit.fec)
        assert not isinstance(result, Dropped)
        for number, content in result:
            back = decode_block(content, epoch=unit.epoch, sequence_number=number, sound=self.sound)
            self.restored[number - self.first & 0xFFFF] = back
            self._draw(back.unit)
        self._draw(unit)

    def _draw(self, unit: AccessUnit) -> None:
        frame = self.frames.decode(unit.frame, unit.sequence_number)
        assert isinstance(frame, AnimationFrame)
        self.drawn[unit.sequence_number - self.first & 0xFFFF] = frame


def _run(sound: bool, tier: FecTier, lost: Callable[[int], bool], units: int) -> _Viewer:
    sender = _Sender(sound, tier)
    viewer = _Viewer(sound, sender.first)
    for index in range(units):
        packet = sender.send(index)
        if not lost(index):
            viewer.receive(packet)
        acknowledged = index - _ACKNOWLEDGED_AFTER
        if acknowledged in viewer.drawn:  # a restored frame is a baseline like any other
            sender.frames.acknowledge(sender.first + acknowledged & 0xFFFF)
    return viewer


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("tier", [FecTier.F1, FecTier.F2, FecTier.F3])
def test_what_comes_back_is_what_was_sent(sound: bool, tier: FecTier) -> None:
    random = Random(tier)
    losses = {index for index in range(400) if random.random() < 0.1} - set(range(390, 400))
    viewer = _run(sound, tier, losses.__contains__, 400)
    clean = _run(sound, tier, lambda index: False, 400)
    assert len(viewer.restored) > 0.95 * len(losses)
    for index, back in viewer.restored.items():
        assert index in losses
        assert (back.unit.epoch, back.unit.flags, back.unit.state) == (3, AccessUnitFlags.SPEECH, FaceState.SPEAKING)
        assert back.span_ticks == duration_samples(_opus(index))
        assert back.opus == (_opus(index) if sound else None)
    for index, frame in viewer.drawn.items():
        np.testing.assert_allclose(frame.weights, clean.drawn[index].weights, atol=0.06)
    assert not viewer.decoder.dropped


def test_spans_tell_the_media_time_of_what_came_back() -> None:
    """From the neighbour that came: packets of 20 and 80 ms alternate on one timeline."""
    viewer = _run(False, FecTier.F2, lambda index: index in (7, 8, 16, 17), 30)
    times = [0]
    for index in range(30):
        times.append(times[-1] + duration_samples(_opus(index)))
    for index in (17, 16, 8, 7):
        after = times[index + 1]
        assert after - viewer.restored[index].span_ticks == times[index]
    assert viewer.restored[8].span_ticks == 4 * TICK_SAMPLES


def test_a_field_never_makes_a_packet_too_large() -> None:
    sender = _Sender(True, FecTier.F3)
    encoder_room = [len(sender.send(index)) for index in range(60)]
    assert max(encoder_room) <= ACCESS_UNIT_SIZE_BYTES_MAX
    big = b"\x78" + bytes(range(250)) * 4
    block = encode_block(
        AccessUnit(epoch=1, sequence_number=0, flags=AccessUnitFlags(0), state=FaceState.IDLE, frame=b"f"),
        span_ticks=TICK_SAMPLES, opus=big,
    )  # fmt: skip
    encoder = FecEncoder(sound=True)
    encoder.protect(0, block, tier=FecTier.F3, window=6)
    assert encoder.protect(1, block, tier=FecTier.F3, window=6, size_bytes_max=140) == b""

"""Frames as deltas against a named baseline: a loss never propagates. SPEC.md section 4."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import AnimationFrame
from core.errors import LocalProtocolError, RemoteProtocolError
from core.limits import BLENDSHAPE_COUNT, FRAME_HISTORY
from core.wire.bits import BitReader, BitWriter
from core.wire.frame_delta import read_joints, read_weights, write_joints, write_weights
from core.wire.quantization import (
    SCORE,
    checksum,
    checksum_of_parts,
    dequantize,
    quantize_joints,
    quantize_score,
    quantize_weights,
    rest_state,
)

__all__ = ["BaselineMissing", "FrameDecoder", "FrameEncoder", "FrameParts", "Layer", "layer_of"]

_SEQUENCE_MASK: Final = 0xFFFF
_REST: Final = rest_state()


class Layer(IntEnum):
    """Temporal layers: T0 alone is 12.5 frames/s, with T1 25, with T2 50."""

    T0 = 0
    T1 = 1
    T2 = 2


_LAYERS: Final = (Layer.T0, Layer.T2, Layer.T1, Layer.T2)


def layer_of(sequence_number: int) -> Layer:
    """The layer of a frame in a track of 50 frames/s: T0 T2 T1 T2, by sequence number."""
    return _LAYERS[sequence_number & 3]


@dataclass(frozen=True, slots=True)
class BaselineMissing:
    """A frame that cannot be decoded because the receiver lacks (or has another) baseline: ask for a keyframe.

    Attributes:
        baseline: the sequence number the frame refers to; None = the rest pose.
        diverged: the baseline was there, but the result has another checksum than the sender's.
    """

    baseline: int | None
    diverged: bool = False


@dataclass(frozen=True, slots=True)
class FrameParts:
    """Where the bits of an encoded frame went.

    Attributes:
        header: checksum, layer, baseline, score.
        weights: change masks and deltas of the weights.
        joints: change mask and deltas of the joints.
    """

    header: int
    weights: int
    joints: int


class _Sent(NamedTuple):
    """A state as the sender keeps it: weights int32[52], joints, score. Nothing of it is ever changed."""

    weights: NDArray[np.int32]
    joints: list[int]
    score: int


_REST_SENT: Final = _Sent(
    np.array(_REST[:BLENDSHAPE_COUNT], dtype=np.int32), _REST[BLENDSHAPE_COUNT:SCORE], _REST[SCORE]
)


class FrameEncoder:
    """Encodes one viewer's frames against what that viewer has acknowledged.

    Attributes:
        parts: bits of the last encoded frame.
    """

    __slots__ = ("_baseline", "_history", "_last", "parts")

    def __init__(self) -> None:
        self._history: dict[int, _Sent] = {}
        self._baseline: int | None = None
        self._last: int | None = None
        self.parts = FrameParts(0, 0, 0)

    def reset(self) -> None:
        """Refer to the rest pose until a frame encoded from now on is acknowledged."""
        self._history.clear()
        self._baseline = None

    def acknowledge(self, sequence_number: int) -> bool:
        """The viewer has decoded this frame.

        Returns: False when it changes nothing: unknown, too old, or older than what was acknowledged before.
        """
        if sequence_number not in self._history:
            return False
        if self._baseline is not None and not _newer(sequence_number, self._baseline):
            return False
        self._baseline = sequence_number
        return True

    def encode(self, frame: AnimationFrame, sequence_number: int, layer: int | None = None) -> bytes:
        """One frame.

        Args:
            frame: anything; weights are clipped, NaN and impossible quaternions are made harmless.
            sequence_number: of its access unit, 16 bits, newer than the one before.
            layer: temporal layer, by default `layer_of(sequence_number)`.
        Raises: LocalProtocolError: sequence number or layer out of order or range.
        """
        if not 0 <= sequence_number <= _SEQUENCE_MASK or (layer is not None and not 0 <= layer <= Layer.T2):
            raise LocalProtocolError(f"sequence number {sequence_number} or layer {layer} is out of range")
        if self._last is not None and not _newer(sequence_number, self._last):
            raise LocalProtocolError(f"sequence number {sequence_number} is not newer than {self._last}")
        self._last = sequence_number
        distance, baseline = self._choose_baseline(sequence_number)
        writer = BitWriter()
        writer.write(layer_of(sequence_number) if layer is None else layer, 2)
        writer.write(distance, 7)
        score = quantize_score(frame.sync_score)
        if score == baseline.score:
            writer.write(0, 1)
        else:
            writer.write(1 << 8 | score, 9)
        header = writer.size
        weights = write_weights(writer, quantize_weights(frame.weights), baseline.weights)
        middle = writer.size
        joints = write_joints(writer, quantize_joints(frame.joints), baseline.joints)
        self.parts = FrameParts(16 + header, middle - header, writer.size - middle)
        self._remember(sequence_number, _Sent(weights, joints, score))
        return checksum_of_parts(weights, joints, score).to_bytes(2, "big") + writer.to_bytes()

    def _choose_baseline(self, sequence_number: int) -> tuple[int, _Sent]:
        if self._baseline is not None:
            distance = (sequence_number - self._baseline) & _SEQUENCE_MASK
            if distance <= FRAME_HISTORY:
                return distance, self._history[self._baseline]
            self._baseline = None
        return 0, _REST_SENT

    def _remember(self, sequence_number: int, sent: _Sent) -> None:
        history = self._history
        history[sequence_number] = sent
        while (sequence_number - (oldest := next(iter(history)))) & _SEQUENCE_MASK > FRAME_HISTORY:
            del history[oldest]


class FrameDecoder:
    """Decodes one track's frames; keeps the last limits.FRAME_HISTORY as baselines."""

    __slots__ = ("_history",)

    def __init__(self) -> None:
        self._history: dict[int, list[int]] = {}

    def decode(self, data: bytes, sequence_number: int) -> AnimationFrame | BaselineMissing:
        """One frame; arrays are read-only.

        Args:
            data: what `FrameEncoder.encode` gave.
            sequence_number: of its access unit, 16 bits.
        Raises: RemoteProtocolError: `data` is no frame (code `bad-frame`).
        """
        if len(data) < 2:
            raise RemoteProtocolError("bad-frame", f"frame of {len(data)} bytes")
        reader = BitReader(data[2:])
        if reader.read(2) > Layer.T2:
            raise RemoteProtocolError("bad-frame", "reserved layer")
        distance = reader.read(7)
        if distance > FRAME_HISTORY:
            raise RemoteProtocolError("bad-frame", f"baseline {distance} frames back")
        name = (sequence_number - distance) & _SEQUENCE_MASK if distance else None
        baseline = _REST if name is None else self._history.get(name)
        # Without its baseline a frame still has the same syntax: malformed is malformed either way.
        state = (_REST if baseline is None else baseline).copy()
        if reader.read(1):
            state[SCORE] = reader.read(8)
        read_weights(reader, state)
        read_joints(reader, state)
        reader.finish()
        if baseline is None:
            return BaselineMissing(name)
        expected, packed = checksum(state)
        if expected != data[0] << 8 | data[1]:
            if name is not None:
                del self._history[name]
            return BaselineMissing(name, diverged=True)
        self._remember(sequence_number & _SEQUENCE_MASK, state)
        return dequantize(packed)

    def _remember(self, sequence_number: int, state: list[int]) -> None:
        history = self._history
        history.pop(sequence_number, None)
        history[sequence_number] = state
        if len(history) > FRAME_HISTORY:
            del history[next(iter(history))]


def _newer(a: int, b: int) -> bool:
    """Serial number arithmetic on 16 bits (RFC 1982)."""
    return 0 < ((a - b) & _SEQUENCE_MASK) < 0x8000

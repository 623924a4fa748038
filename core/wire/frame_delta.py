"""The change of a frame against its baseline, as bits: masks, steps and Rice codes. SPEC.md sections 4.4 and 4.5."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT
from core.wire.bits import BitReader, BitWriter
from core.wire.quantization import GROUPS, MIRRORED_JOINT, SAME_JOINT, SCORE, STEP_SHIFTS, WEIGHT_MAX
from core.wire.quaternion import COMPONENT_MAX

__all__ = ["read_joints", "read_weights", "write_joints", "write_weights"]

_COMPONENT_BIAS: Final = COMPONENT_MAX + 1
_JOINT_BASE: Final = BLENDSHAPE_COUNT
_SHIFT_ARRAYS: Final[tuple[NDArray[np.int32], ...]] = tuple(np.array(s, dtype=np.int32) for s in STEP_SHIFTS)
_HALF_ARRAYS: Final[tuple[NDArray[np.int32], ...]] = tuple((1 << s) >> 1 for s in _SHIFT_ARRAYS)
_MAX_ARRAY: Final[NDArray[np.int32]] = np.array(WEIGHT_MAX, dtype=np.int32)
_UNIT_WEIGHT: Final[NDArray[np.int32]] = np.where(_MAX_ARRAY == 1023, 1, 4).astype(np.int32)
_MOVED_MAX: Final = (48, 400, 3000)
"""Sums of all weights' distances from the baseline, in about 1/1023, up to which step codes 0, 1 and 2 are taken."""
_JOINT_CALM: Final = 24
"""Farthest joint component from the baseline below which joints have the finest step."""


def _rice_parameter(values: list[int]) -> int:
    """The Rice parameter that suits these values: about log2 of their mean times ln 2."""
    return min(7, (sum(values) * 11 // (len(values) << 4)).bit_length())


def _choose_step(distances: NDArray[np.int32]) -> int:
    """How coarse this frame's deltas may be: fast movement hides small errors, stillness does not."""
    moved = int((np.abs(distances) * _UNIT_WEIGHT).sum())
    return bisect_right(_MOVED_MAX, moved)


def write_weights(writer: BitWriter, target: NDArray[np.int32], state: list[int]) -> None:
    """Write the weights' change and update `state` to what the receiver will have.

    Args:
        target: int32[52] of `quantize_weights`.
        state: starts as the baseline.
    """
    base = np.array(state[:BLENDSHAPE_COUNT], dtype=np.int32)
    distances = target - base
    step = _choose_step(distances)
    shifts = _SHIFT_ARRAYS[step]
    deltas = (distances + _HALF_ARRAYS[step]) >> shifts
    reached = np.minimum(np.maximum(base + (deltas << shifts), 0), _MAX_ARRAY)
    state[:BLENDSHAPE_COUNT] = reached.tolist()
    # Zigzag: 0, 1, -1, 2, -2 … become 0, 1, 2, 3, 4 …
    zigzag: list[int] = np.where(deltas > 0, 2 * deltas - 1, -2 * deltas).tolist()
    mask = 0
    bodies: list[tuple[int, int, list[int], list[int]]] = []
    for units in GROUPS:
        changes, values, flags = 0, list[int](), list[int]()
        for first, second in units:
            a = zigzag[first]
            changes <<= 1
            if second < 0:
                if a:
                    changes |= 1
                    values.append(a - 1)
                    flags.append(-1)
                continue
            b = zigzag[second]
            if a == b:
                if a:
                    changes |= 1
                    values.append(a - 1)
                    flags.append(1)
            else:
                changes |= 1
                values += (a, b)
                flags += (0, -1)
        mask <<= 1
        if changes:
            mask |= 1
            bodies.append((changes, len(units), values, flags))
    writer.write(mask << 2 | step, 7)
    for changes, size, values, flags in bodies:
        parameter = _rice_parameter(values)
        writer.write(changes << 3 | parameter, size + 3)
        for flag, value in zip(flags, values, strict=True):
            if flag >= 0:
                writer.write(flag, 1)
            writer.write_rice(value, parameter)


def read_weights(reader: BitReader, state: list[int]) -> None:
    """Apply the weights' change to `state`, which starts as the baseline.

    Raises: RemoteProtocolError: code `bad-frame`.
    """
    header = reader.read(7)
    shifts = STEP_SHIFTS[header & 3]
    for bit, units in zip((64, 32, 16, 8, 4), GROUPS, strict=True):
        if not header & bit:
            continue
        changes = reader.read(len(units) + 3)
        parameter = changes & 7
        here = 1 << (len(units) + 2)
        for first, second in units:
            if changes & here:
                if second < 0:
                    a = reader.read_rice(parameter) + 1
                    b = 0
                elif reader.read(1):
                    a = b = reader.read_rice(parameter) + 1
                else:
                    a = reader.read_rice(parameter)
                    b = reader.read_rice(parameter)
                if a:
                    state[first] = _moved(state[first], a, shifts[first], WEIGHT_MAX[first])
                if b:
                    state[second] = _moved(state[second], b, shifts[second], WEIGHT_MAX[second])
            here >>= 1


def _moved(value: int, zigzag: int, shift: int, limit: int) -> int:
    value += _signed(zigzag) << shift
    return limit if value > limit else 0 if value < 0 else value


def write_joints(writer: BitWriter, target: list[int], state: list[int]) -> None:
    """Write the joints' change and update `state` to what the receiver will have.

    Args:
        target: 28 integers of `quantize_joints`.
        state: starts as the baseline.
    """
    base = state[_JOINT_BASE:SCORE]
    distances = [a - b for a, b in zip(target, base, strict=True)]
    farthest = max(max(distances), -min(distances))
    if farthest == 0:
        writer.write(0, JOINT_COUNT)
        return
    shift = 0 if farthest < _JOINT_CALM else 1
    half = (1 << shift) >> 1
    mask = 0
    changes: list[tuple[int, tuple[int, int, int] | None]] = []
    values: list[int] = []
    for at in range(0, 4 * JOINT_COUNT, 4):
        mask <<= 1
        if distances[at]:
            mask |= 1
            changes.append((at, None))
            continue
        a, b, c = distances[at + 1 : at + 4]
        if a or b or c:
            # Halves go away from zero, so that mirror images stay mirror images.
            a = (a + half) >> shift if a > 0 else -((half - a) >> shift)
            b = (b + half) >> shift if b > 0 else -((half - b) >> shift)
            c = (c + half) >> shift if c > 0 else -((half - c) >> shift)
            if a or b or c:
                mask |= 1
                changes.append((at, (a, b, c)))
                values += (abs(a), abs(b), abs(c))
    parameter = _rice_parameter([2 * value for value in values]) if values else 0
    writer.write(mask, JOINT_COUNT)
    if not mask:
        return
    writer.write(shift << 3 | parameter, 5)
    before: dict[int, tuple[int, int, int] | None] = {}
    for at, change in changes:
        here = _JOINT_BASE + at
        before[at] = change
        if change is None:
            state[here : here + 4] = target[at : at + 4]
            a, b, c = target[at + 1 : at + 4]
            packed = (a + _COMPONENT_BIAS) << 24 | (b + _COMPONENT_BIAS) << 12 | (c + _COMPONENT_BIAS)
            prediction = _predicted(at, before)
            writer.write((1 << 2 | target[at]) << 36 | packed, 39 if prediction is None else 40)
            continue
        for offset, delta in enumerate(change, here + 1):
            state[offset] = _clamped(state[offset] + (delta << shift))
        prediction = _predicted(at, before)
        if prediction is not None:
            writer.write(prediction == change, 1)
            if prediction == change:
                continue
        writer.write(0, 1)
        for delta in change:
            writer.write_rice(2 * delta - 1 if delta > 0 else -2 * delta, parameter)


def read_joints(reader: BitReader, state: list[int]) -> None:
    """Apply the joints' change to `state`, which starts as the baseline.

    Raises: RemoteProtocolError: code `bad-frame`.
    """
    mask = reader.read(JOINT_COUNT)
    if not mask:
        return
    header = reader.read(5)
    shift, parameter = header >> 3, header & 7
    before: dict[int, tuple[int, int, int] | None] = {}
    for joint in range(JOINT_COUNT):
        if not mask & 1 << (JOINT_COUNT - 1 - joint):
            continue
        at = 4 * joint
        here = _JOINT_BASE + at
        change = _predicted(at, before)
        if change is None or not reader.read(1):
            if reader.read(1):
                before[at] = None
                state[here] = reader.read(2)
                for offset in range(here + 1, here + 4):
                    state[offset] = _clamped(reader.read(12) - _COMPONENT_BIAS)
                continue
            change = (
                _signed(reader.read_rice(parameter)),
                _signed(reader.read_rice(parameter)),
                _signed(reader.read_rice(parameter)),
            )
        before[at] = change
        for offset, delta in enumerate(change, here + 1):
            state[offset] = _clamped(state[offset] + (delta << shift))


def _predicted(at: int, before: dict[int, tuple[int, int, int] | None]) -> tuple[int, int, int] | None:
    """What this joint's delta likely is: the right eye turns as the left, the right shoulder as the left's mirror."""
    if at == SAME_JOINT * 4:
        return before.get(at - 4)
    if at == MIRRORED_JOINT * 4:
        left = before.get(at - 4)
        return None if left is None else (left[0], -left[1], -left[2])
    return None


def _signed(zigzag: int) -> int:
    return (zigzag + 1) >> 1 if zigzag & 1 else -(zigzag >> 1)


def _clamped(component: int) -> int:
    return COMPONENT_MAX if component > COMPONENT_MAX else -COMPONENT_MAX if component < -COMPONENT_MAX else component

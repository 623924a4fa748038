"""The change of a frame against its baseline, as bits: masks, steps and Rice codes. SPEC.md sections 4.4 and 4.5."""

from __future__ import annotations

from bisect import bisect_right
from operator import sub
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT
from core.wire.bits import BitReader, BitWriter
from core.wire.quantization import GROUPS, MIRRORED_JOINT, SAME_JOINT, STEP_SHIFTS, WEIGHT_MAX
from core.wire.quaternion import COMPONENT_MAX

__all__ = ["read_joints", "read_weights", "write_joints", "write_weights"]

_COMPONENT_BIAS: Final = COMPONENT_MAX + 1
_JOINT_BASE: Final = BLENDSHAPE_COUNT
_SHIFT_ARRAYS: Final[tuple[NDArray[np.int32], ...]] = tuple(np.array(s, dtype=np.int32) for s in STEP_SHIFTS)
_HALF_ARRAYS: Final[tuple[NDArray[np.int32], ...]] = tuple((1 << s) >> 1 for s in _SHIFT_ARRAYS)
_MAX_ARRAY: Final[NDArray[np.int32]] = np.array(WEIGHT_MAX, dtype=np.int32)
_ZERO: Final = np.zeros(BLENDSHAPE_COUNT, dtype=np.int32)
_SIGN_BIT: Final = np.full(BLENDSHAPE_COUNT, 31, dtype=np.int32)
_UNIT_WEIGHT: Final[NDArray[np.int32]] = np.where(_MAX_ARRAY == 1023, 1, 4).astype(np.int32)
_ORDER: Final = np.array([i for units in GROUPS for unit in units for i in unit if i >= 0], dtype=np.intp)
"""Weights in the order of their groups."""


def _pairs() -> tuple[tuple[int, int, tuple[bool, ...]], ...]:
    """For each group: where it begins and ends in _ORDER, and which of its units have two channels."""
    pairs: list[tuple[int, int, tuple[bool, ...]]] = []
    end = 0
    for units in GROUPS:
        start, end = end, end + sum(1 + (second >= 0) for _, second in units)
        pairs.append((start, end, tuple(second >= 0 for _, second in units)))
    return tuple(pairs)


_PAIRS: Final = _pairs()
_MOVED_MAX: Final = (48, 400, 3000)
"""Sums of all weights' distances from the baseline, in about 1/1023, up to which step codes 0, 1 and 2 are taken."""
_JOINT_CALM: Final = 24
"""Farthest joint component from the baseline below which joints have the finest step."""


def _rice_parameter(total: int, count: int) -> int:
    """The Rice parameter that suits `count` values with this sum: about log2 of their mean times ln 2."""
    return min(7, (total * 11 // (count << 4)).bit_length())


def write_weights(writer: BitWriter, target: NDArray[np.int32], base: NDArray[np.int32]) -> NDArray[np.int32]:
    """Write the weights' change.

    Args:
        target: int32[52] of `quantize_weights`.
        base: int32[52], the baseline.
    Returns: int32[52], what the receiver will have.
    """
    distances = target - base
    # How coarse the deltas may be: fast movement hides small errors, stillness does not.
    step = bisect_right(_MOVED_MAX, int(np.abs(distances).dot(_UNIT_WEIGHT)))
    reached = target
    if step:
        shifts = _SHIFT_ARRAYS[step]
        distances += _HALF_ARRAYS[step]
        distances >>= shifts
        reached = distances << shifts
        reached += base
        np.maximum(reached, _ZERO, out=reached)
        np.minimum(reached, _MAX_ARRAY, out=reached)
    # Zigzag: 0, 1, -1, 2, -2 … become 0, 1, 2, 3, 4 …
    np.negative(distances, out=distances)
    signs = distances >> _SIGN_BIT
    distances <<= 1
    distances ^= signs
    zigzag: list[int] = distances.take(_ORDER).tolist()
    mask = bits = size = 0
    for start, end, pairs in _PAIRS:
        mask <<= 1
        part = zigzag[start:end]
        if any(part):
            mask |= 1
            body, length = _group_bits(part, pairs)
            bits = bits << length | body
            size += length
    writer.write((mask << 2 | step) << size | bits, 7 + size)
    return reached


def _group_bits(zigzag: list[int], pairs: tuple[bool, ...]) -> tuple[int, int]:
    """One group's change mask, Rice parameter and codes: the bits, and how many they are."""
    changes, values, flags = 0, list[int](), list[int]()
    at = iter(zigzag)
    for pair in pairs:
        a = next(at)
        changes <<= 1
        if not pair:
            if a:
                changes |= 1
                values.append(a - 1)
                flags.append(0)
            continue
        b = next(at)
        if a == b:
            if a:
                changes |= 1
                values.append(a - 1)
                flags.append(3)
        else:
            changes |= 1
            values += (a, b)
            flags += (2, 0)
    parameter = _rice_parameter(sum(values), len(values))
    bits, size = changes << 3 | parameter, len(pairs) + 3
    stop, rest = 1 << parameter, (1 << parameter) - 1
    for flag, value in zip(flags, values, strict=True):
        if flag:  # one bit in front says whether both channels of the pair have this value
            bits = bits << 1 | flag & 1
            size += 1
        length = (value >> parameter) + 1 + parameter
        bits = bits << length | stop | value & rest
        size += length
    return bits, size


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


def write_joints(writer: BitWriter, target: list[int], base: list[int]) -> list[int]:
    """Write the joints' change.

    Args:
        target: 28 integers of `quantize_joints`.
        base: the baseline's.
    Returns: what the receiver will have.
    """
    if target == base:
        writer.write(0, JOINT_COUNT)
        return base
    farthest = max(map(abs, map(sub, target, base)))
    shift = 0 if farthest < _JOINT_CALM else 1
    half = (1 << shift) >> 1
    mask = 0
    changes: list[tuple[int, tuple[int, int, int] | None]] = []
    total = count = 0
    for at in range(0, 4 * JOINT_COUNT, 4):
        mask <<= 1
        if target[at] != base[at]:
            mask |= 1
            changes.append((at, None))
            continue
        a, b, c = target[at + 1] - base[at + 1], target[at + 2] - base[at + 2], target[at + 3] - base[at + 3]
        if shift:
            # Halves go away from zero, so that mirror images stay mirror images.
            a = (a + half) >> shift if a > 0 else -((half - a) >> shift)
            b = (b + half) >> shift if b > 0 else -((half - b) >> shift)
            c = (c + half) >> shift if c > 0 else -((half - c) >> shift)
        if a or b or c:
            mask |= 1
            changes.append((at, (a, b, c)))
            total += abs(a) + abs(b) + abs(c)
            count += 3
    writer.write(mask, JOINT_COUNT)
    if not mask:
        return base
    parameter = _rice_parameter(2 * total, count) if count else 0
    writer.write(shift << 3 | parameter, 5)
    reached = base.copy()
    before: dict[int, tuple[int, int, int] | None] = {}
    for at, change in changes:
        before[at] = change
        prediction = _predicted(at, before)
        if change is None:
            reached[at : at + 4] = target[at : at + 4]
            a, b, c = target[at + 1 : at + 4]
            packed = (a + _COMPONENT_BIAS) << 24 | (b + _COMPONENT_BIAS) << 12 | (c + _COMPONENT_BIAS)
            writer.write((1 << 2 | target[at]) << 36 | packed, 39 if prediction is None else 40)
            continue
        for offset, delta in enumerate(change, at + 1):
            reached[offset] = _clamped(reached[offset] + (delta << shift))
        if prediction is not None:
            writer.write(prediction == change, 1)
            if prediction == change:
                continue
        bits, size = _triple_bits(change, parameter)
        writer.write(bits, size)
    return reached


def _triple_bits(change: tuple[int, int, int], parameter: int) -> tuple[int, int]:
    """A zero bit and three Rice codes: the bits, and how many they are."""
    bits, size = 0, 1
    stop, rest = 1 << parameter, (1 << parameter) - 1
    for delta in change:
        value = 2 * delta - 1 if delta > 0 else -2 * delta
        length = (value >> parameter) + 1 + parameter
        bits = bits << length | stop | value & rest
        size += length
    return bits, size


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

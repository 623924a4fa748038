"""Inputs for property tests of the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from core.avatar.frame import AnimationFrame

_UNIT = st.floats(0, 1, width=32)
_COMPONENT = st.floats(-1, 1, width=32)


@st.composite
def frames(draw: st.DrawFn) -> AnimationFrame:
    """Sparse and dense faces with any rotation."""
    weights = np.zeros(52, dtype=np.float32)
    for index, value in draw(st.dictionaries(st.integers(0, 51), _UNIT, max_size=52)).items():
        weights[index] = value
    joints = np.zeros((7, 4), dtype=np.float32)
    joints[:, 3] = 1.0
    for index, row in draw(st.dictionaries(st.integers(0, 6), st.tuples(*[_COMPONENT] * 4), max_size=7)).items():
        if np.linalg.norm(row) > 0.01:
            joints[index] = np.array(row, dtype=np.float32) / np.float32(np.linalg.norm(row))
    return AnimationFrame(weights=weights, joints=joints, sync_score=draw(st.floats(0, 1)))


@st.composite
def opus_packets(draw: st.DrawFn) -> bytes:
    """Valid packets of every code, with and without padding, as RFC 6716 section 3.2 builds them."""
    code = draw(st.integers(0, 3))
    toc = draw(st.integers(0, 31)) << 3 | draw(st.integers(0, 1)) << 2 | code
    payload = st.binary(max_size=40)
    if code == 0:
        return bytes((toc,)) + draw(payload)
    if code == 1:
        body = draw(payload)
        return bytes((toc,)) + body + body
    if code == 2:
        first = draw(st.binary(max_size=300))
        return bytes((toc,)) + length(len(first)) + first + draw(payload)
    duration = frame_samples(toc)
    count = draw(st.integers(1, min(6, 5760 // duration)))
    padding = draw(st.one_of(st.none(), st.integers(0, 600)))
    variable = draw(st.booleans())
    flags = count | (0x80 if variable else 0) | (0 if padding is None else 0x40)
    head = bytes((toc, flags))
    if padding is not None:
        head += b"\xff" * (padding // 254) + bytes((padding % 254,))
    if variable:
        sizes = [draw(st.binary(max_size=30)) for _ in range(count)]
        body = b"".join(length(len(frame)) for frame in sizes[:-1]) + b"".join(sizes)
    else:
        body = draw(payload) * count
    return head + body + bytes(padding or 0)


def length(size: int) -> bytes:
    """A frame length, RFC 6716 section 3.2.1."""
    if size < 252:
        return bytes((size,))
    return bytes((252 + size % 4, (size - (252 + size % 4)) // 4))


def frame_samples(toc: int) -> int:
    """Table 2 of RFC 6716."""
    milliseconds = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4
    return round(milliseconds[toc >> 3] * 48)


def mutated(data: bytes, draw: Callable[..., Any]) -> bytes:
    """A few bytes changed, cut off, doubled or inserted."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(("flip", "cut", "insert", "drop")))
        if kind == "flip" and data:
            data = data[:at] + bytes((data[at] ^ 1 << draw(st.integers(0, 7)),)) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + draw(st.binary(max_size=4)) + data[at:]
        else:
            data = data[:at] + data[at + 1 :]
    return data

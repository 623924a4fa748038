"""The same frames in other framings, side by side: what a frame weighs and costs in each.

| name | what |
|---|---|
| raw_float32 | sequence number, 52 weights, 7 quaternions and the score as little-endian float32, nothing else |
| msgpack | the same numbers as MessagePack arrays; a number of Python's is 9 bytes there (float 64) |
| msgpack_bin | the same float32 bytes as two MessagePack binaries |
| protobuf | packed floats in proto3: what a schema-first engineer would send |
| live_link_face | Apple's blendshapes as Epic's app sends them over UDP |

Live Link Face: version 6 in a byte; device id and subject as big-endian length and UTF-8; frame number (uint32), sub
frame (float32), rate and its denominator (uint32 each); the count 61 in a byte, then 61 big-endian float32: 52 weights
and yaw, pitch and roll of head and eyes. It has no neck, spine or shoulders. Its angles are given here as numbers that
are known already: turning quaternions into them is not framing, and is not counted.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
from numpy.typing import NDArray

from core.avatar.frame import AnimationFrame
from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT

__all__ = ["FORMATS", "Compared", "Format", "compare_formats"]

_PASSES: Final = 3
_HEAD: Final = struct.Struct("<If")
_DEVICE: Final = b"00000000-0000-0000-0000-000000000000"
_SUBJECT: Final = b"visavis"
_LIVE_LINK_VALUES: Final = 61
_LIVE_LINK_TIME: Final = struct.Struct(">IfIIB")
_LIVE_LINK_HEAD: Final = struct.pack(">BI", 6, len(_DEVICE)) + _DEVICE + struct.pack(">I", len(_SUBJECT)) + _SUBJECT
_RATE_HZ: Final = 50

Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Format:
    """`encode(number, frame)` gives bytes; `decode(bytes)` gives the weights, as a check that they are all there."""

    encode: Callable[[int, AnimationFrame], bytes]
    decode: Callable[[bytes], Numbers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Means over all frames: bytes, and microseconds of each frame's fastest pass."""

    mean_bytes: float
    encode_us: float
    decode_us: float


def compare_formats(frames: list[AnimationFrame]) -> dict[str, Compared]:
    """Every format on the same frames."""
    return {name: _compare(form, frames) for name, form in FORMATS.items()}


def _compare(form: Format, frames: list[AnimationFrame]) -> Compared:
    encode_s = [float("inf")] * len(frames)
    decode_s = [float("inf")] * len(frames)
    sizes: list[int] = []
    for _ in range(_PASSES):
        sizes.clear()
        for number, frame in enumerate(frames):
            started = time.perf_counter()
            data = form.encode(number, frame)
            encoded = time.perf_counter()
            weights = form.decode(data)
            done = time.perf_counter()
            encode_s[number] = min(encode_s[number], encoded - started)
            decode_s[number] = min(decode_s[number], done - encoded)
            sizes.append(len(data))
            if not np.array_equal(weights, frame.weights):
                raise AssertionError(f"frame {number} is not what it was")
    return Compared(
        mean_bytes=statistics.fmean(sizes),
        encode_us=statistics.fmean(encode_s) * 1e6,
        decode_us=statistics.fmean(decode_s) * 1e6,
    )


# --- raw -------------------------------------------------------------------------------------------------------------


def _raw(number: int, frame: AnimationFrame) -> bytes:
    return _HEAD.pack(number, frame.sync_score) + frame.weights.tobytes() + frame.joints.tobytes()


def _from_raw(data: bytes) -> Numbers:
    _HEAD.unpack_from(data)
    values = np.frombuffer(data, "<f4", offset=_HEAD.size)
    return values[:BLENDSHAPE_COUNT]


# --- MessagePack -----------------------------------------------------------------------------------------------------

_Lists = tuple[int, list[float], list[list[float]], float]
_Bins = tuple[int, bytes, bytes, float]
_pack = msgspec.msgpack.Encoder().encode
_unpack_lists = msgspec.msgpack.Decoder(_Lists).decode
_unpack_bins = msgspec.msgpack.Decoder(_Bins).decode


def _msgpack(number: int, frame: AnimationFrame) -> bytes:
    return _pack((number, frame.weights.tolist(), frame.joints.tolist(), frame.sync_score))


def _from_msgpack(data: bytes) -> Numbers:
    return np.array(_unpack_lists(data)[1], np.float32)


def _msgpack_bin(number: int, frame: AnimationFrame) -> bytes:
    return _pack((number, frame.weights.tobytes(), frame.joints.tobytes(), frame.sync_score))


def _from_msgpack_bin(data: bytes) -> Numbers:
    return np.frombuffer(_unpack_bins(data)[1], "<f4")


# --- protobuf --------------------------------------------------------------------------------------------------------


def _message() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="frame.proto", package="bench", syntax="proto3")
    message = file.message_type.add(name="Frame")
    message.field.add(name="sequence_number", number=1, type=field.TYPE_UINT32, label=field.LABEL_OPTIONAL)
    message.field.add(name="weights", number=2, type=field.TYPE_FLOAT, label=field.LABEL_REPEATED)
    message.field.add(name="joints", number=3, type=field.TYPE_FLOAT, label=field.LABEL_REPEATED)
    message.field.add(name="sync_score", number=4, type=field.TYPE_FLOAT, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Frame"))


_Frame: Any = _message()


def _protobuf(number: int, frame: AnimationFrame) -> bytes:
    message = _Frame(
        sequence_number=number,
        weights=frame.weights.tolist(),
        joints=frame.joints.ravel().tolist(),
        sync_score=frame.sync_score,
    )
    return bytes(message.SerializeToString())


def _from_protobuf(data: bytes) -> Numbers:
    return np.array(_Frame.FromString(data).weights, np.float32)


# --- Live Link Face --------------------------------------------------------------------------------------------------


def _live_link_face(number: int, frame: AnimationFrame) -> bytes:
    values = np.zeros(_LIVE_LINK_VALUES, ">f4")
    values[:BLENDSHAPE_COUNT] = frame.weights
    values[BLENDSHAPE_COUNT:] = frame.joints.ravel()[: _LIVE_LINK_VALUES - BLENDSHAPE_COUNT]  # as good as any angles
    head = _LIVE_LINK_HEAD + _LIVE_LINK_TIME.pack(number, 0.0, _RATE_HZ, 1, _LIVE_LINK_VALUES)
    return head + values.tobytes()


def _from_live_link_face(data: bytes) -> Numbers:
    offset = 1
    for _ in range(2):  # device id, subject
        (length,) = struct.unpack_from(">I", data, offset)
        offset += 4 + length
    *_, count = _LIVE_LINK_TIME.unpack_from(data, offset)
    values = np.frombuffer(data, ">f4", count, offset + _LIVE_LINK_TIME.size)
    return values[:BLENDSHAPE_COUNT].astype(np.float32)


FORMATS: Final[dict[str, Format]] = {
    "raw_float32": Format(_raw, _from_raw),
    "msgpack": Format(_msgpack, _from_msgpack),
    "msgpack_bin": Format(_msgpack_bin, _from_msgpack_bin),
    "protobuf": Format(_protobuf, _from_protobuf),
    "live_link_face": Format(_live_link_face, _from_live_link_face),
}
assert JOINT_COUNT * 4 >= _LIVE_LINK_VALUES - BLENDSHAPE_COUNT

"""Cases of the frame codec: tracks of frames, whole and damaged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.wire.frame_codec import BaselineMissing, FrameDecoder, FrameEncoder

Step = dict[str, Any]


def synthetic_frame(number: int, *, pace: float = 1.0) -> AnimationFrame:
    """A frame of a smooth, lively face. Rounded to 1/4096, so that no machine's last digit matters."""
    weights = np.zeros(52, dtype=np.float32)
    for index in range(52):
        if index % 3 == 0:
            continue
        wave = 0.5 + 0.55 * math.sin(0.04 * pace * number * (1 + index % 7) + index)
        weights[index] = round(min(max(wave, 0.0), 1.0) * 4096) / 4096
    if number % 2 == 0:
        weights[7] = weights[0]
    joints = np.zeros((7, 4), dtype=np.float32)
    for joint in range(7):
        for axis in range(3):
            wave = 0.08 * math.sin(0.03 * pace * number * (1 + axis) + joint + axis)
            joints[joint, axis] = round(wave * 4096) / 4096
    joints[3] = joints[2]
    joints[6] = joints[5] * np.array([1, -1, -1, 1], dtype=np.float32)
    joints[:, 3] = 1.0
    return AnimationFrame(weights=weights, joints=joints, sync_score=(number % 16) / 15)


def _turned() -> AnimationFrame:
    """Joints whose largest component is each of the four, and two weights at their ends."""
    weights = np.zeros(52, dtype=np.float32)
    weights[[17, 0]] = 1.0
    joints = REST_FRAME.joints.copy()
    joints[0] = 0.75, 0.25, -0.5, 0.375
    joints[1] = 0.25, -0.75, 0.5, 0.375
    joints[2] = 0.25, 0.5, 0.75, -0.375
    joints[3] = joints[2]
    joints[4] = 0.5, 0.5, 0.5, 0.5
    return AnimationFrame(weights=weights, joints=joints, sync_score=1.0)


def _step(decoder: FrameDecoder, sequence_number: int, data: bytes) -> Step:
    decoded = decoder.decode(data, sequence_number)
    step: Step = {"sequenceNumber": sequence_number, "data": data.hex()}
    if isinstance(decoded, BaselineMissing):
        return step | {"result": "diverged" if decoded.diverged else "baseline-missing", "baseline": decoded.baseline}
    return step | {
        "result": "frame",
        "weights": decoded.weights.astype("<f4").tobytes().hex(),
        "joints": decoded.joints.astype("<f4").tobytes().hex(),
        "score": round(decoded.sync_score * 255),
    }


def _bad(data: str, comment: str) -> dict[str, Any]:
    step = {"sequenceNumber": 7, "data": data, "result": "invalid", "code": "bad-frame"}
    return {"comment": comment, "flags": ["Malformed"], "result": "invalid", "steps": [step]}


def _track(comment: str, flags: list[str], steps: list[Step]) -> dict[str, Any]:
    return {"comment": comment, "flags": flags, "result": "valid", "steps": steps}


def _encoded(first: int, count: int, *, lag: int | None, pace: float = 1.0) -> list[tuple[int, bytes]]:
    encoder = FrameEncoder()
    result = []
    for number in range(count):
        if lag is not None and number >= lag:
            encoder.acknowledge((first + number - lag) & 0xFFFF)
        sequence_number = (first + number) & 0xFFFF
        result.append((sequence_number, encoder.encode(synthetic_frame(number, pace=pace), sequence_number)))
    return result


def _decoded(units: list[tuple[int, bytes]]) -> list[Step]:
    decoder = FrameDecoder()
    return [_step(decoder, number, data) for number, data in units]


def frame_codec() -> list[dict[str, Any]]:
    """All cases."""
    rest = FrameEncoder().encode(REST_FRAME, 0)
    turned = FrameEncoder().encode(_turned(), 3)
    still = FrameEncoder()
    twice = [(number, still.encode(_turned(), number)) for number in (0,)]
    still.acknowledge(0)
    twice.append((1, still.encode(_turned(), 1)))
    track = _encoded(100, 24, lag=5)
    wrapping = _encoded(65_530, 16, lag=2)
    fast = _encoded(0, 12, lag=5, pace=9.0)
    lost = [unit for index, unit in enumerate(track[:14]) if index not in (6, 7, 8)]
    needed = [track[0], *track[6:9]]
    damaged = bytes((track[6][1][0] ^ 1,)) + track[6][1][1:]
    return [
        _track("the rest pose", ["Keyframe"], _decoded([(0, rest)])),
        _track("large turns: every component is largest once", ["Keyframe"], _decoded([(3, turned)])),
        _track("a face that does not move", ["Delta"], _decoded(twice)),
        _track("nothing is ever acknowledged", ["Keyframe"], _decoded(_encoded(0, 4, lag=None))),
        _track("acknowledged five frames late", ["Delta"], _decoded(track)),
        _track("fast movement takes coarse steps", ["Delta"], _decoded(fast)),
        _track("sequence numbers wrap", ["Delta", "Wrap"], _decoded(wrapping)),
        _track("lost frames that nobody refers to change nothing", ["Delta", "Loss"], _decoded(lost)),
        _track("frames refer to baselines that never came", ["Loss"], _decoded(needed)),
        _track("checksum differs: the baseline is forgotten", ["Diverged"], _decoded([*track[:6], (106, damaged)])),
        _track(
            "a keyframe with a damaged checksum", ["Diverged"], _decoded([(0, bytes((rest[0] ^ 0x80,)) + rest[1:])])
        ),
        _bad("", "no bytes"),
        _bad(rest[:1].hex(), "half a checksum"),
        _bad(rest[:2].hex(), "a checksum alone"),
        _bad(rest[:-1].hex(), "cut off in the masks"),
        _bad(turned[:-1].hex(), "cut off in the joints"),
        _bad((rest + b"\0").hex(), "a byte too many"),
        _bad((rest[:2] + bytes((rest[2] | 0xC0,)) + rest[3:]).hex(), "layer 3 is reserved"),
        _bad((rest[:2] + b"\x20\x80" + rest[4:]).hex(), "baseline 65 frames back"),
        _bad((rest[:2] + bytes(30)).hex(), "nothing but zeros"),
        _bad((rest[:2] + b"\x00\x10" + bytes(40)).hex(), "a Rice code without end"),
    ]

from __future__ import annotations

import struct

import numpy as np
import pytest

from core.avatar.frame import AnimationFrame
from core.limits import BLENDSHAPE_COUNT
from loadtests.bench._wire_formats import FORMATS, compare_formats


def frames(count: int) -> list[AnimationFrame]:
    rng = np.random.default_rng(1)
    joints = rng.normal(size=(count, 7, 4)).astype(np.float32)
    return [AnimationFrame(weights=rng.random(52, np.float32), joints=j, sync_score=0.5) for j in joints]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_back_what_it_was_given(name: str) -> None:
    for number, frame in enumerate(frames(3)):
        data = FORMATS[name].encode(number, frame)
        assert np.array_equal(FORMATS[name].decode(data), frame.weights)


def test_live_link_face_is_laid_out_as_the_app_lays_it_out() -> None:
    frame = frames(1)[0]
    data = FORMATS["live_link_face"].encode(7, frame)
    assert data[0] == 6 and data[1:5] == b"\0\0\0\x24" and len(data) == 1 + 4 + 36 + 4 + 7 + 17 + 61 * 4
    assert data[45:52] == b"visavis"
    assert struct.unpack_from(">IfIIB", data, 52) == (7, 0.0, 50, 1, 61)
    assert struct.unpack_from(">61f", data, 69)[:BLENDSHAPE_COUNT] == pytest.approx(frame.weights.tolist())


def test_sizes_are_those_of_the_numbers_and_their_framing() -> None:
    compared = compare_formats(frames(4))
    assert compared["raw_float32"].mean_bytes == 4 + 4 + 80 * 4
    assert 80 * 9 < compared["msgpack"].mean_bytes < 80 * 9 + 40
    assert compared["raw_float32"].mean_bytes < compared["msgpack_bin"].mean_bytes < 350
    assert all(other.encode_us > 0 and other.decode_us > 0 for other in compared.values())

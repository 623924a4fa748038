"""The sampler sees what runs; the picture says what the samples say."""

from __future__ import annotations

import re
import signal
import time
from xml.etree import ElementTree

import pytest

from loadtests.bench._pop_parts import part_of, parts
from loadtests.bench.flame import Sampler, flame_graph


def burn(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        sum(range(200))


def test_the_sampler_sees_who_burns_time() -> None:
    before = signal.getsignal(signal.SIGPROF)
    sampler = Sampler()
    try:
        sampler.start()
        burn(0.1)
        sampler.stop()
    finally:
        signal.signal(signal.SIGPROF, before)
    seen = sum(sampler.stacks.values())
    assert seen >= 3
    name = "tests/loadtests/test_bench_flame.py:burn"
    assert sum(count for stack, count in sampler.stacks.items() if name in stack) >= seen - 1
    burn(0.02)
    assert sum(sampler.stacks.values()) == seen


STACKS = {
    ("main", "core/wire/frame_codec.py:FrameEncoder.encode"): 30,
    ("main", "core/wire/frame_codec.py:FrameEncoder.encode", "core/wire/<bits>&.py:BitWriter.write"): 50,
    ("main", "libs/nothing.py:idle"): 20,
}


def boxes(svg: str) -> dict[str, tuple[float, float]]:
    """Title up to its colon's share → x and width."""
    root = ElementTree.fromstring(svg)
    found: dict[str, tuple[float, float]] = {}
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        title = group.find("{http://www.w3.org/2000/svg}title")
        rect = group.find("{http://www.w3.org/2000/svg}rect")
        assert title is not None
        assert rect is not None
        found[str(title.text)] = float(rect.attrib["x"]), float(rect.attrib["width"])
    return found


def test_the_picture_is_valid_and_its_widths_are_the_samples() -> None:
    svg = flame_graph(STACKS, "A & B", "<nothing>")
    found = boxes(svg)
    main = found["main: 100.0 % (100 samples)"][1]
    assert found["core/wire/frame_codec.py:FrameEncoder.encode: 80.0 % (80 samples)"][1] == pytest.approx(
        0.8 * main, abs=1.0
    )
    assert found["libs/nothing.py:idle: 20.0 % (20 samples)"][1] == pytest.approx(0.2 * main, abs=1.0)
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", svg)
    assert "<script" not in svg


def test_an_empty_profile_is_a_picture_too() -> None:
    assert boxes(flame_graph({}, "nothing")) == {}


def test_samples_belong_to_the_innermost_part_that_is_known() -> None:
    session = ("asyncio/runners.py:Runner.run", "edge/conductor.py:Conductor.step", "edge/session.py:Session.emit")
    assert part_of(session[:1]) == "event loop"
    assert part_of(session) == "session"
    pack = (*session, "core/stream/sender.py:UnitSender.pack")
    assert part_of((*pack, "core/wire/opus_padding.py:embed")) == "pack"
    assert part_of((*pack, "core/wire/frame_codec.py:FrameEncoder.encode", "core/wire/bits.py:x")) == "frame encode"
    assert part_of((*session, "prometheus_client/metrics.py:observe", "core/fabric/local.py:x")) == "metrics"
    shares = parts({session: 3, session[:1]: 1})
    assert shares == {"session": 0.75, "event loop": 0.25}

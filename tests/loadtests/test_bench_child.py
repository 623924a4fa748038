"""Children answer, say what went wrong, and are gone afterwards, whatever happens."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from core.errors import ConfigError
from loadtests.bench._child import Child, Handlers, Usage, cores, prepare
from loadtests.bench._talk_mix import PERIOD_TICKS, microphone_packet


async def make_example(add: int) -> Handlers:
    async def increase(value: int) -> int:
        return value + add

    async def fail() -> None:
        raise ValueError("no")

    async def hang() -> None:
        await asyncio.sleep(60.0)

    async def vanish() -> None:
        os._exit(3)

    async def affinity() -> list[int]:
        return sorted(os.sched_getaffinity(0))

    return {
        "increase": increase,
        "fail": fail,
        "hang": hang,
        "vanish": vanish,
        "affinity": affinity,
        "prepare": prepare,
    }


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("plain", [False, True])
def test_a_child_answers_on_its_core_and_ends(plain: bool) -> None:
    core = cores()[1]
    with Child(make_example, 5, core=core, plain=plain) as child:
        pid = child.pid
        assert child.ask("increase", 2) == 7
        assert child.ask("affinity") == [core]
        with pytest.raises(ConfigError, match="fail failed: ValueError"):
            child.ask("fail")
        child.begin("increase", 1)
        assert child.result() == 6
    assert gone(pid)


def test_a_child_that_hangs_or_vanishes_is_reaped() -> None:
    with (
        pytest.raises(ConfigError, match="did not answer"),
        Child(make_example, 0, core=cores()[0]) as hanging,
    ):
        hanging.ask("hang", timeout_s=0.3)
    assert gone(hanging.pid)
    with pytest.raises(ConfigError, match="has ended with 3"), Child(make_example, 0, core=cores()[0]) as vanishing:
        vanishing.ask("vanish")
    assert gone(vanishing.pid)


def test_an_error_of_the_benchmark_ends_its_children() -> None:
    with pytest.raises(RuntimeError), Child(make_example, 0, core=cores()[0]) as child:
        raise RuntimeError("in the middle")
    assert gone(child.pid)


def test_usage_counts_from_a_moment_on() -> None:
    usage = Usage.now()
    assert 0.0 <= usage.since()["cpu_s"] < 5.0
    assert usage.since()["wait_s"] >= 0.0


def test_microphones_speak_30_percent_of_the_time_and_send_little_else() -> None:
    for session in (0, 1, 7):
        sent = [microphone_packet(session, tick) for tick in range(PERIOD_TICKS)]
        speech = sum(packet is not None and packet[1] != 127 for packet in sent)
        assert speech == 0.3 * PERIOD_TICKS
        assert sum(packet is not None for packet in sent) - speech == 0.7 * PERIOD_TICKS / 5

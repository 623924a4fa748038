from __future__ import annotations

import argparse
import asyncio

import pytest

from core.errors import ConfigError
from loadtests.bench import soak
from loadtests.bench._soak_idle import Idle, idle
from loadtests.bench._soak_memory import Samples, resident_kib, slope, trend
from loadtests.bench._soak_monologue import ASK, Monologue, model

MANY = soak.Sessions(
    count=8,
    refused=0,
    slopes_kib_per_session={"origin": 2.0, "pop": 0.0},
    before={"origin_tasks": 7.0, "origin_sessions": 0.0},
    after={"origin_tasks": 9.0, "origin_sessions": 1.0},
)
SPEECH = Monologue(
    seconds=20.0,
    offsets_ms=[4.0, -6.0, 9.0],
    lateness_ms_per_min=0.5,
    slopes_kib_per_min={"origin": 12.0},
    slopes_blocks_per_min={"origin": 7.0},
    memory_kib={"origin": [100.0, 112.0]},
    silent_windows=1,
)


def options(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    soak.add_arguments(parser)
    return parser.parse_args(list(flags))


def test_one_odd_look_does_not_tilt_the_line() -> None:
    assert slope([(x, 3.0 * x + 1.0) for x in range(10)]) == pytest.approx(3.0)
    assert slope([(0, 0), (1, 0), (2, 900), (3, 0), (4, 0)]) == 0.0
    assert slope([(0, 1), (1, 2)]) == 0.0  # two looks say nothing


def test_what_fills_at_first_is_no_growth() -> None:
    samples = Samples()
    for x in range(12):
        samples.add(x, {"pop": 1_000.0 if x >= 4 else 250.0 * x})
    assert samples.slopes() == {"pop": 0.0}
    assert resident_kib() > 1_000


def test_what_chance_gives_as_well_is_no_trend() -> None:
    voice = [42628.0, 43012.0, 43072.0, 43952.0, 43968.0, 43992.0, 43608.0, 44128.0, 41664.0, 43324.0]  # of a real run
    assert trend(list(enumerate(voice))) == 0.0
    assert trend([(x, y + 300.0 * x) for x, y in enumerate(voice)]) == pytest.approx(300.0, rel=0.4)
    assert trend([(x, float(x)) for x in range(5)]) == 1.0
    assert trend([(x, -float(x)) for x in range(5)]) == -1.0
    assert trend([]) == trend([(0.0, 1.0)]) == trend([(0.0, 1.0), (1.0, 2.0)]) == 0.0


def test_peaks_that_are_given_back_are_no_growth_and_a_rising_floor_is() -> None:
    samples = Samples()
    for x in range(120):
        peak = 3_000.0 * (x % 7 >= 3) * (1 + x / 40)
        samples.add(x, {"voice": 40_000.0 + peak, "pop": 40_000.0 + peak + 2.0 * x})
    assert samples.slopes() == {"voice": 0.0, "pop": pytest.approx(2.0, rel=0.1)}
    assert len(samples.floors()["voice"]) == 10


def test_what_is_left_is_told_against_what_was_there_before() -> None:
    result = soak.summarise(MANY, SPEECH, None, options())
    assert result.figures["origin_kib_per_session"] == 2.0
    assert result.figures["origin_tasks_left"] == 2.0 and result.figures["origin_sessions_left"] == 1.0
    assert result.figures["av_offset_ms_max"] == 9.0 and result.figures["av_drift_ms"] == 5.0
    assert result.figures["monologue_origin_kib_per_min"] == 12.0
    assert result.figures["monologue_origin_blocks_per_min"] == 7.0
    assert result.details["memory_kib"] == {"origin": [100.0, 112.0]}
    assert result.details["windows_not_compared"] == 1
    assert "idle_packets" not in result.figures


def test_idle_seconds_in_stepped_time_sends_its_packets_and_leaves_nothing() -> None:
    found = asyncio.run(idle(10.0, 1))
    assert 10 / 0.08 <= found.packets <= 10 / 0.08 + 25  # one of 80 ms, after a moment of 20 ms ones
    assert found.drift_ms < 1.0 and found.tasks_left == 0


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        soak.run(options("--sessions", "0"))


@pytest.mark.parametrize(("seconds", "hourly"), [("60", False), ("3600", True)])
def test_no_hour_is_told_from_a_minute(seconds: str, hourly: bool) -> None:
    nothing = Idle(slope_kib_per_h=120.0, packets=9, drift_ms=0.0, tasks_left=0)
    figures = soak.summarise(MANY, None, nothing, options("--idle-s", seconds)).figures
    assert figures["idle_kib"] == pytest.approx(120.0 * int(seconds) / 3600)
    assert ("idle_kib_per_h" in figures) == hourly


async def test_the_model_talks_at_length_only_when_it_is_asked_to() -> None:
    import openai

    async with model(0.0) as url:
        client = openai.AsyncOpenAI(api_key="none", base_url=url)
        sentences: list[int] = []
        for question in ("hello", ASK):
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": question}], stream=True
            )
            count = 0
            async for chunk in stream:
                count += bool(chunk.choices[0].delta.content)
                if count == 2:
                    break
            await stream.close()
            sentences.append(count)
        await client.close()
    assert sentences == [1, 2]

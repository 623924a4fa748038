from __future__ import annotations

import argparse
import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from loadtests.bench import harness
from loadtests.bench.harness import Result, percentile


def benchmark(result: Result) -> ModuleType:
    module = ModuleType("loadtests.bench.example")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--size", type=int, default=1)

    def run(options: argparse.Namespace) -> Result:
        return Result(figures={**result.figures, "size_bytes": options.size}, details={"quick": options.quick})

    module.__dict__.update(DESCRIPTION="an example", add_arguments=add_arguments, run=run)
    return module


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "benchmarks", lambda: ["example"])
    monkeypatch.setitem(sys.modules, "loadtests.bench.example", benchmark(Result(figures={"encode_us": 1.5})))


def test_one_json_object(example: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.main(["example", "--json", "--quick", "--size", "7"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"name", "command", "machine", "figures", "details"}
    assert document["command"] == "python -m loadtests.bench example --json --quick --size 7"
    assert document["figures"] == {"encode_us": 1.5, "size_bytes": 7}
    assert document["details"] == {"quick": True}
    assert set(document["machine"]) == {"cpu", "cores", "python", "platform"}
    assert document["machine"]["cores"] >= 1


def test_a_table_for_people(example: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.main(["example"]) == 0
    text = capsys.readouterr().out
    assert "encode_us" in text
    assert "1.5" in text


def test_without_a_name_all_are_listed(example: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.main([]) == 0
    assert capsys.readouterr().out == "example      An example\n"


def test_the_list_is_all_that_is_said() -> None:
    command = [sys.executable, "-m", "loadtests.bench"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert listed.stderr == ""
    assert [line.split()[0] for line in listed.stdout.splitlines()] == harness.benchmarks()
    assert not [line for line in listed.stdout.splitlines() if not line[13].isupper()]


def test_what_is_no_benchmark(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert harness.main(["nothing"]) == 2
    assert "no benchmark 'nothing'; there are" in capsys.readouterr().err
    monkeypatch.setattr(harness, "benchmarks", lambda: ["broken", "absent"])
    monkeypatch.setitem(sys.modules, "loadtests.bench.broken", ModuleType("broken"))
    with pytest.raises(ConfigError, match="lacks DESCRIPTION, add_arguments, run"):
        harness.load("broken")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        harness.load("absent")
    assert harness.main([]) == 0


def test_wrong_flags_are_a_mistake(example: None) -> None:
    with pytest.raises(SystemExit) as caught:
        harness.main(["example", "--size", "many"])
    assert caught.value.code == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), True, "1", None])
def test_figures_are_finite_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="figure x is"):
        Result(figures={"x": value})


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.floats(0, 100))
def test_a_percentile_was_measured_and_enough_are_not_above_it(values: list[float], percent: float) -> None:
    result = percentile(values, percent)
    assert result in values
    assert sum(value <= result for value in values) / len(values) >= percent / 100 - 1e-9
    assert percentile(values, 100) == max(values)
    assert percentile(values, 0) == min(values)


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_percentiles_of_nothing(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


def test_every_benchmark_here_is_one() -> None:
    names = harness.benchmarks()
    assert "fabric" in names
    for name in names:
        module = harness.load(name)
        assert module.DESCRIPTION
        module.add_arguments(argparse.ArgumentParser())


def test_as_a_command() -> None:
    command = [sys.executable, "-m", "loadtests.bench", "fabric", "--json", "--seconds", "0.3", "--sessions", "4"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    document = json.loads(outcome.stdout)
    assert document["name"] == "fabric"
    assert document["figures"]["lost"] == 0
    assert document["figures"]["pop_cpu_us_per_message"] > 0

"""What every benchmark shares: what it is, how it is run, and one JSON object that says what it measured, on what.

A benchmark is a module of this package with
- `DESCRIPTION`: one line,
- `add_arguments(parser)`: its own flags (`--json` and `--quick` are there already),
- `run(options) -> Result`: measures; `options.quick` asks for an end within 45 seconds on two cores.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import pkgutil
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast

from core.errors import ConfigError
from core.host.telemetry import configure_logging

__all__ = ["Benchmark", "Result", "benchmarks", "machine", "main", "percentile", "report"]

_NOT_BENCHMARKS: Final = frozenset({"__main__", "command", "flame", "harness"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a benchmark measured.

    Attributes:
        figures: flat name → finite number, the unit last in the name; bool counts as no number.
        details: anything JSON can say: settings, distributions, what was left out and why.

    Raises: ValueError: a figure is not a finite number.
    """

    figures: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.figures.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"figure {name} is {value!r}, not a finite number")


class Benchmark(Protocol):
    """A module of this package."""

    DESCRIPTION: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the benchmark's own flags."""

    def run(self, options: argparse.Namespace) -> Result:
        """Measure."""


def benchmarks() -> list[str]:
    """Names of all benchmarks, without importing them."""
    package = str(Path(__file__).parent)
    found = (module.name for module in pkgutil.iter_modules([package]))
    return sorted(name for name in found if name not in _NOT_BENCHMARKS and not name.startswith("_"))


def load(name: str) -> Benchmark:
    """Import a benchmark. Raises: ConfigError: there is none of that name, or what it needs is not installed."""
    if name not in benchmarks():
        raise ConfigError(f"no benchmark {name!r}; there are {', '.join(benchmarks()) or 'none'}")
    try:
        module = importlib.import_module(f"loadtests.bench.{name}")
    except ImportError as error:
        raise ConfigError(f"benchmark {name} cannot be loaded: {error}") from error
    missing = [part for part in ("DESCRIPTION", "add_arguments", "run") if not hasattr(module, part)]
    if missing:
        raise ConfigError(f"loadtests/bench/{name}.py is no benchmark: it lacks {', '.join(missing)}")
    return cast("Benchmark", module)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of all are not above (nearest rank): always one that was measured.

    Raises: ValueError: no values, or percent outside 0 … 100.
    """
    if not values or not 0 <= percent <= 100:
        raise ValueError(f"percentile {percent} of {len(values)} values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def report(name: str, arguments: Sequence[str], result: Result) -> dict[str, Any]:
    """The JSON object of one run."""
    return {
        "name": name,
        "command": " ".join(["python -m loadtests.bench", name, *arguments]),
        "machine": machine(),
        "figures": dict(result.figures),
        "details": dict(result.details),
    }


def _table(document: Mapping[str, Any]) -> str:
    figures: Mapping[str, float] = document["figures"]
    width = max((len(name) for name in figures), default=0)
    where = document["machine"]
    lines = [
        f"{document['name']}: {document['command']}",
        f"on {where['cpu']}, {where['cores']} cores, Python {where['python']}, {where['platform']}",
        "",
        *(f"  {name:<{width}}  {value:>14,.6g}" for name, value in figures.items()),
    ]
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the harness itself; a benchmark's own flags follow its name."""
    parser.add_argument("name", nargs="?", help="which benchmark; without one, all are listed")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="--json, --quick, and the benchmark's own flags")


def execute(name: str | None, arguments: Sequence[str], program: str) -> int:
    """List the benchmarks, or run one and print what it measured. Gives the exit code."""
    if name is None:
        configure_logging("bench", level="error", loguru=True)  # Pipecat introduces itself when it is loaded
        for known in benchmarks():
            sys.stdout.write(f"{known:<12} {_describe(known)}\n")
        return 0
    benchmark = load(name)
    parser = argparse.ArgumentParser(prog=f"{program} {name}", description=benchmark.DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="end within 45 seconds on two cores")
    benchmark.add_arguments(parser)
    result = benchmark.run(parser.parse_args(list(arguments)))
    document = report(name, arguments, result)
    if "--json" in arguments:
        sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
    else:
        sys.stdout.write(_table(document) + "\n")
    return 0


def _describe(name: str) -> str:
    try:
        said = load(name).DESCRIPTION.removeprefix(f"{name}: ")
    except ConfigError as error:
        return f"({error})"
    return said[:1].upper() + said[1:]


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m loadtests.bench [NAME [FLAG…]]`."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description="Measure something and say so.")
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        return execute(options.name, options.arguments, "python -m loadtests.bench")
    except ConfigError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2

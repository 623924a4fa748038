"""Memory and tasks of processes over time, and the straight line through them."""

from __future__ import annotations

import math
import resource
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from core.errors import ConfigError
from loadtests.stack import Stack

__all__ = ["Samples", "Watch", "floors", "resident_kib", "slope", "trend"]

_SETTLED_FROM = 1 / 3
"""Allocators and caches fill at first: the line is through what comes after this share of the samples."""
_FLOORS = 10
"""The line is through about so many floors."""
_CHANCE_Z = 1.96
"""Standard deviations that a trend stands out from chance: 95 of 100 times chance stays below."""


def resident_kib(pid: int | str = "self") -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1024


def slope(points: list[tuple[float, float]]) -> float:
    """Theil and Sen's: the median of the slopes between all pairs; one odd sample does not tilt it. 0 for fewer than 3.

    Args:
        points: (x, y).
    """
    if len(points) < 3:
        return 0.0
    slopes = [(y1 - y0) / (x1 - x0) for i, (x0, y0) in enumerate(points) for x1, y1 in points[i + 1 :] if x1 > x0]
    return statistics.median(slopes)


def trend(points: list[tuple[float, float]]) -> float:
    """The slope, or 0 where points without any trend would often be in such an order.

    Source: Mann 1945, Kendall 1975: how many pairs rise, less how many fall, has a known variance by chance.
    """
    count = len(points)
    rising = sum((y1 > y0) - (y1 < y0) for i, (_, y0) in enumerate(points) for _, y1 in points[i + 1 :])
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return slope(points) if abs(rising) - 1 > _CHANCE_Z * deviation else 0.0


def floors(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lowest of each few samples in a row: what a process gives back between two peaks is no growth."""
    size = max(1, len(points) // _FLOORS)
    return [min(points[at : at + size], key=lambda point: point[1]) for at in range(0, len(points), size)]


@dataclass(slots=True)
class Samples:
    """Memory of the origin, its workers and the POP, over whatever is counted in x."""

    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, x: float, memory: dict[str, float]) -> None:
        """One look."""
        for name, kib in memory.items():
            self.points.setdefault(name, []).append((x, kib))

    def slopes(self) -> dict[str, float]:
        """Growth of each per x, once settled: the trend of its floors."""
        return {name: trend(floors(points[int(len(points) * _SETTLED_FROM) :])) for name, points in self.points.items()}

    def floors(self) -> dict[str, list[float]]:
        """Floors of each from the first sample on."""
        return {name: [y for _, y in floors(points)] for name, points in self.points.items()}


class Watch:
    """Looks into a running stack.

    Args:
        stack: started by `loadtests.stack.local_stack`.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._pids = {name: pid for pid, line in stack.children().items() if (name := _name(line))}

    def memory(self) -> dict[str, float]:
        """Process → resident KiB."""
        return {name: resident_kib(pid) for name, pid in self._pids.items()}

    async def counts(self) -> dict[str, float]:
        """Tasks and sessions, as the processes' own metrics tell. Raises: ConfigError: one does not answer."""
        found: dict[str, float] = {}
        for name, metrics in (await self._metrics()).items():
            for metric, value in metrics.items():
                if metric == "process_asyncio_tasks":
                    found[f"{name}_tasks"] = value
                elif metric in ("origin_sessions_active", "edge_sessions_active"):
                    found[f"{name}_sessions"] = value
        return found

    async def blocks(self) -> dict[str, float]:
        """Process → pieces of memory that its Python objects occupy. Raises: ConfigError: one does not answer."""
        return {name: metrics["process_python_blocks"] for name, metrics in (await self._metrics()).items()}

    async def _metrics(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        urls = {"origin": self._stack.origin_url, "pop": self._stack.pop_url}
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
            for name, url in urls.items():
                try:
                    text = (await http.get(f"{url}/metrics")).raise_for_status().text
                except httpx.HTTPError as error:
                    raise ConfigError(f"{url}/metrics does not answer: {error}") from error
                lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
                found[name] = {metric: float(value) for metric, _, value in lines}
        return found


def _name(command: str) -> str:
    for part, name in (
        ("origin.dialogue.stt_worker", "ears"),
        ("origin.dialogue.tts_worker", "voice"),
        ("core.host.child origin", "origin"),
        ("core.host.child edge", "pop"),
    ):
        if part in command:
            return name
    return ""

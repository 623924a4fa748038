"""Memory and tasks of processes over time, and the straight line through them."""

from __future__ import annotations

import resource
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from core.errors import ConfigError
from loadtests.stack import Stack

__all__ = ["Samples", "Watch", "resident_kib", "slope"]

_SETTLED_FROM = 1 / 3
"""Allocators and caches fill at first: the line is through what comes after this share of the samples."""


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


@dataclass(slots=True)
class Samples:
    """Resident memory of the origin, its workers and the POP, over whatever is counted in x."""

    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, x: float, memory: dict[str, float]) -> None:
        """One look."""
        for name, kib in memory.items():
            self.points.setdefault(name, []).append((x, kib))

    def slopes(self) -> dict[str, float]:
        """KiB per x of each, once settled."""
        return {name: slope(points[int(len(points) * _SETTLED_FROM) :]) for name, points in self.points.items()}


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
        urls = {"origin": self._stack.origin_url, "pop": self._stack.pop_url}
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
            for name, url in urls.items():
                try:
                    text = (await http.get(f"{url}/metrics")).raise_for_status().text
                except httpx.HTTPError as error:
                    raise ConfigError(f"{url}/metrics does not answer: {error}") from error
                for line in text.splitlines():
                    metric, _, value = line.rpartition(" ")
                    if metric == "process_asyncio_tasks":
                        found[f"{name}_tasks"] = float(value)
                    elif metric in ("origin_sessions_active", "edge_sessions_active"):
                        found[f"{name}_sessions"] = float(value)
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

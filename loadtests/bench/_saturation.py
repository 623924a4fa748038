"""How many sessions a server carries: trials of growing load until one fails, then closing in on the last that held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

__all__ = ["DELIVERY_MIN", "LATENESS_S_MAX", "Search", "Trial", "find_limit"]

DELIVERY_MIN: Final = 0.999
"""Of all packets, both ways."""
LATENESS_S_MAX: Final = 0.010
"""99 of 100 packets leave no later than this after their tick."""
_GROWTH_MAX: Final = 3.0
_CLOSE: Final = 1.07
"""The search ends when the load that fails is at most this much above the one that holds."""
_FULL: Final = 0.9
"""Share of its core at which a process counts as busy with it, and which a derived figure assumes."""
_REPEATS: Final = 2
"""How often a load that failed is tried again, until nobody else had the server's core."""
_STARVED: Final = 0.03
"""Share of the time that a server may wait for its core, taken by others, before a failure is not its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One load and what came of it.

    Attributes:
        sessions: offered at once.
        seconds: how long.
        packets: that the server sent and received.
        delivery: of all packets sent, both ways, those that arrived, 0 to 1.
        lateness_s_p50, lateness_s_p99: how late packets left, seconds after their tick.
        server_cpu_s, generator_cpu_s: CPU time of the two processes.
        server_wait_s: time that the server was ready to run while others had its core.
        lateness_s_max: what `lateness_s_p99` may be.
        lateness_s_p99_alone: as if nobody else had wanted the server's core, where that is measured; decides nothing.
    """

    sessions: int
    seconds: float
    packets: int
    delivery: float
    lateness_s_p50: float
    lateness_s_p99: float
    server_cpu_s: float
    server_wait_s: float
    generator_cpu_s: float
    lateness_s_max: float = LATENESS_S_MAX
    lateness_s_p99_alone: float = 0.0

    @property
    def holds(self) -> bool:
        """Nearly everything came, and in time."""
        return self.delivery >= DELIVERY_MIN and self.lateness_s_p99 <= self.lateness_s_max

    @property
    def server_load(self) -> float:
        """Share of one core that the server used."""
        return self.server_cpu_s / self.seconds

    @property
    def generator_load(self) -> float:
        """Share of one core that the load generator used."""
        return self.generator_cpu_s / self.seconds

    @property
    def starved(self) -> bool:
        """Others had the server's core when it wanted to run: being late says nothing about it."""
        return self.server_wait_s > _STARVED * self.seconds

    @property
    def us_per_packet(self) -> float:
        """Server's CPU time per packet, sent or received, in microseconds."""
        return 1e6 * self.server_cpu_s / max(1, self.packets)

    @property
    def sessions_by_cpu(self) -> float:
        """Sessions that would fill the server's core at this trial's CPU time per session."""
        return self.sessions * self.seconds / max(1e-9, self.server_cpu_s)

    def describe(self) -> dict[str, Any]:
        """For a report."""
        return {
            "sessions": self.sessions,
            "holds": self.holds,
            "delivery": round(self.delivery, 5),
            "lateness_ms_p50": round(1e3 * self.lateness_s_p50, 2),
            "lateness_ms_p99": round(1e3 * self.lateness_s_p99, 2),
            "server_load": round(self.server_load, 3),
            "server_waited": round(self.server_wait_s / self.seconds, 3),
            "generator_load": round(self.generator_load, 3),
            "us_per_packet": round(self.us_per_packet, 2),
            "sessions_by_cpu": round(self.sessions_by_cpu),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search found.

    Attributes:
        trials: in the order they were made.
        sessions: the largest load that held (0: none did), or derived.
        derived: the load generator was full, others had the server's core, or no trial was left: `sessions` follows
            from the CPU time that a session takes.
    """

    trials: tuple[Trial, ...]
    sessions: float
    derived: bool

    @property
    def best(self) -> Trial:
        """The trial that the figures are taken from: the largest that held, else the smallest."""
        held = [trial for trial in self.trials if trial.holds]
        return max(held, key=_sessions) if held else min(self.trials, key=_sessions)

    def describe(self) -> dict[str, Any]:
        """For a report."""
        return {
            "sessions": round(self.sessions),
            "derived": self.derived,
            "trials": [trial.describe() for trial in self.trials],
        }


def find_limit(measure: Callable[[int], Trial], *, first: int, most: int, trials: int, shrinks: bool = True) -> Search:
    """Search the largest load that holds.

    Args:
        measure: makes a trial with so many sessions.
        first: sessions of the first trial.
        most: sessions to stop at, whatever they cost.
        trials: at most this many.
        shrinks: False: sessions cannot be taken away again, so that the load only grows, in small steps near the end.
    """
    made: list[Trial] = []
    holds, fails = 0, most + 1
    sessions = min(first, most)
    while len(made) < trials:
        trial = measure(sessions)
        made.append(trial)
        for _ in range(_REPEATS):
            if trial.holds or len(made) == trials or trial.server_load >= _FULL:
                break
            trial = measure(sessions)  # with time to spare: something else may have been in the way
            made.append(trial)
            if not trial.starved:
                break
        if trial.holds:
            holds = max(holds, sessions)
        else:
            fails = min(fails, sessions)
        if not shrinks and not trial.holds:
            break
        if holds >= most or fails <= 1 or (holds and fails <= max(holds + 1, holds * _CLOSE)):
            break
        if _inconclusive(trial):
            break
        sessions = _next(trial, holds, fails)
    if holds < most and (fails > most or _inconclusive(made[-1])):
        search = Search(trials=tuple(made), sessions=0.0, derived=True)
        return replace(search, sessions=search.best.sessions_by_cpu * _FULL)
    return Search(trials=tuple(made), sessions=holds, derived=False)


def _next(trial: Trial, holds: int, fails: int) -> int:
    """Where to try: where the last trial's CPU time says the core is full, kept between what is known."""
    if trial.holds:
        wanted = min(trial.sessions_by_cpu * _FULL, holds * _GROWTH_MAX)
        wanted = max(wanted, holds * _CLOSE, holds + 1)
    else:
        wanted = (holds + fails) / 2 if holds else fails * 0.6
    if wanted >= fails:
        wanted = (holds + fails) / 2
    return max(1, min(round(wanted), fails - 1))


def _inconclusive(trial: Trial) -> bool:
    """It failed, but not because of the server."""
    if trial.holds or trial.server_load > _FULL:
        return False
    return trial.starved or trial.generator_load > _FULL


def _sessions(trial: Trial) -> int:
    return trial.sessions

"""How many conversations a whole POP carries on one core, and where each microsecond of it goes."""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from core.errors import ConfigError
from core.limits import TICK_S
from loadtests.bench._child import Child, cores
from loadtests.bench._conversation import Roles, record
from loadtests.bench._pop_parts import parts
from loadtests.bench._pop_processes import make_origin, make_pop, make_pop_viewers
from loadtests.bench._saturation import DELIVERY_MIN, LATENESS_S_MAX, Search, Trial, find_limit
from loadtests.bench.flame import Stack, flame_graph
from loadtests.bench.harness import Result

__all__ = ["DESCRIPTION", "add_arguments", "run"]

DESCRIPTION = "sessions per core of a whole POP, everything on, and where its time goes (table and flame graph)"

_USUAL: Final = Roles(period=500, user=150, character_from=175, character_to=350)
"""Of every 10 s the user speaks 3, the character 3.5, and nobody the rest."""
_WORST: Final = Roles(period=500, user=0, character_from=5, character_to=495)
"""Every character speaks without a pause; microphones are open and silent."""
_AT_ONCE: Final = 16
_SESSIONS_MAX: Final = 1_000
_HEAD_START_S: Final = 0.05
_SETTLE_S: Final = 1.5
"""New sessions greet, settle and go idle before they are measured."""
_PROFILE_LOAD: Final = 0.6
"""Share of the core at which the stacks are sampled: busy, but not yet late."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark."""
    parser.add_argument("--seconds", type=float, help="length of a trial (10, one round of talk; quick 3)")
    parser.add_argument("--trials", type=int, help="at most so many (8; quick 1)")
    parser.add_argument("--sessions", type=int, help="measure this load only")
    parser.add_argument("--flame", type=Path, default=Path("run/flame.svg"), help="where the flame graph goes")


def run(options: argparse.Namespace) -> Result:
    """Measure the usual mix to saturation, then everybody speaking at once.

    Raises: ConfigError: a process failed, or espeak-ng is not installed.
    """
    seconds = options.seconds or (3.0 if options.quick else 10.0)
    trials = options.trials or (1 if options.quick else 8)
    with _Bench(_USUAL) as bench:
        profiled = bench.profile(options.sessions or 24, seconds, at_load=None if options.sessions else _PROFILE_LOAD)
        first = profiled.trial.sessions
        search = find_limit(
            lambda sessions: bench.measure(sessions, seconds),
            first=first if options.sessions else max(first, round(0.85 * profiled.trial.sessions_by_cpu)),
            most=first if options.sessions else _SESSIONS_MAX,
            trials=trials,
            shrinks=False,
        )
        seen = bench.viewers.ask("seen")
    with _Bench(_WORST) as bench:
        worst = bench.measure(max(8, round(0.3 * profiled.trial.sessions_by_cpu)), min(seconds, 5.0))
    _draw(options.flame, profiled)
    trial = profiled.trial
    tick_us = 1e6 * trial.server_cpu_s / (trial.sessions * trial.seconds / TICK_S)
    figures = {
        "sessions_per_core": round(search.sessions, 1),
        "sessions_per_core_by_cpu": round(trial.sessions_by_cpu, 1),
        "us_per_session_tick": round(tick_us, 2),
        "sessions_per_core_all_speaking_by_cpu": round(worst.sessions_by_cpu, 1),
        "unit_bytes": round(seen["unit_bytes"], 1),
        "units_with_fec_pct": round(100 * seen["fec_share"], 1),
    }
    return Result(figures=figures, details=_details(profiled, search, worst, tick_us, options.flame))


def _details(profiled: _Profile, search: Search, worst: Trial, tick_us: float, flame: Path) -> dict[str, Any]:
    return {
        "mix": _USUAL.describe(),
        "holds_if": {"delivery_min": DELIVERY_MIN, "lateness_ms_p99_max": 1e3 * LATENESS_S_MAX},
        "us_per_session_tick": {part: round(share * tick_us, 2) for part, share in parts(profiled.stacks).items()},
        "profiled_at": profiled.trial.describe(),
        "search": search.describe(),
        "all_speaking": worst.describe(),
        "flame_graph": str(flame),
    }


def _draw(path: Path, profiled: _Profile) -> None:
    trial = profiled.trial
    subtitle = (
        f"{trial.sessions} sessions, {trial.server_load:.0%} of one core, {sum(profiled.stacks.values())} samples; "
        "width is CPU time, what calls is below what it calls"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(flame_graph(profiled.stacks, "A POP and its conversations", subtitle), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Profile:
    trial: Trial
    stacks: dict[Stack, int]


class _Bench:
    """POP, origin and viewers, running. Sessions are added, never taken away."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._stack = ExitStack()
        self._connected = 0

    def __enter__(self) -> _Bench:
        conversation = record(self._roles)
        server_core, other_core = cores()
        with self._stack:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="visavis-")))
            fabric = folder / "fabric.sock"
            self._origin = self._stack.enter_context(Child(make_origin, fabric, conversation, core=other_core))
            key_set_url = self._origin.ask("key_set_url")
            self._pop = self._stack.enter_context(Child(make_pop, fabric, key_set_url, _SESSIONS_MAX, core=server_core))
            self.viewers = self._stack.enter_context(Child(make_pop_viewers, conversation, core=other_core, plain=True))
            self._url: str = self._origin.ask("pop_url")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def profile(self, first: int, seconds: float, *, at_load: float | None) -> _Profile:
        """Sample the POP's stacks, at this load of its core if it is given, else with the first sessions."""
        trial = self.measure(first, min(seconds, 4.0))
        sessions = first if at_load is None else max(first, round(at_load * trial.sessions_by_cpu))
        self._grow(sessions)
        self._pop.ask("sample", True)
        trial = self.measure(sessions, seconds)
        stacks: dict[Stack, int] = self._pop.ask("sample", False)
        return _Profile(trial, stacks)

    def _grow(self, sessions: int) -> None:
        while self._connected < sessions:
            tickets = self._origin.ask("tickets", min(_AT_ONCE, sessions - self._connected))
            self._connected = self.viewers.ask("join", self._url, tickets)
        time.sleep(_SETTLE_S)

    def measure(self, sessions: int, seconds: float) -> Trial:
        """One load, for so long."""
        if sessions > self._connected:
            self._grow(sessions)
        self._pop.begin("prepare")
        self.viewers.ask("prepare")
        self._pop.result()
        before = self._scrape()
        self.viewers.ask("count")
        self._pop.begin("run", seconds)
        self.viewers.begin("run", sessions, seconds)
        used, seen = self._pop.result(), self.viewers.result()
        after = self._scrape()
        change = {name: after[name] - before.get(name, 0.0) for name in after}
        sent, received = change["edge_packets_sent_total"], change["edge_packets_received_total"]
        if change["edge_sessions_active"] or after["edge_sessions_active"] < sessions:
            raise ConfigError(f"{after['edge_sessions_active']:.0f} of {sessions} sessions are left")
        return Trial(
            sessions=sessions,
            seconds=seconds,
            packets=int(sent + received),
            delivery=min(1.0, (received + seen["received"] - seen["bad"]) / max(1.0, seen["expected"] + seen["sent"])),
            lateness_s_p50=_quantile(change, 0.5),
            lateness_s_p99=_quantile(change, 0.99) if not change["edge_ticks_skipped_total"] else 1.0,
            server_cpu_s=used["cpu_s"],
            server_wait_s=used["wait_s"],
            generator_cpu_s=seen["cpu_s"],
        )

    def _scrape(self) -> dict[str, float]:
        text = httpx.get(f"{self._url}/metrics", timeout=10.0, trust_env=False).text
        return {
            sample.name + (f"|{sample.labels['le']}" if "le" in sample.labels else ""): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("stage", "edge") == "edge"
        }


def _quantile(change: dict[str, float], share: float) -> float:
    """Upper bound of the bucket of `edge_stage_seconds` that this share of units does not exceed."""
    prefix = "edge_stage_seconds_bucket|"
    bounds = sorted((float(name[len(prefix) :]), count) for name, count in change.items() if name.startswith(prefix))
    total = bounds[-1][1]
    return next((min(bound, 1.0) for bound, count in bounds if count >= share * total), 1.0)

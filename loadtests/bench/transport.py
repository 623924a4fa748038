"""What carrying a session costs: WebRTC as aiortc does it, WebRTC as the POP does it, WebTransport on each QUIC engine.

Every session gets 50 packets a second and has an open microphone that speaks 30 % of the time. The server process has
a core of its own; viewers have another. The load grows until packets are lost or late.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from loadtests.bench._child import Child, cores
from loadtests.bench._quic_viewers import make_quic_viewers
from loadtests.bench._saturation import DELIVERY_MIN, LATENESS_S_MAX, Search, Trial, find_limit
from loadtests.bench._servers import make_aiortc, make_webrtc, make_webtransport
from loadtests.bench._talk_mix import DTX_EVERY_TICKS, PERIOD_TICKS, SPEAKING_TICKS, microphone_packet
from loadtests.bench._viewers import make_webrtc_viewers
from loadtests.bench.harness import Result

__all__ = ["DESCRIPTION", "add_arguments", "measure_trial", "run"]

DESCRIPTION = "sessions per core and CPU per packet: WebRTC and WebTransport, to saturation"

_VIEWERS_AT_ONCE: Final = 16
_HEAD_START_S: Final = 0.05
"""The server counts a little before the viewers speak and a little after."""
_SESSIONS_MAX: Final = 2_000


def _connect_webrtc(server: Child, viewers: Child, count: int) -> int:
    connected: int = viewers.ask("accept", server.ask("answer", viewers.ask("offers", count)))
    return connected


def _connect_webtransport(server: Child, viewers: Child, count: int) -> int:
    connected: int = viewers.ask("join", server.ask("url"), count)
    return connected


@dataclass(frozen=True, slots=True)
class _Way:
    """One of the compared ways to carry a session."""

    name: str
    server: tuple[Any, ...]
    make_viewers: Callable[..., Any]
    plain_viewers: bool
    connect: Callable[[Child, Child, int], int]
    first: int


_WAYS: Final = (
    _Way("webrtc", (make_webrtc,), make_webrtc_viewers, True, _connect_webrtc, 100),
    _Way("webrtc_aiortc", (make_aiortc,), make_webrtc_viewers, True, _connect_webrtc, 40),
    _Way("webtransport", (make_webtransport, "aioquic"), make_quic_viewers, False, _connect_webtransport, 40),
    _Way("webtransport_qh3", (make_webtransport, "qh3"), make_quic_viewers, False, _connect_webtransport, 60),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark."""
    parser.add_argument("--only", choices=[way.name for way in _WAYS], help="measure one way only")
    parser.add_argument("--seconds", type=float, help="length of a trial (3; quick 1.2)")
    parser.add_argument("--trials", type=int, help="at most so many per way (8; quick 2)")


def run(options: argparse.Namespace) -> Result:
    """Measure every way one after the other. Raises: ConfigError: a process failed."""
    seconds = options.seconds or (1.2 if options.quick else 3.0)
    trials = options.trials or (2 if options.quick else 8)
    figures: dict[str, float] = {}
    details: dict[str, Any] = {"mix": _describe_mix(), "holds_if": _describe_bounds()}
    server_core, generator_core = cores()
    if server_core == generator_core:
        details["one_core"] = "server and viewers share the only core: the figures follow from CPU times"
    for way in _WAYS:
        if options.only in (None, way.name):
            search = _search(way, seconds, trials, (server_core, generator_core))
            figures[f"sessions_per_core_{way.name}"] = round(search.sessions, 1)
            figures[f"us_per_packet_{way.name}"] = round(search.best.us_per_packet, 2)
            details[way.name] = search.describe()
    return Result(figures=figures, details=details)


def _describe_mix() -> dict[str, Any]:
    return {
        "down_packets_per_s": 50,
        "microphone_speaks_share": SPEAKING_TICKS / PERIOD_TICKS,
        "microphone_packets_per_s": {"speaking": 50, "silent": 50 / DTX_EVERY_TICKS},
    }


def _describe_bounds() -> dict[str, Any]:
    return {"delivery_min": DELIVERY_MIN, "lateness_ms_p99_max": 1e3 * LATENESS_S_MAX}


def _search(way: _Way, seconds: float, trials: int, on: tuple[int, int]) -> Search:
    with ExitStack() as stack:
        server = stack.enter_context(Child(*way.server, core=on[0]))
        viewers = stack.enter_context(Child(way.make_viewers, microphone_packet, core=on[1], plain=way.plain_viewers))
        connected = 0

        def measure(sessions: int) -> Trial:
            nonlocal connected
            while connected < sessions:
                connected = way.connect(server, viewers, min(_VIEWERS_AT_ONCE, sessions - connected))
            return measure_trial(server, viewers, sessions, seconds)

        return find_limit(measure, first=way.first, most=_SESSIONS_MAX, trials=trials)


def measure_trial(server: Child, viewers: Child, sessions: int, seconds: float) -> Trial:
    """One load for so long, once both processes have put their garbage away. Raises: ConfigError: one failed."""
    server.begin("prepare")
    viewers.ask("prepare")
    server.result()
    server.begin("run", sessions, seconds + 2 * _HEAD_START_S)
    time.sleep(_HEAD_START_S)
    viewers.begin("run", sessions, seconds)
    served, seen = server.result(), viewers.result()
    sent = served["sent"] + seen["sent"]
    return Trial(
        sessions=sessions,
        seconds=seconds + 2 * _HEAD_START_S,
        packets=int(served["sent"] + served["received"]),
        delivery=min(1.0, (served["received"] + seen["received"] - seen["bad"]) / max(1, sent)),
        lateness_s_p50=served["lateness_s_p50"],
        lateness_s_p99=served["lateness_s_p99"],
        server_cpu_s=served["cpu_s"],
        server_wait_s=served["wait_s"],
        generator_cpu_s=seen["cpu_s"] * (seconds + 2 * _HEAD_START_S) / seconds,
    )

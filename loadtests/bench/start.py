"""From asking for a ticket to the first face: warm and cold worker, with and without what the POP prepares.

Real processes (`visavis run` with one worker) and a real headless viewer on loopback. A face is there when a frame of
it has been decoded and drawn, and the POP's `bot-ready` has come.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from core.errors import ConfigError
from loadtests.bench.harness import Result, percentile
from loadtests.stack import Stack, local_stack
from loadtests.viewer import Ticket, Viewer, ViewerError, fetch_ticket

__all__ = ["DESCRIPTION", "add_arguments", "run"]

DESCRIPTION = "start: ticket to first face, warm and cold worker, with and without pre-warming"
_FACE_S_MAX = 10.0
_BETWEEN_S = 0.3
_WARM_S_MAX = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--starts", type=int, default=None, help="warm starts of each kind (default 40, quick 8)")
    parser.add_argument("--cold", type=int, default=None, help="cold starts (default 6, quick 2)")
    parser.add_argument("--transport", choices=["webrtc", "webtransport"], default="webrtc")


@dataclass(frozen=True, slots=True)
class _Start:
    """One start, in milliseconds, each from asking for the ticket."""

    ticket_ms: float
    connected_ms: float
    face_ms: float


def run(options: argparse.Namespace) -> Result:
    """One stack with pre-warming and one without."""
    starts = options.starts or (8 if options.quick else 40)
    cold_starts = options.cold or (2 if options.quick else 6)
    with local_stack("origin.workers=1", "edge.prewarm=true") as stack:
        first = asyncio.run(_start(stack, options.transport))
        warm = asyncio.run(_starts(stack, starts, options.transport))
        cold = [asyncio.run(_cold(stack, options.transport)) for _ in range(cold_starts)]
    with local_stack("origin.workers=1", "edge.prewarm=false") as stack:
        first_plain = asyncio.run(_start(stack, options.transport))
        plain = asyncio.run(_starts(stack, starts, options.transport))
    figures = {
        "warm_ms_p50": percentile([one.face_ms for one in warm], 50),
        "warm_ms_p95": percentile([one.face_ms for one in warm], 95),
        "cold_ms_p95": percentile([one.face_ms for one in cold], 95),
        "warm_without_prewarm_ms_p95": percentile([one.face_ms for one in plain], 95),
        "warm_without_prewarm_ms_p50": percentile([one.face_ms for one in plain], 50),
        "first_ms": first.face_ms,
        "first_without_prewarm_ms": first_plain.face_ms,
    }
    details: dict[str, Any] = {
        "transport": options.transport,
        "starts": len(warm),
        "cold_starts": len(cold),
        "medians": {"warm": _medians(warm), "cold": _medians(cold), "noprewarm": _medians(plain)},
        "first": {"prewarm": asdict(first), "noprewarm": asdict(first_plain)},
        "cold": "the only worker is killed and the ticket asked for at once: it waits for the next one",
        "first viewer": "the first after the POP's start, which knows no key of the origin yet",
        "load_average": os.getloadavg()[0],
    }
    return Result(figures=figures, details=details)


def _medians(starts: list[_Start]) -> dict[str, float]:
    return {
        "ticket_ms": round(statistics.median(one.ticket_ms for one in starts), 1),
        "connected_ms": round(statistics.median(one.connected_ms for one in starts), 1),
        "face_ms": round(statistics.median(one.face_ms for one in starts), 1),
    }


async def _starts(stack: Stack, count: int, transport: str) -> list[_Start]:
    found = []
    for _ in range(count):
        found.append(await _start(stack, transport))
        await asyncio.sleep(_BETWEEN_S)
    return found


async def _start(stack: Stack, transport: str) -> _Start:
    """Raises: ConfigError: no face came."""
    began = time.perf_counter()
    ticket = await _ticket(stack, began)
    ticketed = time.perf_counter()
    viewer = Viewer(ticket, transport="webtransport" if transport == "webtransport" else "webrtc", record=True)
    try:
        await viewer.start()
        connected = time.perf_counter()
        if not await viewer.wait_until(_has_face, _FACE_S_MAX):
            raise ConfigError("no face came")
        seen = time.perf_counter()
    except ViewerError as error:
        raise ConfigError(f"a viewer could not start: {error}") from error
    finally:
        await viewer.aclose()
    return _Start(1e3 * (ticketed - began), 1e3 * (connected - began), 1e3 * (seen - began))


async def _ticket(stack: Stack, began: float) -> Ticket:
    """Asks again when there is no worker yet, as a client does; the time counts on."""
    while True:
        try:
            return await fetch_ticket(stack.origin_url)
        except ViewerError as error:
            if time.perf_counter() - began > _WARM_S_MAX:
                raise ConfigError(f"no ticket: {error}") from error
            await asyncio.sleep(_BETWEEN_S)


def _has_face(viewer: Viewer) -> bool:
    decoded = any(arrival.frame is not None for arrival in viewer.recording.arrivals)
    return decoded and viewer.ready and bool(viewer.recording.drawn)


async def _cold(stack: Stack, transport: str) -> _Start:
    """Kill the worker and ask at once; then wait until the next one is there for good."""
    victims = [pid for pid, line in stack.workers().items()]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    await _until_gone(stack)
    found = await _start(stack, transport)
    await asyncio.sleep(_BETWEEN_S)
    return found


async def _until_gone(stack: Stack) -> None:
    """Until the origin has noticed: no slot is warm."""
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(_WARM_S_MAX):
        while True:
            text = (await http.get(f"{stack.origin_url}/metrics")).text
            if 'origin_pool_slots{state="warm"} 0.0' in text:
                return
            await asyncio.sleep(0.01)

"""Tickets per second: the origin's HTTP handler, broker and store, without sockets and without dialogue.

Sessions are mirrors, which need no pipeline; each is ended as soon as its ticket is there, outside of what is timed for
one ticket but inside of what is counted for the rate.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from core.fabric.memory import MemoryBus
from core.fabric.store import Store
from core.host.clock import SystemClock
from core.host.entropy import SystemEntropy
from loadtests.bench.harness import percentile
from loadtests.proof_key import ProofKey
from origin.app import OriginMetrics, build_app
from origin.broker import Broker
from origin.config import OriginConfig
from origin.dialogue.character import load_characters
from origin.dialogue.services import Shared
from origin.sessions import Sessions
from origin.tokens import TicketKey

__all__ = ["TicketFigures", "measure_tickets"]

_CLIENTS = 32
_POPS = 3


@dataclass(slots=True)
class TicketFigures:
    """What one store did.

    Attributes:
        per_s: tickets with three POPs each, by _CLIENTS clients at once.
        loaded_s: how long each took then.
        alone_s: how long each took one at a time.
    """

    per_s: float = 0.0
    loaded_s: list[float] = field(default_factory=list)
    alone_s: list[float] = field(default_factory=list)

    def details(self) -> dict[str, float]:
        """For the report."""
        return {
            "tickets_per_s": round(self.per_s, 1),
            "ticket_ms_p50_under_load": round(1e3 * percentile(self.loaded_s, 50), 3),
            "ticket_ms_p99_under_load": round(1e3 * percentile(self.loaded_s, 99), 3),
            "ticket_ms_p50_alone": round(1e3 * percentile(self.alone_s, 50), 3),
            "ticket_ms_p99_alone": round(1e3 * percentile(self.alone_s, 99), 3),
        }


async def measure_tickets(store: Store, seconds: float) -> TicketFigures:
    """Ask for tickets over a store."""
    config = replace(OriginConfig(), sessions_max=100_000)
    shared = Shared(config, load_characters(), SystemEntropy())
    bus, key = MemoryBus(), TicketKey(Ed25519PrivateKey.generate())
    broker = Broker(shared, Sessions(shared, bus), store, key, SystemClock(), issuer="http://origin")
    for number in range(_POPS):
        record = {"name": f"pop-{number}", "url": f"http://pop-{number}", "protocols": ["webrtc", "webtransport"]}
        await store.put(f"pops.pop-{number}", json.dumps(record).encode())
    app = build_app(config, broker, key, OriginMetrics(CollectorRegistry()))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    figures = TicketFigures()
    async with httpx.AsyncClient(transport=transport, base_url="http://origin") as http:
        desk = _Desk(http, broker)
        await desk.ask_for(0.2)
        figures.alone_s = await desk.ask_for(seconds / 2)
        began = time.perf_counter()
        loads = await asyncio.gather(*(desk.ask_for(seconds) for _ in range(_CLIENTS)))
        figures.per_s = sum(map(len, loads)) / (time.perf_counter() - began)
        figures.loaded_s = list(itertools.chain.from_iterable(loads))
    await broker.aclose()
    return figures


class _Desk:
    def __init__(self, http: httpx.AsyncClient, broker: Broker) -> None:
        self._http = http
        self._broker = broker
        self._numbers = itertools.count()
        self._body: dict[str, Any] = {"mode": "mirror", "key": ProofKey().jwk}

    async def ask_for(self, seconds: float) -> list[float]:
        """Ask again and again; gives how long each ticket took."""
        took: list[float] = []
        deadline = time.perf_counter() + seconds
        while (began := time.perf_counter()) < deadline:
            body = {**self._body, "request_id": f"bench-{next(self._numbers)}"}
            response = await self._http.post("/v1/sessions", json=body)
            took.append(time.perf_counter() - began)
            response.raise_for_status()
            self._broker.sessions.end(response.json()["session_id"], "benched")
            await asyncio.sleep(0)  # a store in memory never waits for anything
        return took

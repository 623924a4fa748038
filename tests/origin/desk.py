"""An origin's HTTP API with everything behind it in memory, and a client with a key of its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from core.fabric.memory import MemoryBus, MemoryStore
from core.host.clock import ManualClock
from core.host.entropy import SystemEntropy
from loadtests.proof_key import ProofKey
from origin.api_keys import ApiKeys
from origin.app import OriginMetrics, build_app
from origin.broker import Broker
from origin.dialogue.services import Shared
from origin.sessions import Sessions
from origin.tokens import SigningKeys, TicketKey

ADMIN = {"Authorization": "Bearer operator"}


def pop(name: str, **changes: object) -> bytes:
    record = {"name": name, "url": f"http://{name}.example", "beats": 1, "capacity": 10, **changes}
    return json.dumps({"protocols": ["webrtc", "webtransport"], **record}).encode()


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


@dataclass
class Desk:
    """See the module."""

    http: httpx.AsyncClient
    store: MemoryStore
    bus: MemoryBus
    clock: ManualClock
    broker: Broker
    signer: SigningKeys
    key: ProofKey

    async def ask(self, headers: dict[str, str] | None = None, **body: object) -> httpx.Response:
        body = {"mode": "mirror", "key": self.key.jwk, **body}
        return await self.http.post("/v1/sessions", json=body, headers=headers)

    async def ticket(self, headers: dict[str, str] | None = None, **body: object) -> dict[str, Any]:
        response = await self.ask(headers, **body)
        assert response.status_code == 201, response.text
        ticket: dict[str, Any] = response.json()
        return ticket

    def proof(self, session_id: str, key: ProofKey | None = None) -> dict[str, str]:
        return {"DPoP": (key or self.key).prove("POST", f"http://origin/v1/sessions/{session_id}/tickets")}

    async def renew(self, session_id: str, headers: dict[str, str] | None = None, **body: object) -> httpx.Response:
        headers = self.proof(session_id) if headers is None else headers
        return await self.http.post(f"/v1/sessions/{session_id}/tickets", json=body, headers=headers)

    async def record(self, session_id: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((await self.store.get(f"sessions.{session_id}")).value or b"")
        return record


@asynccontextmanager
async def desk(
    shared: Shared, *, pops: tuple[bytes, ...] = (pop("a"), pop("b")), address: str = "192.0.2.7", **changes: Any
) -> AsyncIterator[Desk]:
    store, bus, clock = MemoryStore(), MemoryBus(), ManualClock(now=100.0)
    async with reopened(shared, store, bus, clock, address=address, pops=pops, **changes) as found:
        yield found


@asynccontextmanager
async def reopened(
    shared: Shared,
    store: MemoryStore,
    bus: MemoryBus,
    clock: ManualClock,
    *,
    pops: tuple[bytes, ...] = (),
    address: str = "192.0.2.7",
    signer: SigningKeys | None = None,
    key: ProofKey | None = None,
    **changes: Any,
) -> AsyncIterator[Desk]:
    """An origin over a store that is there already."""
    settings = {"api_keys": ("config-key",), "allowed_origins": ("http://page.example",), **changes}
    config = dataclasses.replace(shared.config, **settings)
    shared = dataclasses.replace(shared, config=config, entropy=SystemEntropy())
    signer = signer or SigningKeys(*(TicketKey(Ed25519PrivateKey.generate()) for _ in range(2)))
    for record in pops:
        await store.put(f"pops.{json.loads(record)['name']}", record)
    broker = Broker(shared, Sessions(shared, bus), store, signer, clock, issuer="http://origin", bus=bus)
    await broker.start()
    keys = ApiKeys(store, clock, SystemEntropy(), config.api_keys)
    metrics = OriginMetrics(CollectorRegistry())
    app = build_app(config, broker, signer, metrics, keys=keys, admin_secret="operator", bus=bus)
    transport = httpx.ASGITransport(app, client=(address, 1234))
    page = {"Origin": "http://page.example"}
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://origin", headers=page) as http:
            yield Desk(http, store, bus, clock, broker, signer, key or ProofKey(lambda: float(clock.wall())))
    finally:
        await keys.aclose()
        await broker.aclose()

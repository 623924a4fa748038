from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from core.errors import FabricError
from core.fabric.memory import MemoryBus, MemoryStore
from core.host.clock import ManualClock
from core.session.claims import SCOPE_WEBRTC, check_claims
from origin.app import OriginMetrics, build_app
from origin.broker import Broker
from origin.dialogue.services import Shared
from origin.dialogue.session import DialogueSession
from origin.mirror import MirrorSession
from origin.sessions import Sessions
from origin.tokens import TicketKey

pytestmark = pytest.mark.asyncio(loop_scope="module")

_POP = json.dumps({"name": "local", "url": "http://127.0.0.1:8080", "started_at": 1, "extra": "ignored"}).encode()


@asynccontextmanager
async def _client(
    shared: Shared, pop: bytes = _POP, address: str = "127.0.0.1", **changes: object
) -> AsyncIterator[tuple[httpx.AsyncClient, MemoryStore, Broker]]:
    config = dataclasses.replace(shared.config, **changes)  # type: ignore[arg-type]
    key = TicketKey(Ed25519PrivateKey.generate())
    store = MemoryStore()
    if pop:
        await store.put("pops.local", pop)
    shared = dataclasses.replace(shared, config=config)
    broker = Broker(shared, Sessions(shared, MemoryBus()), store, key, ManualClock(), issuer="http://origin")
    app = build_app(config, broker, key, OriginMetrics(CollectorRegistry()))
    transport = httpx.ASGITransport(app, client=(address, 1234))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://origin") as client:
            yield client, store, broker
    finally:  # what a failed test left open would wait for its own end for ever
        await broker.aclose()


def _problem(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == code and body["status"] == status and body["detail"]


async def test_a_ticket_opens_what_it_says(shared: Shared) -> None:
    async with _client(shared) as (client, store, broker):
        response = await client.post("/v1/sessions", json={"character": "mira"})
        assert response.status_code == 201
        ticket = response.json()
        assert ticket["character"] == {"id": "mira", "name": "Mira", "puppet": "mira"}
        (pop,) = ticket["pops"]
        assert (pop["name"], pop["url"], pop["epoch"]) == ("local", "http://127.0.0.1:8080", 1)
        keys = jwt.PyJWKSet.from_dict((await client.get("/.well-known/jwks.json")).json())
        head = jwt.get_unverified_header(pop["token"])
        payload = jwt.decode(
            pop["token"],
            keys[head["kid"]],
            algorithms=["EdDSA"],
            audience="local",
            options={"verify_exp": False, "verify_iat": False},
        )
        now = ManualClock().wall()
        claims = check_claims(
            payload,
            issuer="http://origin",
            audience="local",
            session_id=ticket["session_id"],
            scope=SCOPE_WEBRTC,
            now_wall=now,
        )
        assert claims.character == "mira" and claims.expires_at == ticket["expires_at"] <= now + 60
        record = json.loads((await store.get(f"sessions.{ticket['session_id']}")).value or b"")
        assert record == {
            "character": "mira",
            "epoch": 0,
            "pop": "",
            "created_at": now,
            "reserved": 1,
            "candidates": ["local"],
            "offered_at": now,
            "scopes": ["webrtc", "webtransport"],
        }
        assert (await client.get("/healthz")).json() == {"status": "ok", "sessions": 1}
        await broker.aclose()
        assert await store.keys("sessions.") == []


async def test_a_mirror_is_held_without_a_pipeline_until_its_viewer_leaves(shared: Shared) -> None:
    async with _client(shared) as (client, store, broker):
        response = await client.post("/v1/sessions", json={"mode": "mirror"})
        assert response.status_code == 201
        ticket = response.json()
        payload = jwt.decode(ticket["pops"][0]["token"], options={"verify_signature": False})
        assert payload["mode"] == "mirror"
        usual = (await client.post("/v1/sessions")).json()
        assert jwt.decode(usual["pops"][0]["token"], options={"verify_signature": False})["mode"] == "conversation"
        assert isinstance(broker.sessions, Sessions)
        held = broker.sessions._held[ticket["session_id"]]
        assert isinstance(held, MirrorSession)
        assert await store.get(f"sessions.{ticket['session_id']}")
        held.end("closed")
        await held.closed.wait()
        await asyncio.sleep(0)
        assert broker.count == 1
        _problem(await client.post("/v1/sessions", json={"mode": "karaoke"}), 400, "bad-request")


async def test_a_ticket_tells_where_webtransport_is(shared: Shared) -> None:
    webtransport = {"url": "https://127.0.0.1:8080", "certificate_hashes": ["aGFzaA==", "bmV4dA=="]}
    record = json.dumps({**json.loads(_POP), "webtransport": webtransport}).encode()
    for pop, told in ((record, webtransport), (_POP, None)):
        async with _client(shared, pop) as (client, _, _broker):
            (offer,) = (await client.post("/v1/sessions")).json()["pops"]
            assert offer.get("webtransport") == told
            scopes = jwt.decode(offer["token"], options={"verify_signature": False})["scp"]
            assert scopes == ["webrtc", "webtransport"]


async def test_who_gets_no_ticket(shared: Shared) -> None:
    async with _client(shared, address="192.0.2.7", api_keys=("k-1",)) as (client, _, _broker):
        _problem(await client.post("/v1/sessions"), 401, "api-key-required")
        _problem(await client.post("/v1/sessions", headers={"Authorization": "Bearer nope"}), 401, "bad-api-key")
        _problem(
            await client.post("/v1/sessions", headers={"Origin": "http://evil.example"}), 403, "origin-not-allowed"
        )
        assert (await client.post("/v1/sessions", headers={"Authorization": "Bearer k-1"})).status_code == 201
    async with _client(shared) as (client, _, _broker):
        # A page in this machine's browser is not "this machine": it has an Origin.
        _problem(
            await client.post("/v1/sessions", headers={"Origin": "http://evil.example"}), 403, "origin-not-allowed"
        )
        _problem(await client.post("/v1/sessions", headers={"X-Forwarded-For": "192.0.2.7"}), 401, "api-key-required")
    async with _client(shared, allow_local=False) as (client, _, _broker):
        _problem(await client.post("/v1/sessions"), 401, "api-key-required")


@pytest.mark.parametrize("page", ["http://127.0.0.1:8080", "http://localhost:8080"])
async def test_the_pops_page_is_allowed(shared: Shared, page: str) -> None:
    async with _client(shared) as (client, _, _broker):
        asked = {"Origin": page, "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/v1/sessions", headers=asked)
        assert preflight.status_code == 204 and preflight.headers["access-control-allow-origin"] == page
        response = await client.post("/v1/sessions", headers={"Origin": page})
        assert response.status_code == 201 and response.headers["access-control-allow-origin"] == page
        _problem(await client.options("/v1/sessions", headers={"Origin": "null"}), 403, "origin-not-allowed")


async def test_bad_requests(shared: Shared) -> None:
    async with _client(shared) as (client, _, _broker):
        _problem(await client.post("/v1/sessions", content=b"{"), 400, "bad-request")
        _problem(await client.post("/v1/sessions", json={"charakter": "mira"}), 400, "bad-request")
        _problem(await client.post("/v1/sessions", json={"character": "nobody"}), 404, "unknown-character")
        _problem(await client.post("/v1/sessions", content=b" " * 5_000), 413, "body-too-large")
        _problem(await client.get("/v1/sessions"), 405, "method-not-allowed")
        _problem(await client.get("/nowhere"), 404, "not-found")
        assert "origin_sessions_active" in (await client.get("/metrics")).text
    async with _client(shared, pop=b"") as (client, _, _broker):
        _problem(await client.post("/v1/sessions"), 503, "no-pop")
    async with _client(shared, pop=b"garbage") as (client, _, _broker):
        _problem(await client.post("/v1/sessions"), 503, "no-pop")
    async with _client(shared, sessions_max=1) as (client, _, _broker):
        assert (await client.post("/v1/sessions")).status_code == 201
        full = await client.post("/v1/sessions")
        _problem(full, 503, "too-many-sessions")
        assert full.headers["retry-after"] == "2"


async def test_a_flood_of_requests_opens_no_more_than_there_are_places(shared: Shared) -> None:
    async with _client(shared, sessions_max=3) as (client, store, broker):
        responses = await asyncio.gather(*(client.post("/v1/sessions") for _ in range(40)))
        refused = [response for response in responses if response.status_code != 201]
        assert len(responses) - len(refused) == broker.count == len(await store.keys("sessions.")) == 3
        for response in refused:
            _problem(response, 503, "too-many-sessions")
            assert int(response.headers["retry-after"]) > 0
        await broker.aclose()
        assert (await client.post("/v1/sessions")).status_code == 201  # a place that is free again is given


async def test_a_session_that_cannot_start_holds_no_place(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(session: DialogueSession) -> None:
        raise FabricError("unreachable", "the bus is out of reach")

    async with _client(shared, sessions_max=1) as (client, store, broker):
        with monkeypatch.context() as patched:
            patched.setattr(DialogueSession, "start", fail)
            _problem(await client.post("/v1/sessions"), 503, "fabric-unreachable")
        async with asyncio.timeout(3):
            while broker.count:
                await asyncio.sleep(0.01)
        assert await store.keys("sessions.") == []
        assert (await client.post("/v1/sessions")).status_code == 201

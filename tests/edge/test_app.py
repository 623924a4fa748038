"""The POP over HTTP: signalling with real peers, every bad request, the page and its headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from core.errors import AdmissionError, FabricError
from core.host.clock import ManualClock
from core.limits import SDP_SIZE_BYTES_MAX
from core.session.claims import Claims
from edge.admission import Admission, KeySet
from edge.app import create_app
from edge.config import EdgeConfig
from edge.entrance import Entrance
from edge.metrics import PopMetrics
from edge.transports.link import ViewerLink
from edge.transports.webrtc import WebRtcTransport
from loadtests.proof_key import ProofKey
from tests.edge.peers import Listener, Viewer, until
from tests.edge.test_admission import NOW, Origin, thumbprint_of

OFFER = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


class Door(Listener):
    """A session's end of one link."""

    def __init__(self, session_id: str, abandoned: list[tuple[str, str]]) -> None:
        super().__init__()
        self.link: ViewerLink | None = None
        self._session_id = session_id
        self._abandoned = abandoned

    def attach(self, link: ViewerLink) -> None:
        self.link = link

    def abandon(self, reason: str, now: float) -> None:
        self._abandoned.append((self._session_id, reason))


class Host:
    """Keeps sessions as the POP does."""

    def __init__(self) -> None:
        self.doors: dict[str, Door] = {}
        self.abandoned: list[tuple[str, str]] = []
        self.error: Exception | None = None

    async def open(self, claims: Claims) -> Door:
        if self.error is not None:
            raise self.error
        return self.doors.setdefault(claims.session_id, Door(claims.session_id, self.abandoned))

    def thumbprint_of(self, session_id: str) -> str:
        return ""

    def resume(self, token: str, session_id: str) -> Door:
        if token != "vvr_good":
            raise AdmissionError("token-spent", "The token has been used.")
        return self.doors.setdefault(f"{session_id} again", Door(session_id, self.abandoned))


class Pop:
    """The application, its parts and an HTTP client."""

    def __init__(self, static_dir: Path, **changes: Any) -> None:
        self.origin = Origin()
        self.host = Host()
        self.registry = CollectorRegistry()
        self.transport = WebRtcTransport(loopback=True)
        self.health: dict[str, object] = {}
        config = replace(EdgeConfig(static_dir=static_dir, origin_url="http://127.0.0.1:8081/"), **changes)
        keys = KeySet(self.origin.fetch, clock=lambda: self.origin.now)
        self.app = create_app(
            config=config,
            entrance=Entrance(
                admission=Admission(pop="local", issuer="https://origin.example", keys=keys),
                sessions=self.host,
                metrics=PopMetrics(self.registry),
                clock=lambda: 0.0,
            ),
            transport=self.transport,
            registry=self.registry,
            clock=ManualClock(wall=NOW),
            health=lambda: self.health,
        )
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://pop")

    async def offer(self, sdp: str, *, session: str = "s1", token: str | None = None, **headers: str) -> httpx.Response:
        token = self.origin.ticket(sid=session, jti=f"{session}-t") if token is None else token
        return await self.http.post(
            f"/v1/sessions/{session}/webrtc",
            content=sdp,
            headers={**OFFER, "Authorization": f"Bearer {token}", **headers},
        )


@pytest.fixture
async def pop(tmp_path: Path) -> AsyncIterator[Pop]:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "sdk").mkdir()
    (static / "index.html").write_text("<!doctype html><title>Visavis</title>")
    (static / "assets" / "index-abc123.js").write_text("export {}")
    (static / "sdk" / "visavis.js").write_text("export {}")
    (static / "puppet.json").write_text("{}")
    (static / "pip.vrm").write_bytes(b"glTF")
    made = Pop(static)
    yield made
    await made.http.aclose()
    await made.transport.aclose()


def code(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    return str(problem["code"])


async def test_offer_trickle_and_delete(pop: Pop) -> None:
    viewer = Viewer()
    response = await pop.offer(await viewer.offer())
    assert response.status_code == 201
    assert response.headers["Content-Type"] == "application/sdp"
    assert "usedtx=1" in response.text
    location = response.headers["Location"]
    assert location.startswith("/v1/sessions/s1/webrtc/")
    await viewer.accept(response.text)
    listener = pop.host.doors["s1"]
    await until(listener.connected.is_set)
    assert listener.link is not None
    assert listener.link.send_packet(b"\xf8\xff\xfe", 0)
    trickled = await pop.http.patch(location, content="a=end-of-candidates\r\n", headers=FRAGMENT)
    assert trickled.status_code == 204
    assert code(await pop.http.patch(location, content="rubbish", headers=FRAGMENT), 400) == "bad-candidate"
    assert code(await pop.http.patch(location, content="x", headers=OFFER), 415) == "unsupported-media-type"
    ended = await pop.http.delete(location)
    assert ended.status_code == 200
    assert listener.reasons == ["viewer-left"]
    assert code(await pop.http.delete(location), 404) == "not-found"
    assert code(await pop.http.patch(location, content="a=end-of-candidates\r\n", headers=FRAGMENT), 404) == "not-found"
    await viewer.aclose()


async def test_bad_tickets(pop: Pop) -> None:
    ticket = pop.origin.ticket
    assert code(await pop.http.post("/v1/sessions/s1/webrtc", content="v=0", headers=OFFER), 401) == "token-missing"
    assert code(await pop.offer("v=0", token="garbage"), 401) == "bad-token"
    assert code(await pop.offer("v=0", token=ticket(exp=NOW - 1, iat=NOW - 50)), 401) == "token-expired"
    assert code(await pop.offer("v=0", token=ticket(sid="other")), 403) == "wrong-session"
    assert code(await pop.offer("v=0", token=ticket(aud="elsewhere")), 403) == "wrong-audience"
    assert code(await pop.offer("v=0", token=ticket(kid="unknown")), 401) == "unknown-key"
    response = await pop.offer("v=0", token=ticket(jti="once"))
    assert code(response, 400) == "bad-sdp"
    response = await pop.offer("v=0", token=ticket(jti="once"))
    assert code(response, 401) == "token-replayed"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    pop.origin.down = True
    fresh = Pop(Path("/nowhere"))
    fresh.origin.down = True
    response = await fresh.offer("v=0")
    assert code(response, 503) == "keys-unavailable"
    assert response.headers["Retry-After"]
    await fresh.http.aclose()


async def test_a_resume_token_goes_where_a_ticket_goes(pop: Pop) -> None:
    viewer = Viewer()
    response = await pop.offer(await viewer.offer(), token="vvr_good")
    assert response.status_code == 201
    await viewer.accept(response.text)
    await until(pop.host.doors["s1 again"].connected.is_set)
    await viewer.aclose()
    assert code(await pop.offer("v=0", token="vvr_used"), 401) == "token-spent"


async def test_bad_offers(pop: Pop) -> None:
    viewer = Viewer()
    offer = await viewer.offer()
    await viewer.aclose()
    assert code(await pop.offer(offer[: len(offer) // 2], session="a"), 400) == "bad-sdp"
    assert code(await pop.offer(offer.replace("opus/", "speex/"), session="b"), 422) == "unsupported-codec"
    assert code(await pop.offer("v=0\r\ns=-\r\n", session="c"), 422) == "no-audio"
    assert code(await pop.offer("\ud800".encode("utf-8", "surrogatepass"), session="d"), 400) == "bad-sdp"  # type: ignore[arg-type]
    assert [session for session, _ in pop.host.abandoned] == ["a", "b", "c", "d"]
    assert len(pop.transport) == 0


async def test_bad_requests(pop: Pop) -> None:
    path = "/v1/sessions/s1/webrtc"
    assert code(await pop.http.post(path, content="v=0"), 415) == "unsupported-media-type"
    assert code(await pop.http.post(path, json={}), 415) == "unsupported-media-type"
    assert code(await pop.offer("x" * (SDP_SIZE_BYTES_MAX + 1)), 413) == "too-large"

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_024

    assert code(await pop.http.post(path, content=endless(), headers=OFFER), 413) == "too-large"
    response = await pop.http.get(path)
    assert code(response, 405) == "method-not-allowed"
    assert code(await pop.http.get("/v1/nothing"), 404) == "not-found"
    assert code(await pop.http.delete(f"{path}/unknown"), 404) == "not-found"


async def test_a_host_that_refuses(pop: Pop) -> None:
    pop.host.error = AdmissionError("overloaded", "This POP is full.")
    response = await pop.offer("v=0", session="a")
    assert code(response, 503) == "overloaded"
    assert response.headers["Retry-After"]
    pop.host.error = AdmissionError("session-exists", "It has a viewer.")
    assert code(await pop.offer("v=0", session="b"), 409) == "session-exists"
    pop.host.error = FabricError("unreachable")
    assert code(await pop.offer("v=0", session="c"), 503) == "fabric-unreachable"
    pop.host.error = RuntimeError("a secret")
    response = await pop.offer("v=0", session="d")
    assert code(response, 500) == "internal-error"
    assert "secret" not in response.text
    text = (await pop.http.get("/metrics")).text
    assert 'edge_session_setup_total{reason="overloaded",result="refused"} 1.0' in text


async def test_health_config_and_metrics(pop: Pop) -> None:
    healthy = await pop.http.get("/healthz")
    assert (healthy.status_code, healthy.json()["ok"], healthy.json()["pop"]) == (200, True, "local")
    pop.health = {"ok": False, "fabric": "unreachable"}
    assert (await pop.http.get("/healthz")).status_code == 503
    config = await pop.http.get("/config.json")
    assert config.json() == {"origin_url": "http://127.0.0.1:8081", "pop": "local"}
    metrics = await pop.http.get("/metrics")
    assert "edge_session_setup_seconds" in metrics.text
    assert metrics.headers["Content-Type"].startswith("text/plain")


async def test_the_page(pop: Pop) -> None:
    page = await pop.http.get("/")
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-cache"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self' http://127.0.0.1:8081 http://localhost:* http://127.0.0.1:*" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert "microphone=(self)" in page.headers["Permissions-Policy"]
    assert (await pop.http.get("/", headers={"If-None-Match": page.headers["ETag"]})).status_code == 304
    script = await pop.http.get("/assets/index-abc123.js")
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert "immutable" in script.headers["Cache-Control"]
    assert (await pop.http.get("/puppet.json")).headers["Cache-Control"] == "no-cache"
    assert (await pop.http.get("/pip.vrm")).headers["Content-Type"] == "model/gltf-binary"
    assert (await pop.http.get("/sdk/visavis.js")).headers["Access-Control-Allow-Origin"] == "*"
    for path in ("/../config.py", "/%2e%2e/config.py", "/assets/../../x", "/nothing.js"):
        assert code(await pop.http.get(path), 404) == "not-found"


async def test_a_page_that_is_not_built(tmp_path: Path) -> None:
    pop = Pop(tmp_path / "absent")
    page = await pop.http.get("/")
    assert page.status_code == 503
    assert "make setup" in page.text
    assert (await pop.http.get("/healthz")).status_code == 200
    await pop.http.aclose()


async def test_other_origins(pop: Pop) -> None:
    path = "/v1/sessions/s1/webrtc"
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    answer = await pop.http.options(path, headers=asked)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    strict = Pop(Path("/nowhere"), allowed_origins=("https://shop.example",))
    assert (await strict.http.options(path, headers=asked)).status_code == 200
    other = await strict.http.options(path, headers={**asked, "Origin": "https://evil.example"})
    assert other.status_code == 400
    await strict.http.aclose()


async def test_a_slow_body_is_given_up(pop: Pop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.app.REQUEST_S_MAX", 0.02)

    async def stalling() -> AsyncIterator[bytes]:
        yield b"v=0"
        await asyncio.Event().wait()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/sessions/s1/webrtc",
        "headers": [(b"content-type", b"application/sdp")],
        "query_string": b"",
    }
    body = stalling()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(body), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    await pop.app(scope, receive, send)
    assert sent[0]["status"] == 408


async def test_trickle_of_a_viewer_with_a_key_needs_its_proof(pop: Pop) -> None:
    key, viewer = ProofKey(lambda: float(NOW)), Viewer()
    token = pop.origin.ticket(cnf={"jkt": thumbprint_of(key)})
    url, sdp = "http://pop/v1/sessions/s1/webrtc", await viewer.offer()
    assert code(await pop.offer(sdp, token=token), 401) == "proof-missing"
    wrong = key.prove("POST", url + "x", token)
    assert code(await pop.offer(sdp, token=token, DPoP=wrong), 401) == "proof-wrong-request"
    made = await pop.offer(sdp, token=token, DPoP=key.prove("POST", url, token), Authorization=f"DPoP {token}")
    assert made.status_code == 201
    location = made.headers["Location"]
    fragment = "a=ice-ufrag:x\r\na=ice-pwd:y\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n"
    headers = {**FRAGMENT, "Authorization": f"DPoP {token}"}
    assert code(await pop.http.patch(location, content=fragment, headers=headers), 401) == "proof-missing"
    proof = key.prove("PATCH", f"http://pop{location}", token)
    good = await pop.http.patch(location, content=fragment, headers={**headers, "DPoP": proof})
    assert good.status_code == 204, good.text
    again = await pop.http.patch(location, content=fragment, headers={**headers, "DPoP": proof})
    assert code(again, 401) == "proof-replayed"
    assert (await pop.http.delete(location)).status_code == 200, "who closes a page has no time to sign"
    await viewer.peer.close()


async def test_a_probe_is_small_and_for_everybody(pop: Pop) -> None:
    answer = await pop.http.get("/v1/probe", headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 200 and len(answer.content) < 10
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"

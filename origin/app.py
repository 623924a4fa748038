"""The origin's HTTP API: tickets, the agents' WebSocket, administration, the key set, health and metrics."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from core.errors import AdmissionError, FabricError
from core.fabric.bus import Bus
from core.host.entropy import SystemEntropy
from core.host.telemetry import render_metrics
from core.limits import (
    PLACEMENT_CANDIDATES_MAX,
    PROOFS_SPENT_MAX,
    REQUEST_ID_CHARS_MAX,
    RESIDENCY_REGIONS_MAX,
    SESSION_TICKETS_PER_MINUTE_MAX,
)
from core.session.claims import ALL_SCOPES, MODE_CONVERSATION
from core.session.proof import ProvenRequest, check_proof, parse_public_key
from core.session.speculation import Outcome
from core.session.spent import SpentIds
from origin.access import Access, Caller
from origin.admin import admin_routes
from origin.agent.socket import AgentSockets
from origin.api_keys import ApiKeys
from origin.broker import Broker, Wanted
from origin.config import OriginConfig
from origin.console import console_routes
from origin.dialogue.state import TurnMarks
from origin.problems import ProblemError, problem_response
from origin.tokens import Signer
from origin.turn_log import TurnLog

__all__ = ["OriginMetrics", "build_app"]

_log = logging.getLogger(__name__)

_BODY_BYTES_MAX: Final = 4_096
_KEY_SET_AGE_S: Final = 300
_ALLOWED_HEADERS: Final = "Authorization, Content-Type, DPoP, Idempotency-Key"
_PREFLIGHT_AGE_S: Final = 600


class OriginMetrics:
    """What the origin counts, on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.turns = TurnLog()
        self.sessions = Gauge("origin_sessions_active", "Sessions that are open", registry=registry)
        self.tickets = Counter("origin_tickets_total", "Tickets by outcome", ["result"], registry=registry)
        self.agent_errors = Counter(
            "origin_agent_errors_total",
            "Messages and connections of agents that were refused",
            ["code"],
            registry=registry,
        )
        self.openings = Counter(
            "origin_openings_total",
            "First clauses of answers: ready as sound before they were wanted, or spoken then",
            ["result"],
            registry=registry,
        )
        self.guesses = Counter(
            "origin_guesses_total",
            "Answers begun at a pause, by what became of them; all but the confirmed ones were thrown away",
            ["outcome"],
            registry=registry,
        )
        self.answer = Histogram(
            "origin_answer_seconds",
            "End of the user's speech to the first packet of the answer",
            buckets=(0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0),
            registry=registry,
        )

    def count_opening(self, found: bool) -> None:
        """Whether the first clause of an answer was there as sound already."""
        self.openings.labels("ready" if found else "spoken").inc()

    def count_guess(self, outcome: Outcome) -> None:
        """What became of an answer that was begun before the turn had ended."""
        self.guesses.labels(outcome).inc()

    def count_elsewhere(self, name: str, times: int) -> None:
        """What sessions in worker processes have counted (`origin.workers.messages.Status.counts`)."""
        kind, _, label = name.partition(".")
        if kind == "guess" and label in get_args(Outcome):
            self.guesses.labels(label).inc(times)
        elif kind == "opening" and label in ("ready", "spoken"):
            self.openings.labels(label).inc(times)

    def count_turn(self, marks: TurnMarks) -> None:
        """One answered turn; typed ones have no end of speech."""
        if marks.speech_ended:
            self.count_answer(marks.stages())

    def count_answer(self, stages: Mapping[str, float]) -> None:
        """One spoken turn that was answered; milliseconds by the names of core.session.budget."""
        self.turns.note(stages)
        self.answer.observe(sum(stages.values()) / 1e3)


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/sessions` (ARCHITECTURE.md, "Tickets")."""

    character: str | None = None
    mode: Literal["conversation", "mirror", "agent"] = MODE_CONVERSATION
    key: dict[str, Any] | None = None
    request_id: str | None = None
    regions: tuple[str, ...] | None = None
    protocols: tuple[Literal["webrtc", "webtransport"], ...] | None = None
    rtt_ms: dict[str, float] | None = None


class _Again(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/sessions/{id}/tickets`: names of POPs where the viewer has just failed."""

    avoid: tuple[str, ...] = ()


Body = TypeVar("Body", _Body, _Again)


def build_app(
    config: OriginConfig,
    broker: Broker,
    key: Signer,
    metrics: OriginMetrics,
    *,
    keys: ApiKeys | None = None,
    admin_secret: str = "",
    bus: Bus | None = None,
) -> Starlette:
    """The application; everything it needs is running already.

    Args:
        keys: the API keys of the store and the configuration; None: made here.
        admin_secret: see `origin.access.Access`.
        bus: where POPs are told that signing keys have changed.
    """
    api_keys = keys or ApiKeys(broker.store, broker.clock, SystemEntropy(), config.api_keys)
    access = Access(config, api_keys, broker.pops, broker.clock.monotonic, admin_secret=admin_secret)
    api = _Api(config, broker, key, metrics, access)
    agents = AgentSockets(broker.sessions.agent, lambda code: metrics.agent_errors.labels(code).inc())
    return Starlette(
        routes=[
            Route("/v1/sessions", api.sessions, methods=["POST", "OPTIONS"]),
            Route("/v1/sessions/{session_id}/tickets", api.tickets, methods=["POST", "OPTIONS"]),
            WebSocketRoute("/v1/sessions/{session_id}/agent", agents.serve, name="agent"),
            *admin_routes(broker, api_keys, access, key, bus, metrics.turns),
            *console_routes(),
            Route("/.well-known/jwks.json", api.key_set, methods=["GET"]),
            Route("/healthz", api.health, methods=["GET"]),
            Route("/metrics", api.metrics, methods=["GET"]),
        ],
        exception_handlers={
            ProblemError: _on_problem,
            FabricError: _on_fabric_error,
            HTTPException: _on_http_exception,
            Exception: _on_exception,
        },
    )


class _Api:
    def __init__(
        self,
        config: OriginConfig,
        broker: Broker,
        key: Signer,
        metrics: OriginMetrics,
        access: Access,
    ) -> None:
        self._broker = broker
        self._key = key
        self._metrics = metrics
        self._access = access
        self._authority = urlsplit(config.issuer).netloc
        self._proofs = SpentIds(
            PROOFS_SPENT_MAX, code="proof-replayed", message="The proof has been used; make one for each request."
        )

    async def sessions(self, request: Request) -> Response:
        """Preflight and `POST /v1/sessions`."""
        return await self._answer(request, self._open)

    async def tickets(self, request: Request) -> Response:
        """Preflight and `POST /v1/sessions/{id}/tickets`."""
        return await self._answer(request, self._renew)

    async def _answer(self, request: Request, answer: Callable[[Request, bool], Awaitable[dict[str, Any]]]) -> Response:
        await self._broker.pops.start()
        origin = request.headers.get("origin")
        allowed = self._access.page_allowed(origin)
        if request.method == "OPTIONS":
            return _preflight(origin or "", allowed)
        try:
            ticket = await answer(request, allowed)
        except ProblemError as problem:
            self._metrics.tickets.labels(problem.code).inc()
            response = problem_response(problem)
        else:
            self._metrics.tickets.labels("minted").inc()
            _log.info("ticket minted", extra={"session": ticket["session_id"]})
            if isinstance(agent := ticket.get("agent"), dict):
                agent["url"] = str(request.url_for("agent", session_id=ticket["session_id"]))
            location = f"/v1/sessions/{ticket['session_id']}"
            response = JSONResponse(ticket, 201, headers={"Location": location, "Cache-Control": "no-store"})
        response.headers["Vary"] = "Origin"
        if allowed:
            response.headers["Access-Control-Allow-Origin"] = origin or ""
            response.headers["Access-Control-Expose-Headers"] = "Location, Retry-After"
        return response

    async def _open(self, request: Request, page_allowed: bool) -> dict[str, Any]:
        caller = await self._admit(request, page_allowed)
        body = await _read_body(request, _Body)
        wanted = Wanted(
            character=body.character,
            mode=body.mode,
            thumbprint=_thumbprint(body.key),
            request_id=_request_id(request, body),
            body=hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(body, request_id=None))).hexdigest(),
            caller=caller.name,
            key_id=caller.key_id,
            limits=caller.limits,
            protocols=body.protocols or ALL_SCOPES,
            regions=_short(body.regions),
            carrier=caller.carrier,
            rtt_ms=body.rtt_ms or {},
        )
        return await self._broker.open(wanted)

    async def _admit(self, request: Request, page_allowed: bool) -> Caller:
        caller = await self._access.admit(request, page_allowed)
        self._access.count(caller)
        return caller

    async def _renew(self, request: Request, page_allowed: bool) -> dict[str, Any]:
        """Whoever proves to hold the session's key, or has the API key that asked for it, gets new tickets."""
        self._access.count_address(self._access.address_of(request))
        session_id = request.path_params["session_id"]
        record = await self._broker.find(session_id)
        if record.thumbprint:
            self._prove(request, record.thumbprint)
        else:
            caller = await self._access.admit(request, page_allowed=False)
            if caller.key_id != record.key:
                raise ProblemError(403, "not-your-session", "Another API key has asked for this session.")
        self._access.count_session(session_id, SESSION_TICKETS_PER_MINUTE_MAX)
        body = await _read_body(request, _Again)
        return await self._broker.renew(session_id, frozenset(body.avoid[:PLACEMENT_CANDIDATES_MAX]))

    def _prove(self, request: Request, thumbprint: str) -> None:
        proven = ProvenRequest(
            proof=request.headers.get("dpop", ""),
            method=request.method,
            path=request.url.path,
            authorities=frozenset({request.headers.get("host", ""), self._authority} - {""}),
        )
        now = self._broker.clock.wall()
        try:
            proof = check_proof(proven, token="", thumbprint=thumbprint, now_wall=now)
            self._proofs.spend(f"{thumbprint}.{proof.proof_id}", proof.expires_at, now)
        except AdmissionError as error:
            raise ProblemError(401, error.code, str(error), {"WWW-Authenticate": 'DPoP algs="ES256"'}) from None

    async def key_set(self, request: Request) -> Response:
        """The keys POPs check tickets with; public, for everybody."""
        headers = {"Cache-Control": f"public, max-age={_KEY_SET_AGE_S}", "Access-Control-Allow-Origin": "*"}
        return JSONResponse(self._key.key_set(), headers=headers, media_type="application/jwk-set+json")

    async def health(self, request: Request) -> Response:
        """200 once sessions can be opened."""
        return JSONResponse({"status": "ok", "sessions": self._broker.count}, headers={"Cache-Control": "no-store"})

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics."""
        content_type, body = render_metrics(self._metrics.registry, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})


# --- requests ----------------------------------------------------------------------------------------------------


def _preflight(origin: str, allowed: bool) -> Response:
    if not allowed:
        return problem_response(ProblemError(403, "origin-not-allowed", "Pages of this origin get no tickets here."))
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(_PREFLIGHT_AGE_S),
            "Vary": "Origin",
        },
    )


def _thumbprint(jwk: dict[str, Any] | None) -> str:
    if jwk is None:
        return ""
    try:
        return parse_public_key(jwk).thumbprint
    except AdmissionError as error:
        raise ProblemError(400, error.code, str(error)) from None


def _request_id(request: Request, body: _Body) -> str:
    """From the header (draft-ietf-httpapi-idempotency-key-header: a quoted text) or the body; empty: none."""
    header = request.headers.get("idempotency-key", "").strip()
    header = header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header
    given = header or body.request_id or ""
    if header and body.request_id not in (None, header):
        raise ProblemError(400, "bad-request", "Idempotency-Key and request_id are different.")
    if given and not (len(given) <= REQUEST_ID_CHARS_MAX and given.isascii() and given.isprintable()):
        raise ProblemError(400, "bad-request", f"A request id has 1 to {REQUEST_ID_CHARS_MAX} printable ASCII letters.")
    return given


def _short(regions: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if regions is not None and (len(regions) > RESIDENCY_REGIONS_MAX or any(len(name) > 64 for name in regions)):
        raise ProblemError(400, "bad-request", f"regions has at most {RESIDENCY_REGIONS_MAX} short names.")
    return regions


async def _read_body(request: Request, kind: type[Body]) -> Body:
    size = 0
    parts: list[bytes] = []
    try:
        async for part in request.stream():
            size += len(part)
            if size > _BODY_BYTES_MAX:
                raise ProblemError(413, "body-too-large", f"A request has at most {_BODY_BYTES_MAX} bytes.")
            parts.append(part)
    except ClientDisconnect:
        raise ProblemError(400, "client-gone", "The request ended early.") from None
    body = b"".join(parts)
    if not body.strip():
        return kind()
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(400, "bad-request", f"The body is not what is expected: {error}.") from None


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error)


async def _on_fabric_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FabricError)
    return problem_response(
        ProblemError(503, "fabric-unreachable", f"The fabric cannot be used ({error.code}).", {"Retry-After": "2"})
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not-found", 405: "method-not-allowed"}
    code = codes.get(error.status_code, "http-error")
    return problem_response(ProblemError(error.status_code, code, f"{error.detail}.", error.headers))


async def _on_exception(request: Request, error: Exception) -> Response:
    return problem_response(ProblemError(500, "internal-error", "Something went wrong here; it has been logged."))

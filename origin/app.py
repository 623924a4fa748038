"""The origin's HTTP API: tickets, the agents' WebSocket, the key set, health and metrics."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from core.host.telemetry import render_metrics
from core.session.claims import MODE_CONVERSATION
from core.session.speculation import Outcome
from origin.agent.socket import AgentSockets
from origin.broker import Broker
from origin.config import OriginConfig
from origin.dialogue.state import TurnMarks
from origin.problems import ProblemError, problem_response
from origin.tokens import TicketKey

__all__ = ["OriginMetrics", "build_app"]

_log = logging.getLogger(__name__)

_BODY_BYTES_MAX: Final = 4_096
_KEY_SET_AGE_S: Final = 300
_ALLOWED_HEADERS: Final = "Authorization, Content-Type"
_PREFLIGHT_AGE_S: Final = 600


class OriginMetrics:
    """What the origin counts, on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
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

    def count_turn(self, marks: TurnMarks) -> None:
        """One answered turn; typed ones have no end of speech."""
        if marks.speech_ended:
            self.answer.observe(marks.first_packet - marks.speech_ended)


class _Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/sessions`."""

    character: str | None = None
    mode: Literal["conversation", "mirror", "agent"] = MODE_CONVERSATION


Handler = Callable[[Request], Awaitable[Response]]


def build_app(config: OriginConfig, broker: Broker, key: TicketKey, metrics: OriginMetrics) -> Starlette:
    """The application; everything it needs is running already."""
    api = _Api(config, broker, key, metrics)
    agents = AgentSockets(broker.sessions.agent, lambda code: metrics.agent_errors.labels(code).inc())
    return Starlette(
        routes=[
            Route("/v1/sessions", api.sessions, methods=["POST", "OPTIONS"]),
            WebSocketRoute("/v1/sessions/{session_id}/agent", agents.serve, name="agent"),
            Route("/.well-known/jwks.json", api.key_set, methods=["GET"]),
            Route("/healthz", api.health, methods=["GET"]),
            Route("/metrics", api.metrics, methods=["GET"]),
        ],
        exception_handlers={
            ProblemError: _on_problem,
            HTTPException: _on_http_exception,
            Exception: _on_exception,
        },
    )


class _Api:
    def __init__(self, config: OriginConfig, broker: Broker, key: TicketKey, metrics: OriginMetrics) -> None:
        self._config = config
        self._broker = broker
        self._key = key
        self._metrics = metrics

    async def sessions(self, request: Request) -> Response:
        """Preflight and `POST /v1/sessions`."""
        origin = request.headers.get("origin")
        allowed = origin is not None and await self._origin_allowed(origin)
        if request.method == "OPTIONS":
            return _preflight(origin or "", allowed)
        try:
            self._admit(request, allowed)
            body = await _read_body(request)
            ticket = await self._broker.open(body.character, body.mode)
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

    # --- who may -------------------------------------------------------------------------------------------------

    def _admit(self, request: Request, origin_allowed: bool) -> None:
        """Raises: ProblemError: this client gets no ticket."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() == "bearer" and self._known(secret.strip()):
                return
            raise ProblemError(401, "bad-api-key", "This API key is not known.", {"WWW-Authenticate": "Bearer"})
        if "origin" in request.headers:
            if origin_allowed:
                return
            raise ProblemError(403, "origin-not-allowed", "Pages of this origin get no tickets here.")
        if self._config.allow_local and _is_local(request):
            return
        raise ProblemError(
            401, "api-key-required", "Send an API key (Authorization: Bearer).", {"WWW-Authenticate": "Bearer"}
        )

    def _known(self, secret: str) -> bool:
        # All keys are compared, each in constant time: the answer's timing tells nothing.
        matches = [hmac.compare_digest(secret.encode(), key.encode()) for key in self._config.api_keys]
        return any(matches)

    async def _origin_allowed(self, origin: str) -> bool:
        pages = {_origin_of(pop.url) for pop in await self._broker.pops()}
        pages.update(value.rstrip("/") for value in self._config.allowed_origins)
        # A POP on this machine is the same page under both of its names.
        pages.update(_other_name(page) for page in list(pages))
        return origin in pages


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


def _is_local(request: Request) -> bool:
    """A client on this machine that no proxy speaks for."""
    if "forwarded" in request.headers or "x-forwarded-for" in request.headers or request.client is None:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _origin_of(url: str) -> str:
    """The web origin of a URL (RFC 6454): scheme, host and port, the port only when it is not the usual one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _other_name(origin: str) -> str:
    """The same page by the other name of this machine; other machines stay themselves."""
    host = urlsplit(origin).hostname or ""
    other = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host, host)
    return origin.replace(f"//{host}", f"//{other}", 1)


async def _read_body(request: Request) -> _Wanted:
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
        return _Wanted()
    try:
        return msgspec.json.decode(body, type=_Wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(400, "bad-request", f"The body is not what is expected: {error}.") from None


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not-found", 405: "method-not-allowed"}
    code = codes.get(error.status_code, "http-error")
    return problem_response(ProblemError(error.status_code, code, f"{error.detail}.", error.headers))


async def _on_exception(request: Request, error: Exception) -> Response:
    return problem_response(ProblemError(500, "internal-error", "Something went wrong here; it has been logged."))

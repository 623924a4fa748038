"""The POP over HTTP: signalling, the page, health and metrics."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import AdmissionError, RemoteProtocolError, VisavisError
from core.host.clock import Clock
from core.host.telemetry import render_metrics
from core.limits import REQUEST_S_MAX, SDP_SIZE_BYTES_MAX
from core.session.claims import SCOPE_WEBRTC
from core.session.proof import ProvenRequest
from edge.client_files import ClientFiles, content_security_policy
from edge.config import EdgeConfig
from edge.entrance import Entrance
from edge.problems import problem, problem_of
from edge.transports.webrtc import WebRtcLink, WebRtcTransport

__all__ = ["create_app"]

_log = logging.getLogger(__name__)

_SDP: Final = "application/sdp"
_FRAGMENT: Final = "application/trickle-ice-sdpfrag"


def create_app(
    *,
    config: EdgeConfig,
    entrance: Entrance,
    transport: WebRtcTransport,
    registry: CollectorRegistry,
    clock: Clock,
    health: Callable[[], dict[str, object]] | None = None,
) -> Starlette:
    """The POP's ASGI application.

    Args:
        health: more members for `GET /healthz`; `"ok": False` in it makes the answer 503.
    """
    signalling = _Signalling(entrance, transport, clock, _web_origin(config.public_url))

    async def healthz(_request: Request) -> Response:
        body: dict[str, object] = {"ok": True, "pop": config.name, "links": len(transport)}
        body.update(health() if health is not None else {})
        return JSONResponse(body, status_code=200 if body["ok"] else 503, headers={"Cache-Control": "no-store"})

    async def config_json(_request: Request) -> Response:
        body = {"origin_url": config.origin_url.rstrip("/"), "pop": config.name}
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    async def metrics_text(request: Request) -> Response:
        content_type, body = render_metrics(registry, request.headers.get("Accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    return Starlette(
        routes=[
            Mount("/v1", routes=signalling.routes()),
            Route("/healthz", healthz),
            Route("/config.json", config_json),
            Route("/metrics", metrics_text),
            Mount("/", ClientFiles(config.static_dir, content_security_policy(_connect_sources(config)))),
        ],
        middleware=[
            Middleware(_SecurityHeaders),
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.allowed_origins),
                allow_methods=["POST", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "DPoP"],
                expose_headers=["Location", "Retry-After"],
                max_age=600,
            ),
        ],
        exception_handlers={HTTPException: _http_problem, VisavisError: _our_problem, Exception: _unexpected_problem},
    )


def _connect_sources(config: EdgeConfig) -> tuple[str, ...]:
    """What the page may connect to: the origin, other POPs, and this one under all its loopback names."""
    sources = [_web_origin(config.origin_url), *config.connect_sources]
    if config.public_url:
        sources.append(_web_origin(config.public_url))
    if config.on_loopback:  # other POPs of this machine are on other ports, and tickets name them
        sources += ["http://localhost:*", "http://127.0.0.1:*", "https://127.0.0.1:*"]
    if config.webtransport:
        sources.append(
            config.webtransport_url(config.port if config.webtransport_port is None else config.webtransport_port)
        )
    return tuple(source for source in sources if source)


def _web_origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else ""


class _Signalling:
    """WHIP-like: POST an offer, PATCH candidates, DELETE the link.

    A link's address is its capability: it holds 128 random bits (the ticket is spent by then). Where the viewer has a
    key, it proves that for every change as well, but not to end the link: a page that is being closed has no time to
    sign anything.
    """

    def __init__(self, entrance: Entrance, transport: WebRtcTransport, clock: Clock, public_origin: str) -> None:
        self._entrance = entrance
        self._transport = transport
        self._clock = clock
        self._public = public_origin.partition("//")[2]
        self._links: dict[tuple[str, str], tuple[WebRtcLink, str]] = {}

    def routes(self) -> list[Route]:
        """Under /v1."""
        link = "/sessions/{session_id}/webrtc/{link_id}"
        return [
            Route("/probe", self.probe, methods=["GET"]),
            Route("/sessions/{session_id}/webrtc", self.offer, methods=["POST"]),
            Route(link, self.trickle, methods=["PATCH"]),
            Route(link, self.end, methods=["DELETE"]),
        ]

    async def probe(self, request: Request) -> Response:
        """GET: as little as possible, for whoever measures the way here."""
        return Response(b"ok", media_type="text/plain", headers={"Cache-Control": "no-store"})

    async def offer(self, request: Request) -> Response:
        """POST: offer in, answer out."""
        try:
            _require_type(request, _SDP)
            body = await _read(request)
            token = _bearer(request)
        except AdmissionError as error:
            self._entrance.refused(error.code)
            raise
        except HTTPException as error:
            self._entrance.refused(f"http-{error.status_code}")
            raise
        session_id = request.path_params["session_id"]
        entry = await self._entrance.admit(
            token, session_id, scope=SCOPE_WEBRTC, now_wall=self._clock.wall(), request=self._proven(request)
        )
        try:
            link, answer = await self._transport.accept(_text(body), entry.events)
        except BaseException as error:
            entry.abandon(getattr(error, "code", "signalling-failed"))
            raise
        entry.attach(link)
        link_id = secrets.token_urlsafe(16)
        self._forget_closed()
        self._links[session_id, link_id] = link, entry.thumbprint
        location = f"/v1/sessions/{session_id}/webrtc/{link_id}"
        headers = {"Location": location, "Cache-Control": "no-store"}
        return Response(answer, status_code=201, media_type=_SDP, headers=headers)

    async def trickle(self, request: Request) -> Response:
        """PATCH: more candidates of the viewer."""
        _require_type(request, _FRAGMENT)
        body = await _read(request)
        link, thumbprint = self._link(request)
        if thumbprint:
            now_wall = self._clock.wall()
            self._entrance.prove(
                self._proven(request), token=_bearer(request), thumbprint=thumbprint, now_wall=now_wall
            )
        await link.add_candidate(_text(body))
        return Response(status_code=204)

    async def end(self, request: Request) -> Response:
        """DELETE: the viewer leaves."""
        link, _ = self._link(request)
        del self._links[request.path_params["session_id"], request.path_params["link_id"]]
        await link.aclose("viewer-left")
        return Response(status_code=200)

    def _link(self, request: Request) -> tuple[WebRtcLink, str]:
        found = self._links.get((request.path_params["session_id"], request.path_params["link_id"]))
        if found is None or found[0].closing:
            raise HTTPException(404, "There is no such link; it may have ended.")
        return found

    def _forget_closed(self) -> None:
        self._links = {key: found for key, found in self._links.items() if not found[0].closing}

    def _proven(self, request: Request) -> ProvenRequest:
        return ProvenRequest(
            proof=request.headers.get("DPoP", ""),
            method=request.method,
            path=request.url.path,
            authorities=frozenset({request.headers.get("Host", ""), self._public} - {""}),
        )


# --- requests ----------------------------------------------------------------------------------------------------


def _require_type(request: Request, media_type: str) -> None:
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise HTTPException(415, f"The body must be {media_type}.")


async def _read(request: Request) -> bytes:
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > SDP_SIZE_BYTES_MAX:
        raise HTTPException(413, f"The body may have at most {SDP_SIZE_BYTES_MAX} bytes.")
    body = bytearray()
    try:
        async with asyncio.timeout(REQUEST_S_MAX):
            async for chunk in request.stream():
                body += chunk
                if len(body) > SDP_SIZE_BYTES_MAX:
                    raise HTTPException(413, f"The body may have at most {SDP_SIZE_BYTES_MAX} bytes.")
    except TimeoutError:
        raise HTTPException(408, "The body did not arrive in time.") from None
    except ClientDisconnect:
        raise HTTPException(400, "The body did not arrive completely.") from None
    return bytes(body)


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise RemoteProtocolError("bad-sdp", "The body is not UTF-8.") from None


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() not in ("bearer", "dpop") or not token.strip():
        raise AdmissionError("token-missing", "Send the ticket as `Authorization: DPoP <token>` (or Bearer).")
    return token.strip()


# --- errors and headers ------------------------------------------------------------------------------------------

_HTTP_CODES: Final = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    408: "timeout",
    413: "too-large",
    415: "unsupported-media-type",
}


async def _http_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, f"http-{error.status_code}")
    return problem(error.status_code, code, error.detail, error.headers)


async def _our_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, VisavisError)
    return problem_of(error)


async def _unexpected_problem(_request: Request, error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return problem(500, "internal-error", "Something went wrong here; it has been noted.")


class _SecurityHeaders:
    """Headers that every answer has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)

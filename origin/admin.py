"""The admin API, under /v1/admin: what there is, and what an operator may do about it.

| request | answer |
|---|---|
| `GET sessions` | `{"sessions": [{id, character, mode, pop, epoch, opened, bound, candidates, created_at, key}]}` |
| `DELETE sessions/{id}` | 204; the viewer is told that it was ended, within a second |
| `GET pops` | `{"pops": [{name, url, state, load, sessions, capacity, silent_s, region, carrier, protocols, …}]}` |
| `GET workers` | `{"workers": [...]}`, whatever the runner of sessions reports; empty where it has none |
| `GET budget` | `{"turns", "total_ms", "stages": [{name, title, target_ms, median_ms}]}` of the last answered turns |
| `GET keys` | `{"keys": [{id, name, modes, characters, transports, regions, admin, sessions_max, …}]}` |
| `POST keys` | 201, the key and its `secret`, which is never shown again; body: `origin.api_keys.KeyWish` |
| `POST keys/{id}/rotate` | `{"id", "secret"}`; body `{"grace_s"?}`: how long the old secret stays good |
| `DELETE keys/{id}` | `{"id", "sessions_ended"}` |
| `GET signing-keys` | `{"current", "next", "previous"}`: key ids |
| `POST signing-keys/rotate` | the same, afterwards |

Who asks sends `Authorization: Bearer` with an admin key. Errors are problem documents. Times are seconds since 1970.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.errors import ConfigError
from core.fabric.bus import Bus
from origin.access import Access
from origin.api_keys import ApiKeys, KeyWish
from origin.broker import Broker
from origin.key_rotation import rotate
from origin.problems import ProblemError
from origin.tokens import Signer, SigningKeys
from origin.turn_log import TurnLog

__all__ = ["admin_routes"]

_log = logging.getLogger(__name__)
_BODY_BYTES_MAX: Final = 4_096

Handler = Callable[[Request], Awaitable[Response]]


class _Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    grace_s: int = 3_600


Body = TypeVar("Body", KeyWish, _Rotation)


def admin_routes(
    broker: Broker, keys: ApiKeys, access: Access, signer: Signer, bus: Bus | None, turns: TurnLog
) -> list[Route]:
    """The routes of the module docstring."""
    admin = _Admin(broker, keys, signer, bus, turns)

    def guarded(handler: Handler) -> Handler:
        async def admitted(request: Request) -> Response:
            await access.admit_admin(request)
            await broker.pops.start()
            await keys.start()
            response = await handler(request)
            response.headers["Cache-Control"] = "no-store"
            return response

        return admitted

    table: list[tuple[str, str, Handler]] = [
        ("GET", "sessions", admin.sessions),
        ("DELETE", "sessions/{session_id}", admin.kick),
        ("GET", "pops", admin.pops),
        ("GET", "workers", admin.workers),
        ("GET", "budget", admin.budget),
        ("GET", "keys", admin.keys),
        ("POST", "keys", admin.create_key),
        ("POST", "keys/{key_id}/rotate", admin.rotate_key),
        ("DELETE", "keys/{key_id}", admin.revoke_key),
        ("GET", "signing-keys", admin.signing_keys),
        ("POST", "signing-keys/rotate", admin.rotate_signing),
    ]
    return [Route(f"/v1/admin/{path}", guarded(handler), methods=[method]) for method, path, handler in table]


class _Admin:
    def __init__(self, broker: Broker, keys: ApiKeys, signer: Signer, bus: Bus | None, turns: TurnLog) -> None:
        self._broker = broker
        self._keys = keys
        self._signer = signer
        self._bus = bus
        self._turns = turns

    async def sessions(self, request: Request) -> Response:
        rows = [
            {
                "id": session_id,
                "character": record.character,
                "mode": record.mode,
                "pop": record.pop or None,
                "epoch": record.epoch,
                "opened": record.epoch > 0,
                "bound": bool(record.thumbprint),
                "candidates": list(record.candidates),
                "created_at": record.created_at,
                "key": record.key or None,
            }
            for session_id, record in await self._broker.records()
        ]
        return JSONResponse({"sessions": rows})

    async def kick(self, request: Request) -> Response:
        session_id = request.path_params["session_id"]
        await self._broker.kick(session_id)
        _log.info("a session was ended by an operator", extra={"session": session_id})
        return Response(status_code=204)

    async def pops(self, request: Request) -> Response:
        return JSONResponse({"pops": self._broker.pops.report()})

    async def workers(self, request: Request) -> Response:
        return JSONResponse({"workers": self._broker.sessions.report()})

    async def budget(self, request: Request) -> Response:
        return JSONResponse(self._turns.report())

    async def keys(self, request: Request) -> Response:
        return JSONResponse({"keys": self._keys.report()})

    async def create_key(self, request: Request) -> Response:
        wish = await _read(request, KeyWish)
        key_id, secret = await self._keys.create(wish)
        _log.info("an API key was created", extra={"key": key_id})
        return JSONResponse({"id": key_id, "secret": secret, **msgspec.to_builtins(wish)}, 201)

    async def rotate_key(self, request: Request) -> Response:
        key_id = request.path_params["key_id"]
        secret = await self._keys.rotate(key_id, (await _read(request, _Rotation)).grace_s)
        _log.info("an API key was rotated", extra={"key": key_id})
        return JSONResponse({"id": key_id, "secret": secret})

    async def revoke_key(self, request: Request) -> Response:
        key_id = request.path_params["key_id"]
        await self._keys.revoke(key_id)
        ended = await self._broker.kick_key(key_id)
        _log.info("an API key was revoked", extra={"key": key_id, "sessions": ended})
        return JSONResponse({"id": key_id, "sessions_ended": ended})

    async def signing_keys(self, request: Request) -> Response:
        return JSONResponse(self._rotating().roles())

    async def rotate_signing(self, request: Request) -> Response:
        keys = self._rotating()
        try:
            rotate(keys, self._bus, self._broker.clock.wall())
        except ConfigError as error:
            raise ProblemError(500, "keys-not-written", f"{error}.") from None
        return JSONResponse(keys.roles())

    def _rotating(self) -> SigningKeys:
        if not isinstance(self._signer, SigningKeys):
            raise ProblemError(409, "one-signing-key", "This origin has one signing key, which cannot be rotated.")
        return self._signer


async def _read(request: Request, kind: type[Body]) -> Body:
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > _BODY_BYTES_MAX:
                raise ProblemError(413, "body-too-large", f"A request has at most {_BODY_BYTES_MAX} bytes.")
    except ClientDisconnect:
        raise ProblemError(400, "client-gone", "The request ended early.") from None
    try:
        return msgspec.json.decode(bytes(body) or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(400, "bad-request", f"The body is not what is expected: {error}.") from None

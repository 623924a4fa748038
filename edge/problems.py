"""HTTP errors as problem documents (RFC 9457), each with a stable `code`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from core.errors import AdmissionError, FabricError, RemoteProtocolError, VisavisError

__all__ = ["problem", "problem_of"]

_ADMISSION_STATUS: Final = {
    "wrong-audience": 403,
    "wrong-session": 403,
    "wrong-scope": 403,
    "session-exists": 409,
    "superseded": 409,
    "overloaded": 503,
    "draining": 503,
    "keys-unavailable": 503,
}
_PROTOCOL_STATUS: Final = {
    "bad-sdp": 400,
    "bad-candidate": 400,
    "sdp-too-large": 413,
}
_RETRY_AFTER_S: Final = 2


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document.

    Args:
        status: HTTP status.
        code: short stable word in kebab-case.
        detail: one or two sentences for people.
        headers: more response headers.
    """
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    if detail:
        document["detail"] = detail
    return Response(
        json.dumps(document),
        status_code=status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def problem_of(error: VisavisError) -> Response:
    """The problem document of an error raised on purpose: the viewer's fault is 4xx, ours and the origin's 503."""
    if isinstance(error, AdmissionError):
        status = _ADMISSION_STATUS.get(error.code, 401)
        headers: dict[str, str] = {}
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        if status == 503:
            headers["Retry-After"] = str(_RETRY_AFTER_S)
        return problem(status, error.code, str(error), headers)
    if isinstance(error, RemoteProtocolError):
        return problem(_PROTOCOL_STATUS.get(error.code, 422), error.code, str(error))
    if isinstance(error, FabricError):
        detail = "The origin cannot be reached right now; try again."
        return problem(503, f"fabric-{error.code}", detail, {"Retry-After": str(_RETRY_AFTER_S)})
    return problem(500, "internal-error", "")

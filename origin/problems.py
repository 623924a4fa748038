"""HTTP errors as RFC 9457 problem documents with a stable `code`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse

__all__ = ["ProblemError", "problem_response"]


class ProblemError(Exception):
    """A request that cannot be served.

    Attributes:
        status: HTTP status.
        code: short stable word in kebab-case.
        detail: one sentence that says what to do.
        headers: extra response headers.
    """

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


def problem_response(problem: ProblemError) -> JSONResponse:
    """The response for a problem."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
    }
    return JSONResponse(
        body,
        problem.status,
        headers={**problem.headers, "Cache-Control": "no-store"},
        media_type="application/problem+json",
    )

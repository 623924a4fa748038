"""The operator's console: static files under /admin; all it shows comes from the admin API, with the operator's key."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

__all__ = ["console_routes"]

_FILES: Final = {
    "": ("index.html", "text/html; charset=utf-8"),
    "console.css": ("console.css", "text/css; charset=utf-8"),
    "console.js": ("console.js", "text/javascript; charset=utf-8"),
    "land.svg": ("land.svg", "image/svg+xml"),
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def console_routes() -> list[Route]:
    """`/admin/` and what the page loads. They hold no secret: who may look is asked by the admin API."""
    return [
        Route("/admin", _to_page, methods=["GET"]),
        Route("/admin/{name:path}", _file, methods=["GET"]),
    ]


async def _to_page(request: Request) -> Response:
    return RedirectResponse("/admin/")


async def _file(request: Request) -> Response:
    found = _FILES.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404, "Not Found")
    name, kind = found
    return Response((files(__package__) / name).read_bytes(), media_type=kind, headers=_HEADERS)

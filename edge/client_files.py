"""The built client over HTTP: right types, long caching for what is named by its content, strict page policy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

__all__ = ["ClientFiles", "content_security_policy"]

_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".glb": "model/gltf-binary",
    ".vrm": "model/gltf-binary",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_NOT_BUILT: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Visavis is not built yet</title>
<body style="font: 1.1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 15vh auto; padding: 0 1.5rem">
<h1>The page is not built yet</h1>
<p>This POP is running, but its browser client is missing.
Run <code>make setup</code> in the project's folder, then reload this page.</p>
</body></html>
"""


def content_security_policy(connect_sources: tuple[str, ...]) -> str:
    """The page's policy: its own scripts and workers, and connections to `connect_sources` only."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "worker-src 'self' blob:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "media-src 'self' blob: mediastream:",
            "manifest-src 'self'",
            " ".join(("connect-src 'self'", *dict.fromkeys(connect_sources))),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
        )
    )


class ClientFiles(StaticFiles):
    """Serves a folder that may be built after the POP has started.

    Args:
        directory: the built client, index.html in it.
        policy: Content-Security-Policy of its pages.
    """

    def __init__(self, directory: Path, policy: str) -> None:
        super().__init__(directory=directory, html=True, check_dir=False)
        self.config_checked = True  # a folder that is missing has an answer of its own below
        self._root = directory
        self._page_headers = {
            "Content-Security-Policy": policy,
            "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
            "Cross-Origin-Opener-Policy": "same-origin",
        }

    async def get_response(self, path: str, scope: Scope) -> Response:
        """See StaticFiles.get_response; adds types, caching and security headers."""
        if path in (".", "index.html") and not (self._root / "index.html").is_file():
            return HTMLResponse(_NOT_BUILT, status_code=503, headers={"Cache-Control": "no-store", "Retry-After": "5"})
        response = await super().get_response(path, scope)
        name = "index.html" if path == "." else path
        media_type = _TYPES.get(Path(name).suffix.lower())
        if media_type is not None and response.status_code == 200:
            response.headers["Content-Type"] = media_type
        hashed = name.startswith("assets/") and response.status_code in (200, 206, 304)
        response.headers["Cache-Control"] = _IMMUTABLE if hashed else "no-cache"
        if response.headers.get("Content-Type", "").startswith("text/html"):
            response.headers.update(self._page_headers)
        if name.startswith("sdk/"):
            response.headers["Access-Control-Allow-Origin"] = "*"  # other sites may embed the SDK
        return response

"""Where the fabric's socket is in a runtime directory, for whoever makes it and whoever looks for it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

__all__ = ["socket_in"]

_SOCKET_PATH_BYTES_MAX: Final = 100
"""Linux allows 107, macOS 103."""


def socket_in(directory: Path) -> Path:
    """The socket of this runtime directory, absolute; nothing is made.

    Where the path would be too long for a socket it is in the user's own temporary directory, under a name that is
    always the same for the same runtime directory: an origin that starts again finds its records there, and operators
    their admin key.
    """
    path = directory.absolute() / "fabric.sock"
    whole = os.fsencode(path)
    if len(whole) <= _SOCKET_PATH_BYTES_MAX:
        return path
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - a private folder in it
    return base / f"visavis-{os.getuid()}-{hashlib.sha256(whole).hexdigest()[:16]}" / path.name

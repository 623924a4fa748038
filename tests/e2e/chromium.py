"""Where Chromium is, and what is said when there is none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["STATIC", "find_chromium", "unavailable"]

STATIC = Path(__file__).parents[2] / "edge" / "static"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Path of the machine's Chromium; the environment's CHROMIUM comes first."""
    if path := os.environ.get("CHROMIUM"):
        return path
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def unavailable(reason: str) -> NoReturn:
    """Skip with one clear line; with STRICT=1 fail instead."""
    if os.environ.get("STRICT") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)

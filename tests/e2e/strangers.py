"""Programs of other people, run by Node: where they are, how they are started, and what is said when there are none."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import httpx

from tests.e2e.chromium import unavailable

__all__ = ["PROGRAMS", "node", "plain_ticket", "run_program"]

PROGRAMS: Final = Path(__file__).parents[1] / "strangers"
_NODE_MODULES: Final = PROGRAMS / "node_modules" / ".package-lock.json"


def node() -> str:
    """The Node that came with the Python packages: new enough on any machine. Skips where the packages are missing."""
    path = Path(sys.prefix) / "bin" / "node"
    if not path.exists():
        unavailable(f"no Node in {path.parent}: run `make setup`")
    if not _NODE_MODULES.exists():
        unavailable("the strangers' packages are not installed: `make test` installs them (npm)")
    return str(path)


async def plain_ticket(origin_url: str) -> dict[str, Any]:
    """A ticket that is bound to no key, as a server gets it to hand it on."""
    async with httpx.AsyncClient() as http:
        response = await http.post(f"{origin_url}/v1/sessions", json={})
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found


async def run_program(name: str, *arguments: str, secret: str, timeout_s: float = 40.0) -> list[dict[str, Any]]:
    """Run one of PROGRAMS to its end; `secret` goes in on standard input, out of sight of other processes.

    Returns: the JSON objects it printed.
    """
    process = await asyncio.create_subprocess_exec(
        node(),
        str(PROGRAMS / name),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
    )
    try:
        output, complaints = await asyncio.wait_for(process.communicate(secret.encode()), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()[-2_000:]
    return [json.loads(line) for line in output.splitlines()]

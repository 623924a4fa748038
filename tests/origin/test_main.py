from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

from core.errors import ConfigError
from core.host.config import load_config
from origin.config import OriginConfig, SttConfig
from origin.dialogue.services import check_services


def test_configuration() -> None:
    config = load_config(OriginConfig, section="origin", environ={}, overrides=["origin.llm.service=openai"])
    assert (config.port, config.llm.service, config.allow_local) == (8081, "openai", True)
    with pytest.raises(ConfigError, match=r"origin\.llm\.modle"):
        load_config(OriginConfig, section="origin", environ={}, overrides=["origin.llm.modle=x"])
    with pytest.raises(ConfigError, match="VISAVIS_ORIGIN__LLM__API_KEY"):
        load_config(OriginConfig, section="origin", environ={}, overrides=["origin.llm.api_key=x"])
    keys = load_config(OriginConfig, section="origin", environ={"VISAVIS_ORIGIN__API_KEYS": "a,b"}).api_keys
    assert keys == ("a", "b")


def test_unknown_services_are_refused_by_name() -> None:
    check_services(OriginConfig())
    with pytest.raises(ConfigError, match="known are openai, pocketsphinx"):
        check_services(OriginConfig(stt=SttConfig(service="whisperer")))


async def _start(tmp_path: Path, port: int) -> asyncio.subprocess.Process:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "origin",
        "--port",
        str(port),
        "--fabric",
        str(tmp_path / "fabric.sock"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )


async def test_it_serves_and_stops_within_two_seconds(tmp_path: Path) -> None:
    process = await _start(tmp_path, 0)
    assert process.stdout is not None
    async with asyncio.timeout(40):
        line = (await process.stdout.readline()).decode()
    url = line.split()[-1]
    async with httpx.AsyncClient(base_url=url) as client:
        for _ in range(100):
            try:
                response = await client.get("/healthz")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.02)
        assert response.status_code == 200
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert time.monotonic() - began < 2.0
    assert b"Traceback" not in errors


async def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await _start(tmp_path, port)
        async with asyncio.timeout(20):
            out, errors = await process.communicate()
    assert process.returncode == 2 and out == b""
    assert errors.decode().count("\n") == 1 and f"port {port}" in errors.decode()

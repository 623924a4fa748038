"""Servers as child processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.fabric import nats_server
from core.fabric.nats_server import NatsServer, NatsServerSpec, find_server, render
from tests.core.fabric.conftest import Nats, free_ports


def spec(folder: Path) -> NatsServerSpec:
    port, http_port, leaf_port = free_ports(3)
    return NatsServerSpec(name="hub", port=port, http_port=http_port, leaf_port=leaf_port, directory=folder / "hub")


def test_an_acknowledged_write_is_on_the_disk(tmp_path: Path) -> None:
    assert "sync_interval: always" in render(spec(tmp_path))


def test_only_loopback_is_listened_on(tmp_path: Path) -> None:
    lines = [line for line in render(spec(tmp_path)).splitlines() if "listen:" in line or "http:" in line]
    assert len(lines) == 3
    assert all("127.0.0.1:" in line for line in lines)


def test_the_program_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match="visavis\\[nats\\]"):
        find_server()


def test_a_port_that_is_taken(nats_servers: Nats, tmp_path: Path) -> None:
    port, http_port = free_ports(2)
    taken = NatsServerSpec(name="x", port=nats_servers.hub.spec.port, http_port=http_port, directory=tmp_path / "x")
    server = NatsServer(taken)
    with pytest.raises(ConfigError, match=r"server\.log says why"):
        server.start()
    assert "address already in use" in (tmp_path / "x" / "server.log").read_text()
    server.stop()  # twice is once
    assert port


def test_as_a_process_it_ends_when_told(tmp_path: Path) -> None:
    wanted = spec(tmp_path)
    command = [
        sys.executable, "-m", nats_server.__name__, "hub", "--port", str(wanted.port),
        "--http-port", str(wanted.http_port), "--directory", str(wanted.directory),
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as process:
        probe = NatsServer(wanted)
        while not probe.healthy():
            assert process.poll() is None
        assert not probe.linked()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not probe.healthy()

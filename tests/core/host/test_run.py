from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.host import run
from core.host.cli import Parser
from core.host.config import setting
from core.host.supervisor import ChildSpec
from tests.core.host.test_supervisor import free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    host: str = "127.0.0.1"
    port: int = 8081
    fabric: Path = Path("run/fabric.sock")
    issuer: str = "visavis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    host: str = "127.0.0.1"
    port: int = 8080
    fabric: Path = Path("run/fabric.sock")
    origin_url: str = "http://127.0.0.1:8081"
    issuer: str = setting("")


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    points = [
        metadata.EntryPoint(name.lower(), f"{__name__}:{name}", "visavis.sections") for name in ("Origin", "Edge")
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    monkeypatch.chdir(tmp_path)


def plan(*arguments: str) -> tuple[dict[str, ChildSpec], str]:
    parser: argparse.ArgumentParser = Parser(prog="visavis")
    run.register(parser.add_subparsers())
    options = parser.parse_args(["run", *arguments])
    config = run.read(options)
    specs, url = run.plan(config, options)
    return {spec.name: spec for spec in specs}, url


def given(spec: ChildSpec) -> dict[str, str]:
    pairs = [argument.partition("=") for argument in spec.arguments if "=" in argument]
    return {name: value for name, _, value in pairs}


def test_both_get_one_fabric_and_know_each_other() -> None:
    one, two = str(free_port()), str(free_port())
    specs, url = plan("--port", one, "--origin-port", two)
    assert list(specs) == ["origin", "edge"]
    assert url == f"http://localhost:{one}/"
    origin, edge = given(specs["origin"]), given(specs["edge"])
    assert origin["origin.port"] == two
    assert edge["edge.port"] == one
    assert edge["edge.origin_url"] == f"http://127.0.0.1:{two}"
    assert edge["edge.issuer"] == "visavis"
    assert origin["origin.fabric"] == edge["edge.fabric"]
    assert Path(origin["origin.fabric"]).parent.is_dir()
    assert (specs["edge"].host, specs["edge"].port) == ("127.0.0.1", int(one))


def test_port_0_is_any_free_port() -> None:
    specs, url = plan("--port", "0", "--origin-port", "0")
    assert specs["edge"].port > 0
    assert specs["edge"].port != specs["origin"].port
    assert str(specs["edge"].port) in url


def test_what_somebody_has_set_stays() -> None:
    specs, _ = plan(
        "--port=0", "--origin-port=0", "--set", "edge.origin_url=https://voice.example", "--set", "edge.issuer=them"
    )
    edge = given(specs["edge"])
    assert (edge["edge.origin_url"], edge["edge.issuer"]) == ("https://voice.example", "them")


def test_all_interfaces_are_asked_on_loopback() -> None:
    specs, url = plan("--port=0", "--origin-port=0", "--host", "0.0.0.0")
    assert specs["edge"].host == "127.0.0.1"
    assert url.startswith("http://localhost:")


def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            plan("--port", str(port), "--origin-port", "0")
        assert str(caught.value) == f"port {port} on 127.0.0.1 is taken; choose another with --port PORT"
        with pytest.raises(ConfigError, match="choose another with --origin-port PORT"):
            plan("--port", "0", "--origin-port", str(port))


def test_one_port_for_both_is_refused() -> None:
    port = str(free_port())
    with pytest.raises(ConfigError, match="cannot both use"):
        plan("--port", port, "--origin-port", port)


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(ConfigError, match=r"port \d+ on 192\.0\.2\.1 cannot be used"):
        plan("--port", str(free_port()), "--origin-port", "0", "--host", "192.0.2.1")


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another with --directory"):
        plan("--port=0", "--origin-port=0", "--directory", str(tmp_path / "file" / "below"))


def test_a_directory_too_deep_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    arguments = ("--port=0", "--origin-port=0", "--directory", str(tmp_path / ("d" * 120)))
    monkeypatch.setattr("core.host.directory._SOCKET_PATH_BYTES_MAX", len(str(tmp_path)) + 60)
    fabric = Path(given(plan(*arguments)[0]["edge"])["edge.fabric"])
    assert fabric.parent.parent == tmp_path and fabric.parent.stat().st_mode & 0o777 == 0o700
    assert given(plan(*arguments)[0]["edge"])["edge.fabric"] == str(fabric), "its records are found again"
    fabric.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="is not private to you"):
        plan(*arguments)


def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    """The whole of `_supervise` as a process of its own, with a child that answers."""
    port = free_port()
    program = (
        "import asyncio\nfrom pathlib import Path\n"
        "from core.host.run import RunConfig, supervise\nfrom core.host.supervisor import ChildSpec\n"
        f"port = {port}\n"
        "module, arguments = 'tests.core.host.children', [str(port), 'plain']\n"
        "spec = ChildSpec(name='child', module=module, arguments=arguments, port=port)\n"
        "raise SystemExit(asyncio.run(supervise([spec], RunConfig(), 'http://localhost:1/')))\n"
    )
    root = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert "open http://localhost:1/" in "".join(lines)
        started = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == 0
        assert time.monotonic() - started < 3
        assert process.stderr.read().splitlines() == ["child │ child plain begins"]

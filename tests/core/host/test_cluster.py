"""A whole cluster: what is started, that it serves, and that nothing is left when it ends."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.host import cluster
from core.host.cli import Parser
from core.host.run import RunConfig
from core.host.supervisor import ChildSpec
from origin.config import OriginConfig
from tests.core.host.test_supervisor import alive

ROOT = Path(__file__).parents[3]


def plan(folder: Path, *arguments: str) -> list[ChildSpec]:
    parser: argparse.ArgumentParser = Parser(prog="visavis")
    cluster.register(parser.add_subparsers())
    return cluster.plan(RunConfig(directory=folder), parser.parse_args(["run-cluster", *arguments]))[0]


def test_each_pop_has_its_own_leaf_and_the_origin_the_hub(tmp_path: Path) -> None:
    specs = {spec.name: spec for spec in plan(tmp_path)}
    assert list(specs) == ["nats hub", "nats pop-a", "nats pop-b", "origin", "edge pop-a", "edge pop-b"]
    urls = [
        next(argument for argument in specs[name].arguments if argument.startswith("fabric.url="))
        for name in ("origin", "edge pop-a", "edge pop-b")
    ]
    assert len(set(urls)) == 3
    for name, url in zip(("nats hub", "nats pop-a", "nats pop-b"), urls, strict=True):
        assert url.rpartition(":")[2] in specs[name].arguments
    assert len({spec.port for spec in specs.values()}) == 6


def test_what_somebody_sets_reaches_all(tmp_path: Path) -> None:
    for spec in plan(tmp_path, "--set", "edge.capacity=3")[3:]:
        assert "edge.capacity=3" in spec.arguments


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="is taken"):
            plan(tmp_path, "--port", str(taken.getsockname()[1]))


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another with --directory"):
        plan(tmp_path / "file")


async def test_it_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "core.host.cli", "run-cluster", "--directory", str(tmp_path),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            while b"is running" not in (line := await process.stdout.readline()):
                assert line, (await process.stderr.read()).decode() if process.stderr else ""
        urls = [word for word in line.decode().split() if word.startswith("http")]
        assert len(urls) == 2
        children = await asyncio.to_thread(descendants, process.pid)
        assert len(children) >= 9  # six processes, and a NATS server under each of three
        workers = await asyncio.to_thread(three_workers, urls[0])
        ticket = await asyncio.to_thread(ask_ticket, urls[0])
        assert ticket["pops"][0]["name"] in ("pop-a", "pop-b")
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await process.communicate()
    assert process.returncode == 0
    assert [pid for pid in (*children, *workers) if alive(pid)] == []


def three_workers(page: str) -> list[int]:
    """Waits until their slots are warm. Returns: their pids, which are none of the cluster's descendants'."""
    with urllib.request.urlopen(f"{page}config.json", timeout=10) as answer:
        origin = json.load(answer)["origin_url"]
    wanted = f'origin_pool_slots{{state="warm"}} {3 * OriginConfig().slots_per_worker}.0'
    deadline = time.monotonic() + 60.0
    while wanted not in (text := urllib.request.urlopen(f"{origin}/metrics", timeout=10).read().decode()):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode().split("\0") if entry.name.isdigit() else []
            if "origin.workers" in words and any(origin.rpartition(":")[2] in word for word in words):
                found.append(int(entry.name))
    assert len(found) == 3
    return found


def ask_ticket(page: str) -> dict[str, list[dict[str, str]]]:
    with urllib.request.urlopen(f"{page}config.json", timeout=10) as answer:
        origin = json.load(answer)["origin_url"]
    request = urllib.request.Request(f"{origin}/v1/sessions", data=b"{}", method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as answer:
        ticket: dict[str, list[dict[str, str]]] = json.load(answer)
    return ticket


def descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found

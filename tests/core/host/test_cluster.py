"""A whole cluster: what is started, that sessions move in it and outlive its hub, and that nothing is left of it."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.fabric.stepping import perform
from core.host import cluster
from core.host.cli import Parser
from core.host.run import RunConfig
from core.host.supervisor import ChildSpec
from core.limits import HANDOFF_OVERLAP_S_MAX
from core.session.handoff_messages import BROKER_SUBJECT, Answer, Move, Moved, decode_answer, encode_handoff
from core.session.heart import decode_heart, heart_key
from loadtests.cluster import Cluster, cluster_stack
from loadtests.viewer import Viewer, fetch_ticket
from origin.config import OriginConfig
from origin.workers.leases import look_at
from tests.core.host.test_supervisor import alive
from tests.origin.workers.test_stack import LINES, answered, words


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


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with cluster_stack("origin.greet=false") as cluster:
        pids = list(cluster.children())
        assert len(pids) >= 9  # six processes, and a NATS server under each of three
        pids += until_three_are_warm(cluster)
        yield cluster
        pids += [*cluster.children(), *cluster.workers()]
    assert [pid for pid in pids if alive(pid)] == [], "nobody is left"


def until_three_are_warm(cluster: Cluster) -> list[int]:
    """Gives the workers' pids, which are none of the cluster's descendants'."""
    wanted = f'origin_pool_slots{{state="warm"}} {3 * OriginConfig().slots_per_worker}.0'
    deadline = time.monotonic() + 60.0
    while wanted not in (text := urllib.request.urlopen(f"{cluster.origin_url}/metrics", timeout=10).read().decode()):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    assert len(cluster.workers()) == 3
    return list(cluster.workers())


async def asked_of(viewer: Viewer, text: str, words_before: int) -> float:
    """Asks. Returns: when, once so many words of the answer were heard."""
    assert await viewer.wait_until(lambda viewer: viewer.ready, 5.0)
    asked = viewer.send_text(text)
    assert await viewer.wait_until(lambda viewer: len(words(viewer, asked)) >= words_before, 8.0)
    return asked


async def said_to_its_end(viewer: Viewer, asked: float) -> bool:
    """Every word of a line, each once, in order."""
    return await viewer.wait_until(
        lambda viewer: " ".join(str(event.data["text"]) for event in words(viewer, asked)) in LINES, 20.0
    )


async def moved(cluster: Cluster, viewer: Viewer) -> Answer:
    move = Move(session_id=viewer.ticket.session_id, epoch=viewer.ticket.epoch, pop=viewer.ticket.pop_name)
    async with cluster.joined() as fabric:
        return decode_answer(await fabric.bus.request(BROKER_SUBJECT, encode_handoff(move), 20.0))


def test_operators_find_it(running: Cluster) -> None:
    found = running.directory / "visavis.toml"
    for what, names in (("pops", set(running.pops)), ("workers", {"worker-0", "worker-1", "worker-2"})):
        command = [sys.executable, "-m", "core.host.cli", what, "list", "--json", "--config", str(found)]
        listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        rows = listed["pops"] if what == "pops" else listed
        assert {row["name"] for row in rows} == names


async def test_a_session_moves_from_leaf_to_leaf_in_mid_sentence(running: Cluster) -> None:
    async with Viewer.connect(origin=running.origin_url, transport="webtransport", microphone=False) as viewer:
        before = viewer.ticket.pop_name
        asked = await asked_of(viewer, "tell me about mars", 3)
        answer = await moved(running, viewer)
        assert isinstance(answer, Moved), answer
        assert {before, answer.pop} == {viewer.ticket.pop_name, before} == set(running.pops)
        assert answer.overlap_s <= HANDOFF_OVERLAP_S_MAX
        assert await said_to_its_end(viewer, asked)


async def test_sessions_outlive_their_hub(running: Cluster) -> None:
    async with Viewer.connect(origin=running.origin_url, microphone=False) as viewer:
        second = Viewer(await fetch_ticket(running.origin_url), microphone=False)
        asked = await asked_of(viewer, "tell me about mars", 3)
        killed = viewer.now
        running.kill_hub()
        try:
            await second.start()
            assert await second.wait_until(lambda viewer: viewer.ready and viewer.screen.units > 3, 3.0)
            await asyncio.sleep(max(0.0, killed + 2.0 - viewer.now))
            assert any(block.voice and block.at > killed + 0.5 for block in viewer.recording.heard)
            running.return_hub()
            assert await said_to_its_end(viewer, asked)
            for one in (viewer, second):
                assert await one.wait_until(functools.partial(answered, one.send_text("hello")), 5.0)
            for one in (viewer, second):
                assert await leased(running, one.ticket.session_id)
            assert isinstance(await moved(running, viewer), Moved)
        finally:
            await second.aclose()


async def leased(cluster: Cluster, session_id: str) -> bool:
    """It has a record, and whoever answers in it lives."""
    async with cluster.joined() as fabric:
        await fabric.store.get(f"sessions.{session_id}")
        lease = await perform(fabric.store, look_at(session_id))
        if lease is None:
            return False
        heart = decode_heart((await fabric.store.get(heart_key(lease.holder))).value or b"")
        return heart.life == lease.life and not heart.dead

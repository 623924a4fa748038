"""A POP of two processes: one page, two places, and a death that costs a viewer about a second."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from core.errors import ConfigError
from core.fabric.config import FabricConfig
from core.fabric.opening import join_fabric
from edge.config import EdgeConfig
from edge.processes import plan_processes, process_count
from loadtests.stack import Stack, local_stack
from loadtests.tickets import http_client
from loadtests.viewer import Viewer


def test_every_process_has_a_name_and_a_port_of_its_own_and_they_share_the_page() -> None:
    specs = plan_processes(EdgeConfig(name="fra", port=0, processes=3, capacity=50), ["--set", "edge.name=fra"])
    assert [spec.name for spec in specs] == ["fra-1", "fra-2", "fra-3"]
    assert len({spec.port for spec in specs}) == 3
    settings = [dict(argument.split("=", 1) for argument in spec.arguments if "=" in argument) for spec in specs]
    assert [one["edge.name"] for one in settings] == ["fra-1", "fra-2", "fra-3"]
    assert {one["edge.capacity"] for one in settings} == {"17"}
    assert {one["edge.processes"] for one in settings} == {"1"}
    assert len({one["edge.page_port"] for one in settings}) == 1
    assert process_count(EdgeConfig(processes=0)) == len(os.sched_getaffinity(0))


def test_who_cannot_be_reached_apart_is_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match="process"):
        plan_processes(EdgeConfig(processes=2, port=0, public_url="https://pop.example.org"), [])
    with pytest.raises(ConfigError, match="webtransport_port"):
        plan_processes(EdgeConfig(processes=2, port=0, webtransport_port=4433), [])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="taken"):
            plan_processes(EdgeConfig(processes=2, port=taken.getsockname()[1]), [])
    named = plan_processes(EdgeConfig(processes=2, port=0, public_url="https://pop-{process}.example.org"), [])
    assert "edge.public_url=https://pop-2.example.org" in named[1].arguments


async def _records(stack: Stack) -> set[str]:
    async with await join_fabric(FabricConfig(), stack.directory / "fabric.sock") as fabric:
        return {key.removeprefix("pops.") for key in await fabric.store.keys("pops.")}


def _process_of(stack: Stack, name: str) -> int:
    [pid] = [pid for pid, line in stack.children().items() if f"edge.name={name}" in line and "edge.page_port" in line]
    return pid


async def test_one_process_dies_its_viewer_goes_on_at_the_other_and_it_comes_back() -> None:
    with local_stack("edge.processes=2", "edge.name=duo", "origin.greet=false") as stack:
        for _ in range(600):
            if await _records(stack) == {"duo-1", "duo-2"}:
                break
            await asyncio.sleep(0.05)  # the page is there with the first of them
        assert await _records(stack) == {"duo-1", "duo-2"}
        async with http_client(stack.origin_url) as http:
            page = await http.get(stack.pop_url)
            ticket = await http.post(f"{stack.origin_url}/v1/sessions", json={}, headers={"Origin": stack.pop_url})
        assert page.status_code == 200
        assert "text/html" in page.headers["content-type"]
        assert ticket.status_code == 201
        async with Viewer.connect(origin=stack.origin_url, microphone=False) as viewer:
            await viewer.wait_until(lambda one: one.ready, 5.0)
            home = viewer.ticket.pop_name
            victim = _process_of(stack, home)
            surviving = asyncio.create_task(viewer.survive())
            await asyncio.sleep(0)
            os.kill(victim, signal.SIGKILL)
            away_s = await surviving
            assert viewer.ticket.pop_name != home
            assert {viewer.ticket.pop_name, home} == {"duo-1", "duo-2"}
            assert away_s <= 2.0
            for _ in range(200):
                if any("edge.name=" + home in line for pid, line in stack.children().items() if pid != victim):
                    break
                await asyncio.sleep(0.05)
            assert _process_of(stack, home) != victim

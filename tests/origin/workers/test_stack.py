"""A whole Visavis whose processes are killed under a real viewer: it hears every word once, and hardly notices."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

from loadtests.recording import ControlEvent
from loadtests.stack import Stack, local_stack
from loadtests.viewer import Viewer
from origin.dialogue.character import load_characters

LINES = {" ".join(line.split()) for intent in load_characters()["mira"].intents for line in intent.lines}


def visavis(stack: Stack, *arguments: str) -> str:
    command = [sys.executable, "-m", "core.host.cli", "workers", *arguments]
    command += ["--set", f"origin.fabric={stack.directory / 'fabric.sock'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def words(viewer: Viewer, since: float = 0.0) -> list[ControlEvent]:
    return [event for event in viewer.recording.control if event.type == "bot-tts-text" and event.at > since]


async def answer(viewer: Viewer, asked: float, timeout_s: float = 25.0) -> str:
    """All words of the answer, when it is over."""

    def over(viewer: Viewer) -> bool:
        return any(event.type == "bot-stopped-speaking" and event.at > asked for event in viewer.recording.control)

    assert await viewer.wait_until(over, timeout_s)
    return " ".join(str(event.data["text"]) for event in words(viewer, asked))


async def listed(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(await asyncio.to_thread(visavis, stack, "list", "--json"))
    return found


async def host_of(stack: Stack, session_id: str) -> dict[str, Any]:
    return next(row for row in await listed(stack) if session_id in row["sessions"])


async def heard_again(viewer: Viewer, timeout_s: float = 25.0) -> float:
    """Asks until somebody answers. Returns: when that was asked."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        asked = viewer.send_text("hello")
        if await viewer.wait_until(functools.partial(answered, asked), 3.0):
            return asked
    raise AssertionError("nobody answers")


def answered(asked: float, viewer: Viewer) -> bool:
    return bool(words(viewer, asked))


async def test_a_viewer_goes_on_talking_while_processes_are_killed_and_drained() -> None:
    with local_stack("origin.workers=2", "origin.slots_per_worker=2") as stack:
        async with Viewer.connect(origin=stack.origin_url, microphone=False) as viewer:
            session_id = viewer.ticket.session_id
            await viewer.wait_until(lambda viewer: viewer.ready, 5.0)
            pid = (await host_of(stack, session_id))["pid"]

            asked = viewer.send_text("tell me about the moon")
            assert await viewer.wait_until(lambda viewer: len(words(viewer, asked)) >= 4, 8.0)
            os.kill(pid, signal.SIGKILL)
            said = await answer(viewer, asked)
            assert said in LINES, "every word of the answer, each once, though its worker was killed in the middle"
            spoken = [event.at for event in words(viewer, asked)]
            assert max(late - early for early, late in pairwise(spoken)) < 2.0

            origin = next(pid for pid, line in stack.children().items() if " origin " in line and "core.host" in line)
            os.kill(origin, signal.SIGKILL)
            await asyncio.sleep(1.0)
            asked = await heard_again(viewer)
            assert await answer(viewer, asked), "the session goes on after the origin's restart"

            async with asyncio.timeout(30.0):  # the killed one is replaced
                while [row["state"] for row in await listed(stack)].count("warm") < 2:
                    await asyncio.sleep(0.2)
            now_at = (await host_of(stack, session_id))["name"]
            told = await asyncio.to_thread(visavis, stack, "drain", now_at)
            assert "1 of its conversations were moved" in told
            assert (await host_of(stack, session_id))["name"] != now_at
            asked = viewer.send_text("tell me about the moon")
            assert await answer(viewer, asked) in LINES
        pids = list(stack.workers())
        assert len(pids) >= 2
    assert not stack.workers(), "nobody is left"

"""What goes wrong around a running origin and POP, and what must not be lost by it."""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from core.session.state import FaceState
from loadtests.audio import read_audio
from loadtests.stack import Stack, local_stack
from loadtests.turn import ask, settle
from loadtests.viewer import Viewer, ViewerError, fetch_ticket

DATA = Path(__file__).parents[1] / "data"

_SESSIONS = 50
_WARM_UP = 12
_HEARD_S = 0.6
"""Half of the question."""
_GROWTH_BYTES_MAX = 12 * 1024 * 1024
"""Over 50 sessions; allocators do not give every page back."""


def question(name: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return read_audio(DATA / f"{name}.wav", length_s_max=10.0)


def child(stack: Stack, word: str) -> int:
    """Pid of the child process whose command line has this in it."""
    return next(pid for pid, line in stack.children().items() if word in line)


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def held(pid: int) -> tuple[int, int]:
    """Open files and threads of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), len(list(Path(f"/proc/{pid}/task").iterdir()))


async def visit_briefly(stack: Stack, *, microphone: bool) -> None:
    async with Viewer.connect(
        origin=stack.origin_url, pop=stack.pop_url, microphone=microphone, record=False
    ) as viewer:
        assert await viewer.wait_until(lambda v: v.ready and v.screen.units > 2, 10.0)


async def test_fifty_sessions_in_a_row_leave_nothing_behind(stack: Stack) -> None:
    pids = {name: child(stack, f"core.host.child {name}") for name in ("origin", "edge")}
    for index in range(_WARM_UP):
        await visit_briefly(stack, microphone=index % 2 == 0)
    await asyncio.sleep(1.0)
    before = {name: (resident_bytes(pid), held(pid)) for name, pid in pids.items()}
    for index in range(_SESSIONS):
        await visit_briefly(stack, microphone=index % 2 == 0)
    await asyncio.sleep(2.0)
    for name, pid in pids.items():
        grown = resident_bytes(pid) - before[name][0]
        print(
            f"{name}: {grown / 1024:.0f} KiB in {_SESSIONS} sessions; files, threads {before[name][1]} -> {held(pid)}"
        )
        assert grown < _GROWTH_BYTES_MAX, name
        files, threads = held(pid)
        assert files <= before[name][1][0] + 3, name
        assert threads <= before[name][1][1] + 1, name
    async with httpx.AsyncClient() as http:
        health = (await http.get(f"{stack.pop_url}/healthz")).json()
        assert health["ok"]
        assert health["links"] == 0
        assert health["sessions"] == 0
        text = (await http.get(f"{stack.pop_url}/metrics")).text
        assert re.search(r"^edge_sessions_active 0(\.0)?$", text, re.MULTILINE)


async def test_a_dead_recogniser_is_admitted_and_replaced(stack: Stack) -> None:
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url) as viewer:
        await settle(viewer, quiet_s=0.3)
        victim = child(stack, "stt_worker")

        listening_since = math.inf

        def kill_when_heard(viewer: Viewer) -> None:
            """In the middle of the question: a worker that dies before it hears anything is replaced, and hears all."""
            nonlocal listening_since
            if viewer.screen.state is not FaceState.LISTENING:
                return
            listening_since = min(listening_since, time.monotonic())
            if time.monotonic() - listening_since > _HEARD_S and victim in stack.children():
                with suppress(ProcessLookupError):  # killed a moment ago, and gone since the look
                    os.kill(victim, signal.SIGKILL)

        turn = await ask(viewer, samples=question("mars"), timeout_s=15.0, on_change=kill_when_heard)
        assert victim not in stack.children()
        assert "stt-failed" in turn.faults
        assert turn.answered, "the character says that it did not catch that"
        assert "catch" in turn.reply_text
        await settle(viewer, quiet_s=0.3)
        assert await _until(lambda: any("stt_worker" in line for line in stack.children().values()), 20.0)
        typed = await ask(viewer, text="Tell me about Mars.", timeout_s=10.0, listen_s=1.0)
        assert typed.answered
        assert "Mars" in typed.reply_text


async def test_a_dead_voice_is_replaced_and_the_session_lives(stack: Stack) -> None:
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url, microphone=False) as viewer:
        await settle(viewer, quiet_s=0.3)
        victim = child(stack, "tts_worker")
        os.kill(victim, signal.SIGKILL)
        saturn = await ask(viewer, text="Tell me about Saturn.", timeout_s=10.0, listen_s=1.0)
        assert saturn.answered, "the answer waits for the new worker"
        assert await _until(lambda: any("tts_worker" in line for line in stack.children().values()), 20.0)
        await settle(viewer, quiet_s=0.3)
        turn = await ask(viewer, text="Tell me about Mars.", timeout_s=10.0, listen_s=1.0)
        assert turn.answered
        assert "Mars" in turn.reply_text
        assert viewer.recording.undecodable == 0


async def test_garbage_datagrams_do_not_disturb_a_conversation(stack: Stack) -> None:
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url, microphone=False) as viewer:
        await settle(viewer, quiet_s=0.3)
        addresses = viewer.remote_addresses
        assert addresses
        rng = np.random.default_rng(7)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for size in [0, 1, 2, 11, 12, 13, 20, 100, 1_200] * 30:
                for address in addresses:
                    # First bytes that look like STUN (0-3), DTLS (20-63), RTP and RTCP (128-191), and anything.
                    first = int(rng.choice([0, 1, 22, 63, 128, 200, int(rng.integers(256))]))
                    body = bytes([first]) + rng.bytes(max(0, size - 1)) if size else b""
                    sender.sendto(body, address)
        turn = await ask(viewer, text="Tell me about Mars.", timeout_s=10.0, listen_s=1.0)
        assert turn.answered
        assert viewer.recording.undecodable == 0
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{stack.pop_url}/healthz")).json()["ok"]


async def test_silence_into_the_microphone_moves_nobody(stack: Stack) -> None:
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url) as viewer:
        await settle(viewer, quiet_s=0.3)
        viewer.recording.clear()
        rng = np.random.default_rng(3)
        viewer.say(rng.normal(scale=0.001, size=3 * 48_000).astype(np.float32))
        await viewer.wait_until(lambda _viewer: False, 3.5)
        assert {arrival.state for arrival in viewer.recording.arrivals} == {FaceState.IDLE}
        assert not any(event.type == "user-transcription" for event in viewer.recording.control)


async def test_a_ticket_opens_one_session_once(stack: Stack) -> None:
    ticket = await fetch_ticket(stack.origin_url, pop=stack.pop_url)
    first = Viewer(ticket, microphone=False)
    try:
        await first.start()
        again = Viewer(ticket, microphone=False)
        try:
            with pytest.raises(ViewerError, match="token-replayed"):
                await again.start()
        finally:
            await again.aclose()
        turn = await ask(first, text="hello", timeout_s=10.0, listen_s=1.0)
        assert turn.answered  # the one who came first is not disturbed
    finally:
        await first.aclose()


@pytest.mark.parametrize("forge", ["foreign session", "foreign key", "no token", "garbage"])
async def test_a_wrong_ticket_is_refused_with_a_problem_document(stack: Stack, forge: str) -> None:
    ticket = await fetch_ticket(stack.origin_url, pop=stack.pop_url)
    other = await fetch_ticket(stack.origin_url, pop=stack.pop_url)
    head, body, signature = ticket.token.split(".")
    token = {
        "foreign session": other.token,
        "foreign key": f"{head}.{body}.{signature[::-1]}",
        "no token": "",
        "garbage": "garbage",
    }[forge]
    url = f"{stack.pop_url}/v1/sessions/{urllib.parse.quote(ticket.session_id)}/webrtc"
    headers = {"Content-Type": "application/sdp", **({"Authorization": f"Bearer {token}"} if token else {})}
    async with httpx.AsyncClient() as http:
        response = await http.post(url, content="v=0\r\n", headers=headers)
    assert response.status_code in (401, 403)
    assert response.headers["content-type"].startswith("application/problem+json")
    problem = response.json()
    assert problem["code"]
    assert token == "" or token not in response.text


async def test_a_killed_origin_comes_back_and_goes_on_with_its_sessions() -> None:
    with local_stack() as stack:
        async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url, microphone=False) as viewer:
            await settle(viewer, quiet_s=0.3)
            victim = child(stack, "core.host.child origin")
            os.kill(victim, signal.SIGKILL)
            units = viewer.screen.units

            def answers() -> bool:
                if victim in stack.children():
                    return False
                with suppress(httpx.HTTPError):
                    return httpx.get(f"{stack.origin_url}/healthz", timeout=1.0).status_code == 200
                return False

            assert await _until(answers, 60.0)
            assert viewer.screen.units > units, "the face went on meanwhile"
            turn = await ask(viewer, text="Tell me about Mars.", timeout_s=20.0, listen_s=1.0)
            assert turn.answered, "the same link, the same session, no new ticket"
            assert "Mars" in turn.reply_text


async def test_an_expired_ticket_is_refused_and_its_session_freed() -> None:
    with local_stack("origin.open_s_max=1") as stack:
        ticket = await fetch_ticket(stack.origin_url, pop=stack.pop_url)
        await asyncio.sleep(2.5)
        viewer = Viewer(ticket, microphone=False)
        try:
            with pytest.raises(ViewerError, match=r"expired"):
                await viewer.start()
        finally:
            await viewer.aclose()


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "core.host.cli", "run", "--port", str(port), "--origin-port", "0"]
        done = subprocess.run(
            [*command, "--directory", str(tmp_path)], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "--port" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


async def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True

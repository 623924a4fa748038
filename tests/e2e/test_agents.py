"""Somebody else's agents with a face: the examples, started as they say themselves, against a real origin and POP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.async_api import Browser
from websockets.asyncio.client import connect

from core.limits import MEDIA_CLOCK_HZ
from core.session.state import FaceState
from loadtests.audio import read_audio
from loadtests.stack import Stack, local_stack
from loadtests.turn import Turn, ask, settle
from loadtests.viewer import Ticket, Viewer
from tests.e2e.browser import visit

pytestmark = pytest.mark.asyncio(loop_scope="package")

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests/data"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@asynccontextmanager
async def example(name: str, stack: Stack, port: int = 0) -> AsyncIterator[str]:
    """Run an example. Returns: where viewers ask it for a session."""
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / name), stack.origin_url, str(port), cwd=ROOT
    )
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                assert process.returncode is None, "the example has ended"
                await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def jaw(viewer: Viewer) -> np.ndarray:
    return np.array([drawn.jaw_open for drawn in viewer.recording.drawn])


def in_sync(turn: Turn) -> None:
    """The lips lie on the voice at the viewer as they did at the POP, to within a tick."""
    assert turn.av_offset_ms is not None
    assert abs(turn.av_offset_ms) < 25


def pitch_hz(sound: np.ndarray) -> float:
    """The strongest tone below 400 Hz."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(sound.size)))
    low = np.arange(spectrum.size) * MEDIA_CLOCK_HZ / sound.size
    return float(low[int(np.argmax(np.where((low > 60) & (low < 400), spectrum, 0)))])


async def test_thirty_lines_of_websocket_are_heard_and_seen(stack: Stack) -> None:
    async with (
        example("agent_websocket.py", stack) as address,
        Viewer.connect(origin=address, pop=stack.pop_url) as viewer,
    ):
        assert await settle(viewer, timeout_s=15.0)
        turn = await ask(viewer, text="good morning everybody")
        assert turn.reply_text == "You said good morning everybody"
        assert pitch_hz(turn.reply_audio) == pytest.approx(120, abs=6), "the agent's own voice, not the origin's"
        assert turn.first_audio_ms is not None and turn.first_audio_ms < 1_000
        in_sync(turn)
        assert jaw(viewer).max() > 0.15 and turn.faults == ()
        print("agent_websocket:", turn.av_offset_ms, turn.first_audio_ms, jaw(viewer).max())


async def test_a_pipecat_bot_has_a_face(stack: Stack) -> None:
    async with (
        example("pipecat_bot.py", stack) as address,
        Viewer.connect(origin=address, pop=stack.pop_url) as viewer,
    ):
        assert await settle(viewer, timeout_s=15.0)
        typed = await ask(viewer, text="what is a planetarium")
        assert "dome" in typed.reply_text and typed.faults == ()
        in_sync(typed)
        assert jaw(viewer).max() > 0.15
        for _ in range(2):  # a machine that is busy for a moment may spoil a reply's sound
            spoken = await ask(viewer, samples=read_audio(DATA / "mars.wav", length_s_max=10.0))
            assert "Mars" in spoken.reply_text and spoken.faults == ()
            assert "mars" in spoken.transcript.lower(), "what the bot understood is a caption"
            if spoken.av_offset_ms is not None:
                break
        in_sync(spoken)
        cut = await ask(viewer, text="tell me about saturn", listen_s=1.0)
        heard_s = cut.reply_audio.size / MEDIA_CLOCK_HZ
        assert heard_s < 2.5, "the viewer asked for silence"
        print("pipecat_bot:", typed.av_offset_ms, typed.first_audio_ms, spoken.first_audio_ms, heard_s)
        print(typed.reply_text, "|", spoken.reply_text, "|", spoken.transcript, "|", cut.reply_text)


async def test_a_mouth_whose_agent_stalls_or_dies_rests_and_the_face_lives_on(stack: Stack) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = (await http.post(f"{stack.origin_url}/v1/sessions", json={"mode": "agent"})).json()
    (pop,) = answer["pops"]
    ticket = Ticket(
        session_id=answer["session_id"], character="Mira", pop_name=pop["name"], pop_url=pop["url"], token=pop["token"]
    )
    # A voice without a word of text: its sound alone moves the mouth.
    speech = read_audio(DATA / "mars.wav", length_s_max=10.0)
    voice = np.asarray(speech * 32_000, "<i2").tobytes()
    viewer = Viewer(ticket)
    try:
        async with connect(answer["agent"]["url"]) as agent:
            await agent.send(json.dumps({"type": "hello", "token": answer["agent"]["token"], "sample_rate": 48_000}))
            await viewer.start()
            await asyncio.sleep(0.5)
            await agent.send(json.dumps({"type": "utterance-begin"}))
            await agent.send(voice)
            assert await viewer.wait_until(lambda v: any(block.voice for block in v.recording.heard), 5.0)
            await asyncio.sleep(speech.size / MEDIA_CLOCK_HZ)
            assert jaw(viewer).max() > 0.1
            await asyncio.sleep(1.0)
            viewer.recording.clear()
            await asyncio.sleep(1.0)  # in mid-utterance, without sound
            assert jaw(viewer).max() < 0.05
        await asyncio.sleep(1.5)  # the agent is gone, and may come back
        assert len(viewer.recording.arrivals) > 10, "the face lives"
        assert viewer.screen.state is FaceState.IDLE
        assert jaw(viewer).max() < 0.05
        faults = [event.data["d"]["code"] for event in viewer.recording.control if event.data.get("t") == "fault"]
        assert faults == ["agent-lost"]
    finally:
        await viewer.aclose()


async def test_the_page_talks_with_an_agent_from_elsewhere(browser: Browser) -> None:
    """As the examples say: a POP whose page may ask them, and the page with their address."""
    port = free_port()
    with local_stack(f"edge.connect_sources=http://127.0.0.1:{port}") as stack:
        async with (
            example("agent_websocket.py", stack, port) as address,
            visit(browser, f"{stack.pop_url}/?origin={address}") as page,
        ):
            await page.start(talking=False)
            await page.settled()
            await page.listen()
            await page.type("good morning")
            await page.state("speaking")
            await page.page.wait_for_selector("#captions p:has-text('You said good morning')", timeout=5_000)
            await page.page.wait_for_timeout(700)
            await page.screenshot("agent")
            heard = await page.heard("voice")
            assert max(heard.levels) > 0.01
            assert page.errors == []

"""An answer that does not end for minutes, in real time over the whole stack: memory, and whether lips stay with voice.

The model is a local server that streams a sentence several times as fast as it can be spoken, over HTTP like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ
from loadtests.bench._soak_memory import Samples, Watch, slope
from loadtests.recording import Recording
from loadtests.stack import Stack
from loadtests.turn import av_offset_ms
from loadtests.viewer import Viewer

__all__ = ["ASK", "Monologue", "model", "monologue"]

ASK = "Please tell me everything."
_WINDOW_S = 5.0
_WINDOWS_PER_COUNT = 6
"""How many windows pass until the processes are asked for their own counts again."""
_BEGIN_S_MAX = 20.0
_SENTENCE_S = 3.0
"""A sentence lasts about so long; too many are sent rather than too few."""
_AHEAD = 5
"""Times as fast as speech."""
_SENTENCES = (
    "Jupiter is the largest planet of them all, and every other one would fit inside it.",
    "Before people had maps, they found their way home by the very lights that you see above us.",
    "If you could fold the whole Milky Way onto this table, our sun would be smaller than a grain of flour.",
    "Mars has a volcano three times as high as Mount Everest, and a valley as wide as a continent.",
    "I have never been there myself, but I know somebody who built a robot that has.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monologue:
    """What came of it.

    Attributes:
        seconds: how long it was listened to.
        offsets_ms: how much later the lips were than the voice, per window of five seconds.
        lateness_ms_per_min: how much later packets came against their media time, the earliest of each window.
        slopes_kib_per_min: process → its memory.
        slopes_blocks_per_min: process → how many more pieces of memory Python's objects occupy.
        memory_kib: process → its memory from the beginning to the end, the lowest of every few windows.
        silent_windows: windows in which nothing could be compared.
    """

    seconds: float
    offsets_ms: list[float]
    lateness_ms_per_min: float
    slopes_kib_per_min: dict[str, float]
    slopes_blocks_per_min: dict[str, float]
    memory_kib: dict[str, list[float]]
    silent_windows: int


@contextlib.asynccontextmanager
async def model(seconds: float) -> AsyncIterator[str]:
    """Serve the model. Gives its base URL."""
    count = round(seconds / _SENTENCE_S) + 5

    async def words(whole: bool) -> AsyncIterator[bytes]:
        for sentence in itertools.islice(itertools.cycle(_SENTENCES), count if whole else 1):
            choice = {"index": 0, "delta": {"content": f"{sentence} "}}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
            yield f"data: {json.dumps(chunk)}\n\n".encode()
            await asyncio.sleep(_SENTENCE_S / _AHEAD)
        yield b"data: [DONE]\n\n"

    async def complete(request: Request) -> StreamingResponse:
        body = await request.json()
        return StreamingResponse(words(body["messages"][-1]["content"] == ASK), media_type="text/event-stream")

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=0)
    )
    task = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        await task


async def monologue(stack: Stack, watch: Watch, seconds: float) -> Monologue:
    """Listen for so long. Raises: ConfigError: nobody begins to speak, or the voice stops before its time."""
    samples, blocks = Samples(), Samples()
    offsets: list[float] = []
    late: list[tuple[float, float]] = []
    silent = 0
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url, microphone=False) as viewer:
        viewer.send_text(ASK)
        if not await viewer.wait_until(lambda v: any(block.voice for block in v.recording.heard[-20:]), _BEGIN_S_MAX):
            raise ConfigError("the monologue did not begin")
        began = time.monotonic()
        viewer.recording.clear()
        windows = itertools.count()
        while (now := time.monotonic() - began) < seconds:
            await asyncio.sleep(min(_WINDOW_S, seconds - now))
            minutes = (time.monotonic() - began) / 60.0
            samples.add(minutes, watch.memory())
            if next(windows) % _WINDOWS_PER_COUNT == 0:
                blocks.add(minutes, await watch.blocks())
            found, earliest = _look(viewer.recording)
            viewer.recording.clear()
            silent += found is None
            offsets += [] if found is None else [found]
            late += [] if earliest is None else [(minutes, earliest)]
            if earliest is None:
                raise ConfigError(f"the voice stopped after {minutes * 60:.0f} s")
    return Monologue(
        seconds=time.monotonic() - began,
        offsets_ms=offsets,
        lateness_ms_per_min=slope(late),
        slopes_kib_per_min=samples.slopes(),
        slopes_blocks_per_min=blocks.slopes(),
        memory_kib=samples.floors(),
        silent_windows=silent,
    )


def _look(recording: Recording) -> tuple[float | None, float | None]:
    """Offset of the lips in ms, and the earliest arrival against media time in ms; None where nothing came."""
    reply = [block for block in recording.heard if block.voice]
    voiced = {block.media_time for block in reply}
    arrivals = [a.at - a.media_time / MEDIA_CLOCK_HZ for a in recording.arrivals if a.media_time in voiced]
    return av_offset_ms(recording, reply), min(arrivals) * 1e3 if arrivals else None

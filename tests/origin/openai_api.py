"""A local server that speaks OpenAI's API for thinking, listening and speaking, and misbehaves as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Behaviour = str
"""normal, slow, error, busy (429), key (401), empty; in the middle: breaks (off), stalls, says (an error)"""
SECRET = "secret words"


@dataclass
class Api:
    """Attributes may change while it runs; `log` holds every request as (what, its text)."""

    chat: Behaviour = "normal"
    ears: Behaviour = "normal"
    voice: Behaviour = "normal"
    answer: Callable[[str], str] = lambda text: "Venus is hot. Very hot."
    transcript: str = "tell me about venus"
    word_s: float = 0.0
    log: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        text = str(body["messages"][-1]["content"])
        self.log.append(("chat", text))
        return await self._answer(self.chat, self._words(self.answer(text), self.chat), "text/event-stream")

    async def transcribe(self, request: Request) -> Response:
        self.log.append(("ears", ""))
        await request.body()
        body = JSONResponse({"text": "" if self.ears == "empty" else self.transcript})
        return await self._refusal(self.ears) or body

    async def speak(self, request: Request) -> Response:
        text = str((await request.json())["input"])
        self.log.append(("voice", text))
        return await self._answer(self.voice, self._sound(text, self.voice), "application/octet-stream")

    async def _answer(self, behaviour: Behaviour, body: AsyncIterator[bytes], kind: str) -> Response:
        return await self._refusal(behaviour) or StreamingResponse(body, media_type=kind)

    async def _refusal(self, behaviour: Behaviour) -> Response | None:
        if behaviour == "slow":
            await asyncio.sleep(5)
        status = {"error": 500, "busy": 429, "key": 401}.get(behaviour)
        if status is None:
            return None
        headers = {"Retry-After": "30"} if status == 429 else None
        return JSONResponse({"error": {"message": SECRET}}, status, headers=headers)

    async def _words(self, answer: str, behaviour: Behaviour) -> AsyncIterator[bytes]:
        words = [] if behaviour == "empty" else answer.split(" ")
        for index, word in enumerate(words):
            if behaviour != "normal" and index == len(words) // 2 + 1:
                yield b'data: {"error": {"message": "secret words"}}\n\n' if behaviour == "says" else b""
                if behaviour == "stalls":
                    await asyncio.sleep(5)
                raise ConnectionResetError
            delta = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
            choice: dict[str, Any] = {"index": 0, "delta": {"content": f"{word} "}}
            yield f"data: {json.dumps({**delta, 'choices': [choice]})}\n\n".encode()
            await asyncio.sleep(self.word_s)
        yield b"data: [DONE]\n\n"

    async def _sound(self, text: str, behaviour: Behaviour) -> AsyncIterator[bytes]:
        if behaviour == "empty":
            return
        tone = np.sin(np.arange(24_000 * len(text) // 20) * 0.06)
        pcm = (tone * 8_000).astype("<i2").tobytes()
        yield pcm[: len(pcm) // 2]
        if behaviour == "stalls":
            await asyncio.sleep(5)
        if behaviour == "breaks":
            raise ConnectionResetError
        yield pcm[len(pcm) // 2 :]


@contextlib.asynccontextmanager
async def serving(api: Api) -> AsyncIterator[Api]:
    """Serve it on loopback; its address is in `url`."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", api.complete, methods=["POST"]),
            Route("/v1/audio/transcriptions", api.transcribe, methods=["POST"]),
            Route("/v1/audio/speech", api.speak, methods=["POST"]),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=0))
    task = asyncio.create_task(server._serve([listener]))
    api.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    try:
        yield api
    finally:
        server.should_exit = True
        await task

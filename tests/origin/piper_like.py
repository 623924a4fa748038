"""A real server with the HTTP API of Piper's, whose voice is another of espeak-ng's: its true phonemes are known."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import soxr
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from core.limits import MEDIA_CLOCK_HZ
from origin.config import TtsConfig
from origin.dialogue.character import Character, Voice
from origin.dialogue.http_voice import HttpVoiceTTSService
from origin.dialogue.tts import VoiceWorker
from origin.dialogue.worker_messages import Clause


def create(config: TtsConfig, character: Character) -> HttpVoiceTTSService:
    """As somebody would plug in a service of their own."""
    return HttpVoiceTTSService(lambda: config.server_url, config.server_voice, config.timeout_s)


@dataclass
class PiperLike:
    """What it does, to be changed while it runs.

    Attributes:
        fault: "429", "400", "hang", "break", "stall", "empty", "garbage", "24-bit", or "" for a voice that works.
        times: requests that the fault still meets; -1: all.
        pieces: so many pieces does a clause come in, `pause_s` after one another.
        said: every clause as the voice really said it.
        asked: the body of every request.
    """

    voice: VoiceWorker
    spoken_by: Voice = field(default_factory=lambda: Voice(name="en-us+Annie", rate_wpm=205))
    rate_hz: int = 22_050
    channels: int = 1
    fault: str = ""
    times: int = -1
    pieces: int = 1
    pause_s: float = 0.0
    old: bool = False
    repeat: int = 1
    said: list[Clause] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    _server: uvicorn.Server | None = None
    _serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        path = "/" if self.old else "/synthesize"
        app = Starlette(routes=[Route(path, self._synthesize, methods=["POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
        self._serving = asyncio.create_task(self._server._serve())
        while not self._server.started:
            await asyncio.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        assert self._server is not None and self._serving is not None
        self._server.should_exit = self._server.force_exit = True
        await self._serving

    async def _synthesize(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        fault = self.fault if self.times else ""
        self.times -= bool(fault) and self.times > 0
        if fault in ("429", "400"):
            return PlainTextResponse("no", int(fault))
        if fault == "hang":
            await asyncio.sleep(30)
        if fault == "garbage":
            return PlainTextResponse("<html>this is no sound at all, but a page of some kind</html>")
        clause = await self.voice.speak(body["text"], self.spoken_by)
        self.said.append(clause)
        wav = self._wav(b"" if fault == "empty" else clause.pcm * self.repeat, 3 if fault == "24-bit" else 2)
        return StreamingResponse(self._stream(wav, fault), media_type="audio/wav")

    async def _stream(self, wav: bytes, fault: str) -> AsyncIterator[bytes]:
        piece = -(-len(wav) // self.pieces)
        for offset in range(0, len(wav), piece):
            yield wav[offset : offset + piece]
            if fault in ("break", "stall"):
                await asyncio.sleep(30 if fault == "stall" else 0)
                return
            await asyncio.sleep(self.pause_s)

    def _wav(self, pcm: bytes, width: int) -> bytes:
        samples = soxr.resample(np.frombuffer(pcm, "<i2"), MEDIA_CLOCK_HZ, self.rate_hz)
        file = io.BytesIO()
        with wave.open(file, "wb") as wav:
            wav.setnchannels(self.channels)
            wav.setsampwidth(width)
            wav.setframerate(self.rate_hz)
            wav.writeframes(np.repeat(samples, self.channels).astype("<i2").tobytes())
        return file.getvalue()

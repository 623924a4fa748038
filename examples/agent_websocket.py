"""An agent in thirty lines: it repeats what is typed, in a buzzing voice, and interrupts nobody. See docs/agents.md.

    make run ARGS="--set edge.connect_sources=http://127.0.0.1:9000"
    .venv/bin/python examples/agent_websocket.py

Then open the page with `?origin=http://127.0.0.1:9000`: it asks this program for a session, which then answers in it.
"""

import argparse
import asyncio
import json

import httpx
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from websockets.asyncio.client import ClientConnection, connect

parser = argparse.ArgumentParser(description="An agent that repeats what is typed.")
parser.add_argument("origin", nargs="?", default="http://127.0.0.1:8081", help="where Visavis hands out sessions")
parser.add_argument("port", nargs="?", type=int, default=9000, help="where pages ask this program for one")
given = parser.parse_args()
RATE_HZ = 16_000
conversations: set[asyncio.Task[None]] = set()


def buzz(words: list[str]) -> tuple[list[tuple[str, float, float]], bytes]:
    """The words with their start and end in seconds, and a sound that swells and fades with each: 16-bit mono PCM."""
    timed, sound, at = [], [], 0.0
    for word in words:
        length_s = 0.15 + 0.06 * len(word)
        times = np.arange(int(length_s * RATE_HZ)) / RATE_HZ
        sound += [(120.0 * times % 1.0 - 0.5) * np.hanning(times.size), np.zeros(RATE_HZ // 10)]
        timed.append((word, at, at + length_s))
        at += (times.size + RATE_HZ // 10) / RATE_HZ
    return timed, (np.concatenate(sound) * 20_000).astype("<i2").tobytes()


async def say(socket: ClientConnection, text: str) -> None:
    words, sound = buzz(text.split())
    await socket.send(json.dumps({"type": "utterance-begin"}))
    await socket.send(json.dumps({"type": "words", "words": words}))  # before the sound, so that the mouth knows them
    await socket.send(sound)
    await socket.send(json.dumps({"type": "utterance-end"}))


async def converse(url: str, token: str) -> None:
    async with connect(url) as socket:
        await socket.send(json.dumps({"type": "hello", "token": token, "sample_rate": RATE_HZ}))
        async for message in socket:  # until the viewer has left
            event = json.loads(message)
            if event["type"] == "viewer-opened":
                await say(socket, "Hello there, type something")
            elif event["type"] == "user-text":
                await say(socket, f"You said {event['text']}")
            elif event["type"] == "user-stopped-speaking":
                await say(socket, "I heard you speak")


async def sessions(request: Request) -> JSONResponse:
    """What the page asks an origin for, asked for on its behalf; the agent's part of the answer stays here."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{given.origin}/v1/sessions", json={"mode": "agent"})
    ticket = answer.json()
    if agent := ticket.pop("agent", None):
        conversation = asyncio.create_task(converse(agent["url"], agent["token"]))
        conversations.add(conversation)
        conversation.add_done_callback(conversations.discard)
    return JSONResponse(ticket, answer.status_code)


if __name__ == "__main__":
    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_headers=["*"], allow_methods=["POST"])
    app = Starlette(routes=[Route("/v1/sessions", sessions, methods=["POST"])], middleware=[cors])
    print(f"Open the page with ?origin=http://127.0.0.1:{given.port}")
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")

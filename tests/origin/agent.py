"""An agent and a POP as the origin sees them: the program at the WebSocket, and the bus behind it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import numpy as np
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from core.fabric.memory import MemoryBus, MemoryStore
from core.host.clock import SystemClock
from core.speech.messages import (
    DownMessage,
    UpMessage,
    decode_down,
    down_subject,
    encode,
    up_subject,
)
from origin.__main__ import web_server
from origin.agent.session import AgentSession
from origin.app import OriginMetrics, build_app
from origin.broker import Broker
from origin.dialogue.services import Shared
from origin.sessions import Sessions
from origin.tokens import TicketKey

M = TypeVar("M")
_POP = json.dumps({"name": "local", "url": "http://127.0.0.1:8080", "started_at": 1}).encode()


def tone(seconds: float, rate_hz: int = 24_000) -> bytes:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.asarray(8_000 * np.sin(2 * np.pi * 300 * times), "<i2").tobytes()


@dataclass
class Origin:
    """The origin, and the POP's side of its bus."""

    url: str
    bus: MemoryBus
    broker: Broker
    metrics: OriginMetrics
    readers: list[asyncio.Task[None]] = field(default_factory=list)

    async def open(self) -> Talk:
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.post(f"{self.url}/v1/sessions", json={"mode": "agent"})
        assert response.status_code == 201
        talk = Talk(self, response.json())
        await talk.listen()
        return talk


@dataclass
class Talk:
    origin: Origin
    ticket: dict[str, Any]
    received: list[DownMessage] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.ticket["session_id"])

    @property
    def session(self) -> AgentSession:
        session = self.origin.broker.sessions.agent(self.id)
        assert session is not None
        return session

    async def listen(self) -> None:
        """Be the POP of this session."""
        inbox = await self.origin.bus.subscribe(down_subject(self.id))

        async def read() -> None:
            async for message in inbox:
                self.received.append(decode_down(message.payload))

        self.origin.readers.append(asyncio.create_task(read()))

    async def up(self, message: UpMessage) -> None:
        await self.origin.bus.publish(up_subject(self.id), encode(message))

    def all(self, kind: type[M]) -> list[M]:
        return [message for message in self.received if isinstance(message, kind)]

    async def wait(self, kind: type[M], count: int = 1, timeout_s: float = 8.0) -> M:
        async with asyncio.timeout(timeout_s):
            while len(self.all(kind)) < count:
                await asyncio.sleep(0.005)
        return self.all(kind)[count - 1]

    @asynccontextmanager
    async def agent(self, token: str | None = None, **hello: Any) -> AsyncIterator[Agent]:
        async with connect(self.ticket["agent"]["url"], max_size=None) as connection:
            agent = Agent(connection)
            await agent.send("hello", token=token or self.ticket["agent"]["token"], **hello)
            yield agent


@dataclass
class Agent:
    connection: ClientConnection
    sound: bytes = b""

    async def send(self, kind: str, **members: Any) -> None:
        await self.connection.send(json.dumps({"type": kind, **members}))

    async def say(self, pcm: bytes, name: str = "u", **words: Any) -> None:
        await self.send("utterance-begin", id=name)
        for kind, members in words.items():
            await self.send(kind, **members)
        await self.connection.send(pcm)
        await self.send("utterance-end")

    async def wait(self, kind: str, timeout_s: float = 8.0) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s):
            while True:
                data = await self.connection.recv()
                if isinstance(data, bytes):
                    self.sound += data
                elif (event := dict(json.loads(data)))["type"] == kind:
                    return event

    async def refused(self, code: str, close: int) -> None:
        event = await self.wait("error")
        assert (event["code"], event["fatal"]) == (code, True) and event["message"].endswith(".")
        await self.closed(close)

    async def closed(self, code: int) -> None:
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(8.0):
                while True:
                    await self.connection.recv()
        assert self.connection.close_code == code


@asynccontextmanager
async def running(shared: Shared, **changes: Any) -> AsyncIterator[Origin]:
    config = dataclasses.replace(shared.config, **changes)
    bus, store, key = MemoryBus(), MemoryStore(), TicketKey(Ed25519PrivateKey.generate())
    await store.put("pops.local", _POP)
    shared = dataclasses.replace(shared, config=config)
    broker = Broker(shared, Sessions(shared, bus), store, key, SystemClock(), issuer="http://origin")
    metrics = OriginMetrics(CollectorRegistry())
    server: uvicorn.Server = web_server(build_app(config, broker, key, metrics))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    origin = Origin(f"http://127.0.0.1:{listener.getsockname()[1]}", bus, broker, metrics)
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield origin
    finally:
        await broker.aclose()
        server.should_exit = True
        await serving
        listener.close()
        for reader in origin.readers:
            reader.cancel()
        await bus.aclose()

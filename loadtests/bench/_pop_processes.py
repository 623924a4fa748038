"""The three processes of the benchmark of POPs: a real POP, an origin that only plays what is recorded, and viewers."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.fabric.bus import Message
from core.fabric.local import LocalFabricServer
from core.limits import TICK_S, TICK_SAMPLES
from core.speech.messages import (
    ECHO_SUBJECT,
    DownMessage,
    Ready,
    ReplyText,
    SpeechEnd,
    SpeechStart,
    TurnState,
    down_subject,
    encode,
    up_subject,
)
from core.wire.access_unit import decode_access_unit
from core.wire.feedback import Feedback, embed_feedback
from edge.config import EdgeConfig
from edge.pop import run_pop
from loadtests.bench._child import Handlers, Usage
from loadtests.bench._conversation import Conversation
from loadtests.bench._viewers import Viewer, WebRtcViewers
from origin.tokens import TicketKey

__all__ = ["POP_NAME", "make_origin", "make_pop", "make_pop_viewers", "position"]

POP_NAME: Final = "bench"
_ISSUER: Final = "http://bench"
_STRIDE: Final = 193
_RUN_AHEAD: Final = 10
"""Ticks that the origin's voice is ahead of its playing."""
_HEADER_SIZE: Final = 12
_LOST_EVERY: Final = 50
"""One unit in so many is reported lost, so that packets carry redundancy as on a mobile link."""
_DTX_EVERY: Final = 5
_PLAYOUT_TICKS: Final = 5
_DTX_PACKET: Final = b"\xf8\xff\xfe"


def position(session: int, tick: int, period: int) -> int:
    """Where a session is in its conversation, in ticks; no two are in step."""
    return (tick + session * _STRIDE) % period


# --- POP ---------------------------------------------------------------------------------------------------------


async def make_pop(fabric: Path, key_set_url: str, sessions: int) -> Handlers:
    """A whole POP, as `python -m edge` runs it."""
    config = EdgeConfig(
        port=0, name=POP_NAME, origin_url=key_set_url, issuer=_ISSUER, fabric=fabric, capacity=sessions, loopback=True
    )
    _KEPT.append(asyncio.create_task(run_pop(config)))

    async def run(seconds: float) -> dict[str, float]:
        usage = Usage.now()
        await asyncio.sleep(seconds)
        return usage.since()

    handlers: dict[str, Callable[..., Awaitable[Any]]] = {"run": run}
    return handlers


# --- origin ------------------------------------------------------------------------------------------------------


async def make_origin(fabric: Path, conversation: Conversation) -> Handlers:
    """Hosts the fabric, mints tickets and lets every session's character speak when it is its turn."""
    origin = _Origin(conversation)
    port = await origin.start(fabric)

    async def key_set_url() -> str:
        return f"http://127.0.0.1:{port}"

    handlers: dict[str, Callable[..., Awaitable[Any]]] = {
        "key_set_url": key_set_url,
        "tickets": origin.tickets,
        "pop_url": origin.pop_url,
    }
    return handlers


class _Origin:
    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._packets = [msgspec.to_builtins(packet) for packet in conversation.answer]
        self._key = TicketKey(Ed25519PrivateKey.generate())
        self._sessions: list[str] = []
        self._utterances: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._server: LocalFabricServer

    async def start(self, fabric: Path) -> int:
        """Host the fabric; gives the port of the key set."""
        self._server = LocalFabricServer(fabric)
        await self._server.start()
        self._tasks.append(asyncio.create_task(self._conduct()))
        http = await asyncio.start_server(self._answer_http, "127.0.0.1", 0)
        await self._server.bus.respond(ECHO_SUBJECT, _echo)
        return int(http.sockets[0].getsockname()[1])

    async def _answer_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(self._key.key_set()).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async def tickets(self, count: int) -> list[tuple[str, str]]:
        """Session id and token of `count` more sessions."""
        made: list[tuple[str, str]] = []
        for _ in range(count):
            session_id = f"s{len(self._sessions)}"
            await self._server.store.put(f"sessions.{session_id}", b"{}")
            subscription = await self._server.bus.subscribe(up_subject(session_id))
            self._tasks.append(asyncio.create_task(self._hear(subscription)))
            token = self._key.mint(
                issuer=_ISSUER,
                audience=POP_NAME,
                session_id=session_id,
                ticket_id=f"t{session_id}",
                character="mira",
                epoch=1,
                now_wall=int(time.time()),
            )
            made.append((session_id, token))
            self._sessions.append(session_id)
            self._utterances.append(0)
        return made

    async def pop_url(self) -> str:
        """Where the POP says that it serves."""
        while True:
            for key in await self._server.store.keys("pops."):
                entry = await self._server.store.get(key)
                if entry is not None and entry.value is not None:
                    return str(json.loads(entry.value)["url"])
            await asyncio.sleep(0.05)

    async def _hear(self, subscription: Any) -> None:
        async for _message in subscription:
            pass

    async def _conduct(self) -> None:
        due = time.monotonic()
        for tick in itertools.count():
            for session in range(len(self._sessions)):
                self._speak(session, tick)
            due += TICK_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _speak(self, session: int, tick: int) -> None:
        roles = self._conversation.roles
        at = position(session, tick, roles.period)
        if at == roles.user % roles.period:
            self._say(session, TurnState(state="thinking", turn_id=1))
        first = roles.character_from - _RUN_AHEAD
        if not first <= at < first + len(self._packets):
            return
        if at == first:
            self._begin(session)
        utterance_id = self._utterances[session]
        if not utterance_id:
            return  # it joined in the middle of an answer
        index = at - first
        packet = {**self._packets[index], "utterance_id": utterance_id}
        self._server.bus.publish_nowait(down_subject(self._sessions[session]), msgspec.msgpack.encode(packet))
        if index + 1 == len(self._packets):
            self._say(session, SpeechEnd(utterance_id=utterance_id, packets=len(self._packets)))
            self._say(session, TurnState(state="idle", turn_id=1))

    def _begin(self, session: int) -> None:
        self._utterances[session] += 1
        utterance_id = self._utterances[session]
        if utterance_id == 1:
            self._say(session, Ready(character="mira", display_name="Mira"))
        self._say(session, SpeechStart(utterance_id=utterance_id, turn_id=utterance_id))
        text = ReplyText(
            utterance_id=utterance_id, text=self._conversation.answer_text, words=self._conversation.answer_words
        )
        self._say(session, text)

    def _say(self, session: int, message: DownMessage) -> None:
        self._server.bus.publish_nowait(down_subject(self._sessions[session]), encode(message))


async def _echo(message: Message) -> bytes:
    return message.payload


# --- viewers -----------------------------------------------------------------------------------------------------


async def make_pop_viewers(conversation: Conversation) -> Handlers:
    """Viewers with recorded microphones, whose packets carry feedback."""
    microphones = _Microphones(conversation)
    viewers = WebRtcViewers(microphones.packet, microphones.look)
    _KEPT.append(asyncio.create_task(viewers.conduct()))

    async def join(url: str, tickets: list[tuple[str, str]]) -> int:
        offers = await viewers.offers(len(tickets))
        async with httpx.AsyncClient(base_url=url, timeout=20.0, trust_env=False) as http:
            answers = await asyncio.gather(
                *(_signal(http, offer, *ticket) for offer, ticket in zip(offers, tickets, strict=True))
            )
        return await viewers.accept(answers)

    handlers: dict[str, Callable[..., Awaitable[Any]]] = {
        "join": join,
        "run": viewers.run,
        "prepare": viewers.prepare,
        "count": viewers.count,
        "seen": microphones.seen,
    }
    return handlers


async def _signal(http: httpx.AsyncClient, offer: str, session_id: str, token: str) -> str:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
    response = await http.post(f"/v1/sessions/{session_id}/webrtc", content=offer, headers=headers)
    return response.raise_for_status().text


class _Microphones:
    """What all microphones hear, and what viewers say of what they got."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._newest: dict[int, tuple[int, int]] = {}
        self._units = 0
        self._fec_units = 0
        self._bytes = 0

    def look(self, viewer: Viewer, packet: bytes) -> None:
        """The newest packet of a viewer."""
        start = _HEADER_SIZE
        if packet[0] & 0x10:
            start += 4 + 4 * int.from_bytes(packet[14:16], "big")
        unit = decode_access_unit(packet[start:])
        if unit is not None:
            self._newest[viewer.number] = unit.sequence_number, int.from_bytes(packet[4:8], "big")
            self._units += 1
            self._fec_units += bool(unit.fec)
            self._bytes += len(packet) - start

    async def seen(self) -> dict[str, float]:
        """Of the units that were looked at: how large they are, and how many carry redundancy."""
        units = max(1, self._units)
        return {"unit_bytes": self._bytes / units, "fec_share": self._fec_units / units}

    def packet(self, session: int, tick: int) -> tuple[bytes, int] | None:
        """See MicrophoneSource."""
        roles = self._conversation.roles
        at = position(session, tick, roles.period)
        if at < len(self._conversation.question):
            opus, level = self._conversation.question[at]
        elif (tick + session) % _DTX_EVERY == 0:
            opus, level = _DTX_PACKET, 127
        else:
            return None
        newest = self._newest.get(session)
        if newest is None:
            return opus, level
        lost = 1 << (newest[0] % _LOST_EVERY) if newest[0] % _LOST_EVERY < 32 else 0
        feedback = Feedback(
            acknowledged=newest[0],
            received=0xFFFFFFFF & ~lost,
            playout_timestamp=(newest[1] - _PLAYOUT_TICKS * TICK_SAMPLES) & 0xFFFFFFFF,
            epoch=1,
            owd_gradient=0,
            playout_delay_ms=100,
        )
        return embed_feedback(opus, feedback), level


_KEPT: list[asyncio.Task[None]] = []

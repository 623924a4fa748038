"""Somebody else's agent at a real origin's door: what it sends is spoken, what it should hear it hears, and no nonsense
harms the session. The POP is this test; HTTP, WebSocket and everything behind them are the origin's own."""

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
import jwt
import numpy as np
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

import origin.agent.session as session_module
from core.fabric.memory import MemoryBus, MemoryStore
from core.host.clock import SystemClock
from core.limits import AGENT_ERRORS_MAX, AGENT_MESSAGE_SIZE_BYTES_MAX, TICK_SAMPLES
from core.speech.messages import (
    BargeIn,
    Closed,
    DownMessage,
    Fault,
    MicrophonePacket,
    Mood,
    Opened,
    Playout,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    Transcript,
    TurnState,
    UpMessage,
    UserSpeech,
    UserText,
    decode_down,
    down_subject,
    encode,
    up_subject,
)
from origin.__main__ import web_server
from origin.agent.session import AgentSession
from origin.app import OriginMetrics, build_app
from origin.broker import Broker
from origin.dialogue.opus_voice import VoiceEncoder, VoiceEncoding
from origin.dialogue.services import Shared
from origin.tokens import TicketKey

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
        inbox = await self.bus.subscribe(down_subject(talk.id))

        async def read() -> None:
            async for message in inbox:
                talk.received.append(decode_down(message.payload))

        self.readers.append(asyncio.create_task(read()))
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
        session = self.origin.broker.agent_session(self.id)
        assert session is not None
        return session

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
    broker = Broker(dataclasses.replace(shared, config=config), bus, store, key, SystemClock(), issuer="http://origin")
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


# --- what it is for ----------------------------------------------------------------------------------------------


async def test_what_the_agent_sends_is_spoken_with_its_words(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        token = jwt.decode(talk.ticket["pops"][0]["token"], options={"verify_signature": False})
        assert token["mode"] == "conversation", "a POP sees no difference"
        agent_part = talk.ticket["agent"]
        assert agent_part["url"] == f"{origin.url.replace('http', 'ws')}/v1/sessions/{talk.id}/agent"
        assert agent_part["token"] not in agent_part["url"]
        async with talk.agent() as agent:
            welcome = await agent.wait("welcome")
            assert (welcome["session_id"], welcome["viewer"], welcome["character"]) == (talk.id, False, "Mira")
            await talk.up(Opened(epoch=1, transport="webrtc"))
            assert (await agent.wait("viewer-opened"))["transport"] == "webrtc"
            await talk.up(UserText(text=" hello "))
            assert (await agent.wait("user-text"))["text"] == "hello"
            assert (await talk.wait(TurnState)).state == "thinking"
            words = [["Good", 0.0, 0.3], ["morning", 0.35, 0.8]]
            await agent.send("mood", label="happy", valence=0.7, arousal=0.2)
            await agent.send("transcript", text="hello")
            await agent.say(tone(1.0), name="first", words={"words": words})
            end = await talk.wait(SpeechEnd)
            assert (await talk.wait(SpeechStart)).turn_id == 1
            packets = talk.all(SpeechPacket)
            assert end.packets == len(packets) == 51
            assert talk.all(Mood) == [Mood(label="happy", valence=0.7, arousal=0.2)]
            assert talk.all(Transcript) == [Transcript(text="hello", final=True, turn_id=1)]
            (caption,) = talk.all(ReplyText)
            assert [word.text for word in caption.words] == ["Good", "morning"]
            assert [message.state for message in talk.all(TurnState)] == ["thinking", "speaking", "idle"]
            await talk.up(Playout(utterance_id=1, heard_until=24_000))
            half = await agent.wait("playout")
            assert (half["id"], half["heard_s"], half.get("complete", False)) == ("first", 0.5, False)
            await talk.up(Playout(utterance_id=1, heard_until=51 * TICK_SAMPLES))
            assert (await agent.wait("playout"))["complete"]
            await agent.send("ping", id="7")
            assert (await agent.wait("pong"))["id"] == "7"
            await agent.send("bye")
            assert (await agent.wait("viewer-closed"))["reason"] == "agent-left"
            await agent.closed(1000)
        assert origin.broker.agent_session(talk.id) is None


async def test_words_get_phonemes_where_they_sound(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            await agent.send("utterance-begin")
            await agent.send("words", words=[["Hello", 0.5, 1.0], ["world", 1.5, 2.0]])
            await asyncio.sleep(0.3)  # words first, sound when it is there
            await agent.connection.send(tone(2.5))
            await agent.send("utterance-end")
            await talk.wait(SpeechEnd)
            spans = [span for packet in talk.all(SpeechPacket) for span in packet.phonemes]
            sounding = [span for span in spans if span.symbol]
            first = [span for span in sounding if span.end <= 1.01 * 48_000]
            second = [span for span in sounding if span.start >= 1.5 * 48_000]
            assert len(first) + len(second) == len(sounding) and "".join(s.symbol for s in second)[0] == "w"
            assert first[0].start == pytest.approx(0.5 * 48_000 + 312, abs=10)
            assert second[-1].end == pytest.approx(2.0 * 48_000 + 312, abs=10)


@pytest.mark.parametrize(
    "untimed", [{"text": {"text": "Hello world", "duration_s": 1.0}}, {"words": {"words": [["Hello"], ["world"]]}}]
)
async def test_words_without_times_lie_over_the_sound(shared: Shared, untimed: dict[str, Any]) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            await agent.say(tone(0.2), name="before")
            await agent.say(tone(1.0), name="about", **untimed)
            await talk.wait(SpeechEnd, count=2)
            about = [packet for packet in talk.all(SpeechPacket) if packet.utterance_id == 2]
            spans = [span for packet in about for span in packet.phonemes]
            assert len([span for span in spans if span.symbol]) >= 6
            assert spans[-1].end == pytest.approx(48_000 + 312, abs=200)
            assert talk.all(ReplyText)[0].text == "Hello world"
            await talk.up(BargeIn(utterance_id=2, heard_until=30_000))
            cut = await agent.wait("interrupted")
            assert (cut["id"], cut["heard_text"], cut["heard_s"]) == ("about", "Hello", 0.625)


async def test_sound_alone_is_enough(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent(sample_rate=8_000, channels=2) as agent:
            mono = np.frombuffer(tone(0.5, 8_000), "<i2")
            await agent.say(np.stack([mono, mono], axis=1).tobytes())
            end = await talk.wait(SpeechEnd)
            assert end.packets == 26
            mel = [np.frombuffer(packet.log_mel, np.uint8).max() for packet in talk.all(SpeechPacket)]
            assert max(mel) > 100 and not any(packet.phonemes for packet in talk.all(SpeechPacket))


async def test_opus_comes_in_and_the_microphone_goes_out(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        encoder = VoiceEncoder(VoiceEncoding(32_000))
        pcm = np.frombuffer(tone(0.5, 48_000), np.int16)
        packets = [encoder.encode(pcm[at : at + TICK_SAMPLES]) for at in range(0, len(pcm), TICK_SAMPLES)]
        async with talk.agent(encoding="opus", microphone="pcm_s16le") as agent:
            await talk.up(Opened(epoch=1, transport="webrtc"))
            await agent.send("utterance-begin")
            for packet in packets:
                await agent.connection.send(packet)
            await agent.connection.send(b"\xff\xff garbage")
            await agent.send("utterance-end")
            assert (await agent.wait("error"))["code"] == "not-opus"
            await talk.wait(SpeechEnd)
            assert len(talk.all(SpeechPacket)) >= 25
            await talk.up(UserSpeech(speaking=True, timestamp=0))
            await agent.wait("user-started-speaking")
            for index, packet in enumerate(packets):
                if index != 5:  # a hole that DTX left is silence
                    await talk.up(MicrophonePacket(opus=packet, timestamp=index * TICK_SAMPLES))
            await talk.up(MicrophonePacket(opus=packets[0], timestamp=0))
            await talk.up(UserSpeech(speaking=False, timestamp=0))
            await agent.wait("user-stopped-speaking")
            assert len(agent.sound) == pytest.approx(0.5 * 16_000 * 2, abs=700)
            assert np.abs(np.frombuffer(agent.sound, "<i2")).max() > 4_000
            assert talk.session.dropped == 1, "the late one"


async def test_the_viewer_interrupts_and_nothing_of_it_is_said_later(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            await agent.send("utterance-begin", id="long")
            await agent.send("words", words=[["one", 0.0, 0.4], ["two", 0.5, 0.9], ["three", 1.0, 1.5]])
            await agent.connection.send(tone(5.0))
            await talk.wait(SpeechPacket, count=20)
            await talk.up(UserSpeech(speaking=True, timestamp=0))
            await talk.up(BargeIn(utterance_id=1, heard_until=40_000))
            cut = await agent.wait("interrupted")
            assert (cut["id"], cut["cause"], cut["heard_text"]) == ("long", "speech", "one two")
            assert (await talk.wait(SpeechCancel)).utterance_id == 1
            assert talk.all(TurnState)[-1].state == "listening"
            count = len(talk.all(SpeechPacket))
            await agent.connection.send(tone(0.5))  # the agent did not know yet
            await agent.send("utterance-end")
            await agent.say(tone(0.2), name="next")
            await talk.wait(SpeechEnd)
            later = talk.all(SpeechPacket)[count:]
            assert {packet.utterance_id for packet in later} == {2}


async def test_the_agent_interrupts_itself(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            await agent.say(tone(5.0), name="long")
            await agent.say(tone(5.0), name="waiting")
            await talk.wait(SpeechPacket)
            await agent.send("interrupt")
            await talk.wait(SpeechCancel)
            await agent.say(tone(0.1), name="next")
            end = await talk.wait(SpeechEnd)
            assert (end.utterance_id, end.packets) == (2, 6), "what waited was never begun"


# --- bad input ---------------------------------------------------------------------------------------------------


async def test_a_flood_of_sound_is_bounded_and_closed(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            welcome = await agent.wait("welcome")
            await agent.send("utterance-begin")
            for _ in range(8):
                with contextlib.suppress(ConnectionClosed):
                    await agent.connection.send(tone(10.0))
            await agent.refused("flood", 4429)
        assert origin.metrics.agent_errors.labels("flood")._value.get() == 1
        async with talk.agent(welcome["resume_token"]) as agent:
            await agent.send("interrupt")
            await agent.say(tone(0.1))
            await talk.wait(SpeechEnd)


async def test_a_flood_of_messages_is_closed(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(12_000):
                    await agent.connection.send('{"type":"interrupt"}')
            await agent.refused("flood", 4429)
        assert len(talk.all(TurnState)) < 7_000


async def test_a_stall_in_mid_utterance_ends_it_and_the_session_lives(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "AGENT_STALL_S_MAX", 0.4)
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            await agent.send("utterance-begin", id="stalls")
            await agent.connection.send(tone(0.3))
            assert (await agent.wait("error"))["code"] == "stalled"
            await talk.wait(SpeechEnd)
            assert talk.all(TurnState)[-1].state == "idle"
            for _ in range(AGENT_ERRORS_MAX + 1):
                await agent.connection.send(tone(0.02))
            await agent.send("utterance-end")
            await agent.say(tone(0.1), name="next")
            assert (await talk.wait(SpeechEnd, count=2)).packets == 6


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([b"\0\0"], "no-utterance"),
        (['{"type":"utterance-end"}'], "no-utterance"),
        (['{"type":"words","words":[["a",0,1]]}'], "no-utterance"),
        (['{"type":"utterance-begin"}', '{"type":"words","words":[["a",2,1]]}'], "bad-times"),
        (['{"type":"utterance-begin"}', '{"type":"words","words":[["a",2,3],["b",1,2]]}'], "bad-times"),
        (['{"type":"utterance-begin"}', '{"type":"phonemes","phonemes":[["a",2,1]]}'], "bad-times"),
        (['{"type":"utterance-begin"}', '{"type":"phonemes","phonemes":[["a",0,1e300]]}'], "bad-message"),
        (['{"type":"utterance-begin"}', '{"type":"utterance-end"}'], "no-sound"),
        (['{"type":"dance"}'], "unknown-message"),
        (['{"type":"mood","label":"x","valence":3,"arousal":0}'], "bad-message"),
        (["no json"], "bad-message"),
        (["[" * 50_000], "bad-message"),
        (['{"type":"ping","id":"' + "x" * 70_000 + '"}'], "message-too-large"),
        (['{"type":"hello","token":"x"}'], "hello-again"),
    ],
)
async def test_nonsense_is_answered_and_the_session_lives(shared: Shared, sent: list[Any], code: str) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            for one in sent:
                await agent.connection.send(one)
            event = await agent.wait("error")
            assert event["code"] == code and event["message"].endswith(".") and not event.get("fatal")
            await agent.send("interrupt")
            await agent.say(tone(0.1))
            await talk.wait(SpeechEnd)


async def test_nothing_but_nonsense_is_closed(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            for _ in range(AGENT_ERRORS_MAX + 1):
                await agent.send("dance")
            for _ in range(AGENT_ERRORS_MAX):
                await agent.wait("error")
            await agent.refused("too-many-errors", 4400)


async def test_phonemes_of_the_past_are_left_out(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            await agent.send("utterance-begin")
            await agent.connection.send(tone(0.5))
            await talk.wait(SpeechPacket, count=20)
            await agent.send("phonemes", phonemes=[["a", 0, 0.1], ["b", 0.1, 0.2]])
            assert (await agent.wait("error"))["code"] == "late-words"
            await agent.send("phonemes", phonemes=[["c", 0.6, 0.7]])
            await agent.connection.send(tone(0.5))
            await agent.send("utterance-end")
            await talk.wait(SpeechEnd)
            assert [span.symbol for packet in talk.all(SpeechPacket) for span in packet.phonemes] == ["c"]


async def test_a_message_that_is_too_large_is_not_even_read(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            welcome = await agent.wait("welcome")
            await agent.send("utterance-begin")
            with contextlib.suppress(ConnectionClosed):
                await agent.connection.send(bytes(AGENT_MESSAGE_SIZE_BYTES_MAX + 2))
            await agent.closed(1009)
        async with talk.agent(welcome["resume_token"]) as agent:
            await agent.wait("welcome")


async def test_empty_and_odd_sound_is_taken_as_it_is(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            await agent.send("utterance-begin")
            pcm = tone(0.5)
            await agent.connection.send(b"")
            for at in range(0, len(pcm), 333):
                await agent.connection.send(pcm[at : at + 333])
            await agent.send("utterance-end")
            assert (await talk.wait(SpeechEnd)).packets == 26


# --- who may, and who comes back ---------------------------------------------------------------------------------


async def test_only_who_was_invited_may_speak_and_only_once(shared: Shared) -> None:
    async with running(shared) as origin:
        talk, other = await origin.open(), await origin.open()
        async with talk.agent("wrong") as agent:
            await agent.refused("bad-token", 4401)
        async with talk.agent(other.ticket["agent"]["token"]) as agent:
            await agent.refused("bad-token", 4401)
        async with talk.agent() as first:
            await first.wait("welcome")
            async with talk.agent() as second:
                await second.refused("token-spent", 4401)
            await first.say(tone(0.1))
            await talk.wait(SpeechEnd)
        nobody = talk.ticket["agent"]["url"].replace(talk.id, "nobody")
        async with connect(nobody) as connection:
            agent = Agent(connection)
            await agent.send("hello", token=other.ticket["agent"]["token"])
            await agent.refused("bad-token", 4401)


async def test_who_does_not_say_hello_is_not_waited_for(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("origin.agent.socket.AGENT_HELLO_S_MAX", 0.2)
    async with running(shared) as origin:
        talk = await origin.open()
        url = talk.ticket["agent"]["url"]
        async with connect(url) as connection:
            await Agent(connection).refused("no-hello", 4400)
        for first in (b"\0\0", '{"type":"interrupt"}'):
            async with connect(url) as connection:
                await connection.send(first)
                await Agent(connection).refused("no-hello", 4400)
        async with talk.agent() as agent:
            await agent.wait("welcome")


async def test_a_token_expires_and_with_it_the_session(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "AGENT_TOKEN_LIFETIME_S", 0.2)
    async with running(shared) as origin:
        talk = await origin.open()
        assert talk.session._away is not None
        talk.session._away.cancel()  # the session lives on for once
        await asyncio.sleep(0.3)
        async with talk.agent() as agent:
            await agent.refused("token-expired", 4401)
        other = await origin.open()
        session = other.session
        await asyncio.wait_for(session.closed.wait(), 2.0)
        assert session.reason == "no-agent"


async def test_an_agent_that_is_lost_in_mid_sentence_may_come_back(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            welcome = await agent.wait("welcome")
            await agent.send("utterance-begin", id="broken off")
            await agent.connection.send(tone(0.5))
            await talk.wait(SpeechPacket)
        end = await talk.wait(SpeechEnd)
        assert end.packets == 26, "what came of it is spoken"
        assert (await talk.wait(Fault)).code == "agent-lost"
        await talk.up(UserText(text="are you there?"))
        await talk.wait(Fault, count=2)
        assert talk.all(TurnState)[-1].state == "idle"
        async with talk.agent(welcome["resume_token"]) as agent:
            again = await agent.wait("welcome")
            assert again["resume_token"] != welcome["resume_token"]
            await agent.say(tone(0.1))
            assert (await talk.wait(SpeechEnd, count=2)).utterance_id == 2
            async with talk.agent(again["resume_token"]) as heir:
                await heir.wait("welcome")
                await agent.closed(4409)
                await heir.say(tone(0.1))
                await talk.wait(SpeechEnd, count=3)
            async with talk.agent(welcome["resume_token"]) as late:
                await late.refused("bad-token", 4401)


async def test_an_agent_that_does_not_come_back_takes_the_session_with_it(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "AGENT_GRACE_S", 0.3)
    async with running(shared) as origin:
        talk = await origin.open()
        session = talk.session
        async with talk.agent() as agent:
            await agent.wait("welcome")
        await asyncio.wait_for(session.closed.wait(), 2.0)
        assert session.reason == "agent-lost"


async def test_the_viewer_leaves(shared: Shared) -> None:
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            await agent.wait("welcome")
            await talk.up(Opened(epoch=1, transport="webrtc"))
            await agent.say(tone(3.0))
            await talk.up(Closed(reason="viewer-left"))
            assert (await agent.wait("viewer-closed"))["reason"] == "closed"
            await agent.closed(1000)
        assert origin.broker.count == 0


async def test_an_agent_that_does_not_read_is_closed(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("origin.agent.socket.AGENT_EVENTS_MAX", 8)
    async with running(shared) as origin:
        talk = await origin.open()
        async with talk.agent() as agent:
            await agent.wait("welcome")
            for _ in range(50):
                talk.session._typed("x" * 100)
            await agent.closed(4408)

"""No nonsense of an agent harms the session, nobody speaks who was not invited, and who is lost may come back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import origin.agent.session as session_module
from core.limits import AGENT_ERRORS_MAX, AGENT_MESSAGE_SIZE_BYTES_MAX
from core.speech.messages import (
    Closed,
    Fault,
    Opened,
    SpeechEnd,
    SpeechPacket,
    TurnState,
    UserText,
)
from origin.dialogue.services import Shared
from tests.origin.agent import Agent, running, tone

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
                    await agent.connection.send('{"type":"state","state":"idle"}')
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
        await talk.wait(TurnState, count=3)
        assert talk.all(TurnState)[-1].state == "thinking"
        async with talk.agent(welcome["resume_token"]) as agent:
            again = await agent.wait("welcome")
            assert again["resume_token"] != welcome["resume_token"]
            assert (await agent.wait("user-text"))["text"] == "are you there?"
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

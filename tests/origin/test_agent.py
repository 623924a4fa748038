"""Somebody else's agent at a real origin's door: what it sends is spoken, and what it should hear it hears.

The POP is this test; HTTP, WebSocket and everything behind them are the origin's own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import numpy as np
import pytest

from core.limits import TICK_SAMPLES
from core.speech.messages import (
    BargeIn,
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
    UserSpeech,
    UserText,
)
from origin.dialogue.opus_voice import VoiceEncoder, VoiceEncoding
from origin.dialogue.services import Shared
from tests.origin.agent import running, tone

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
        assert origin.broker.sessions.agent(talk.id) is None


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
            await talk.up(UserText(text="hello"))
            await agent.wait("user-text")
            await agent.send("interrupt")
            await agent.send("ping")
            await agent.wait("pong")
            assert talk.all(TurnState)[-1].state == "thinking", "there was nothing to interrupt"

"""Pipecat's own JavaScript client (@pipecat-ai/client-js) holds a conversation with a POP; only the transport is ours.

It runs in Node on werift, so that its microphone is another stack's too: plain Opus, without feedback and audio levels.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_asyncio

from core.limits import TICK_SAMPLES
from loadtests.audio import VoiceEncoder, read_audio
from loadtests.stack import Stack
from tests.e2e.conftest import DATA, QUESTION
from tests.e2e.strangers import plain_ticket, run_program

pytestmark = pytest.mark.asyncio(loop_scope="package")

_QUESTION = "How much is a ticket?"
_ANSWER = "A ticket is eight dollars, and five for children. You can buy one right at the door."


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def events(stack: Stack) -> list[tuple[str, Any]]:
    """(Event, its data) as the client emits them, in order."""
    sound = read_audio(DATA / f"{QUESTION}.wav", length_s_max=10.0)
    encoder = VoiceEncoder()
    spoken = [
        encoder.encode(sound[at : at + TICK_SAMPLES]).hex() for at in range(0, sound.size - TICK_SAMPLES, TICK_SAMPLES)
    ]
    secret = json.dumps({"ticket": await plain_ticket(stack.origin_url), "microphone": spoken})
    lines = await run_program("pipecat.mjs", _QUESTION, "7", secret=secret)
    return [(str(line.get("event", "tracks")), line.get("data", line)) for line in lines]


def _named(events: list[tuple[str, Any]], name: str) -> list[Any]:
    return [data for event, data in events if event == name]


async def test_it_connects_and_is_answered_in_its_own_version(events: list[tuple[str, Any]]) -> None:
    states = _named(events, "transportStateChanged")
    assert states[:5] == ["initializing", "initialized", "connecting", "connected", "ready"]
    assert [ready["version"] for ready in _named(events, "botReady")] == ["2.0.0"]
    assert _named(events, "connect resolved") == _named(events, "botReady")
    assert not [warning for warning in _named(events, "warning") if "older" in warning]
    assert _named(events, "error") == []


async def test_its_microphone_is_heard_and_answered(events: list[tuple[str, Any]]) -> None:
    names = [event for event, _ in events]
    final = [data["text"].lower() for data in _named(events, "userTranscript") if data["final"]]
    assert "what is your name" in " ".join(final)
    assert names.index("userStartedSpeaking") < names.index("userStoppedSpeaking") < names.index("botStartedSpeaking")
    assert names.index("botStartedSpeaking") < names.index("written")


async def test_text_is_answered_in_words_as_they_are_heard(events: list[tuple[str, Any]]) -> None:
    events = events[[event for event, _ in events].index("written") :]
    assert " ".join(data["text"] for data in _named(events, "botTranscript")) == _ANSWER
    assert " ".join(data["text"] for data in _named(events, "botTtsText")) == _ANSWER
    output = _named(events, "botOutput")
    assert " ".join(data["text"] for data in output if data["spoken_status"] == "new") == _ANSWER
    assert " ".join(data["text"] for data in output if data["spoken_status"] == "completed") == _ANSWER
    partly = [data["spoken_progress"] for data in output if data["spoken_status"] == "in-progress"]
    assert any(progress["accumulated_text"] == "A ticket" for progress in partly)
    names = [event for event, _ in events]
    begun = names.index("botTtsText")
    assert "botStoppedSpeaking" in names[begun:]


async def test_its_voice_arrives_as_a_track(events: list[tuple[str, Any]]) -> None:
    (found,) = _named(events, "tracks")
    assert found["tracks"] == ["audio"]
    assert found["rtp"] > 200


async def test_a_request_that_nobody_knows_is_refused_at_once(events: list[tuple[str, Any]]) -> None:
    (refusal,) = _named(events, "refused")
    assert "interrupt" in str(refusal)
    assert len(_named(events, "messageError")) == 1


async def test_it_leaves_in_order(events: list[tuple[str, Any]]) -> None:
    assert _named(events, "state at the end") == ["disconnected"]
    assert len(_named(events, "disconnected")) == 1

"""Services that time out, refuse or break off, over real HTTP: a clear sentence, an apology, and the session lives."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any

import pytest

from core.speech.messages import BargeIn, Fault, ReplyText, SpeechEnd, SpeechPacket, Transcript, TurnState, UserText
from origin.config import LlmConfig, SttConfig, TtsConfig
from origin.dialogue.clauses import split_clauses
from origin.dialogue.service_faults import explain
from origin.dialogue.services import Shared
from tests.origin.openai_api import SECRET, Api, serving
from tests.origin.viewer import Viewer, synthesise

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = "sk-test-key-1234"


def with_api(shared: Shared, api: Api, *roles: str, patience_s: float = 0.5) -> Shared:
    """The same, but these roles are the API's."""
    common: dict[str, Any] = {"service": "openai", "base_url": api.url, "model": "m", "api_key": KEY}
    config = shared.config
    if "chat" in roles:
        config = dataclasses.replace(config, llm=LlmConfig(**common, first_token_s=patience_s, stall_s=patience_s))
    if "ears" in roles:
        config = dataclasses.replace(config, stt=SttConfig(**common, timeout_s=patience_s))
    if "voice" in roles:
        config = dataclasses.replace(config, tts=TtsConfig(**common, timeout_s=patience_s))
    return dataclasses.replace(shared, config=config, openings={})


def texts(viewer: Viewer) -> list[str]:
    return [reply.text for reply in viewer.all(ReplyText)]


def told(viewer: Viewer) -> list[tuple[str, str]]:
    return [(fault.code, fault.message) for fault in viewer.all(Fault)]


MODEL = {
    "slow": ("llm-slow", "The language model does not answer in time."),
    "busy": ("llm-slow", "The language model takes no more requests for the moment (HTTP 429)."),
    "error": ("llm-failed", "The language model failed (HTTP 500)."),
    "key": ("llm-failed", "The language model refuses the API key."),
    "empty": ("llm-failed", "The language model said nothing."),
    "breaks": ("llm-failed", "The language model broke off."),
    "says": ("llm-failed", "The language model broke off."),
    "stalls": ("llm-slow", "The language model does not answer in time."),
}


async def model_fails(shared: Shared, behaviour: str, fault: tuple[str, str]) -> None:
    async with serving(Api(chat=behaviour)) as api:
        viewer = await Viewer.connect(with_api(shared, api, "chat"), behaviour)
        apology = split_clauses(shared.characters["mira"].apologies[fault[0]])[0]
        await viewer.send(UserText(text="Tell me about Venus."))
        await viewer.wait(ReplyText, when=lambda reply: reply.text == apology, timeout_s=15)
        assert told(viewer) == [fault], behaviour
        begun = ["Venus is hot."] if behaviour in ("breaks", "says", "stalls") else []
        assert texts(viewer) == [*begun, apology], behaviour
        api.chat = "normal"
        await viewer.send(UserText(text="Tell me about Venus again."))
        await viewer.wait(ReplyText, when=lambda reply: reply.text == "Very hot.")
        await viewer.aclose()


async def test_a_model_that_fails_is_apologised_for_and_answers_the_next_question(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await asyncio.gather(*(model_fails(shared, behaviour, fault) for behaviour, fault in MODEL.items()))
    assert SECRET not in caplog.text and KEY not in caplog.text


EARS = {
    "slow": "The recogniser does not answer in time.",
    "busy": "The recogniser takes no more requests for the moment (HTTP 429).",
    "error": "The recogniser failed (HTTP 500).",
    "key": "The recogniser refuses the API key.",
}


async def ears_fail(shared: Shared, behaviour: str, sentence: str) -> None:
    pcm = await synthesise(shared, "Tell me about Venus.")
    async with serving(Api(ears=behaviour)) as api:
        viewer = await Viewer.connect(with_api(shared, api, "ears"), behaviour)
        apology = split_clauses(shared.characters["mira"].apologies["stt-failed"])[0]
        await viewer.speak(pcm, tail_s=0.6)
        await viewer.wait(ReplyText, when=lambda reply: reply.text == apology, timeout_s=15)
        assert told(viewer) == [("stt-failed", sentence)], behaviour
        api.ears = "normal"
        await viewer.send(BargeIn(utterance_id=1, heard_until=0))
        await viewer.speak(pcm, tail_s=0.6)
        final = await viewer.wait(Transcript, when=lambda transcript: transcript.final)
        assert final.text == "tell me about venus"
        await viewer.aclose()


async def test_ears_that_fail_are_apologised_for_and_hear_the_next_question(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await asyncio.gather(*(ears_fail(shared, behaviour, sentence) for behaviour, sentence in EARS.items()))
    assert SECRET not in caplog.text and KEY not in caplog.text


VOICE = {
    "slow": "The voice does not answer in time.",
    "busy": "The voice takes no more requests for the moment (HTTP 429).",
    "error": "The voice failed (HTTP 500).",
    "key": "The voice refuses the API key.",
    "empty": "The voice sent no sound.",
    "breaks": "The voice broke off.",
    "stalls": "The voice does not answer in time.",
}


async def voice_fails(shared: Shared, behaviour: str, sentence: str) -> None:
    apology = split_clauses(shared.characters["mira"].apologies["tts-failed"])
    async with serving(Api()) as api:
        services = with_api(shared, api, "voice", "chat")
        viewer = await Viewer.connect(services, behaviour)
        async with asyncio.timeout(5):
            while any(clause not in services.openings["mira"] for clause in apology):
                await asyncio.sleep(0.01)
        api.voice = behaviour
        await viewer.send(UserText(text="Tell me about Venus."))
        await viewer.wait(SpeechEnd, timeout_s=15)
        assert told(viewer) == [("tts-failed", sentence)], behaviour
        begun = ["Venus is hot."] if behaviour in ("breaks", "stalls") else []
        assert texts(viewer) == begun + apology, behaviour  # the rest of the answer is left out
        api.voice = "normal"
        await viewer.send(UserText(text="Tell me about Venus again."))
        await viewer.wait(ReplyText, when=lambda reply: reply.text == "Very hot.")
        await viewer.aclose()


async def test_a_voice_that_fails_apologises_with_what_was_made_ready_and_speaks_again(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await asyncio.gather(*(voice_fails(shared, behaviour, sentence) for behaviour, sentence in VOICE.items()))
    assert SECRET not in caplog.text and KEY not in caplog.text


async def test_a_voice_that_was_never_there_is_a_silent_end_of_the_turn(shared: Shared) -> None:
    async with serving(Api(voice="error")) as api:
        viewer = await Viewer.connect(with_api(shared, api, "voice", "chat"))
        await viewer.send(UserText(text="Tell me about Venus."))
        await viewer.wait(TurnState, when=lambda turn: turn.state == "idle", timeout_s=2.0)  # nobody waits for sound
        assert viewer.all(SpeechPacket) == [] and [fault.code for fault in viewer.all(Fault)] == ["tts-failed"]
        await viewer.aclose()


async def test_an_opening_that_was_said_once_is_not_asked_for_again(shared: Shared) -> None:
    async with serving(Api()) as api:
        viewer = await Viewer.connect(with_api(shared, api, "voice", "chat"))
        for number in (1, 2):
            await viewer.send(UserText(text="Tell me about Venus."))
            await viewer.wait(SpeechEnd, count=number, timeout_s=15)
        asked = [text for what, text in api.log if what == "voice" and "hot" in text]
        assert asked == ["Venus is hot.", "Very hot.", "Very hot."]
        await viewer.aclose()


async def test_all_services_down_at_once_and_back_again(shared: Shared) -> None:
    pcm = await synthesise(shared, "Tell me about Venus.")
    async with serving(Api(chat="error", ears="error", voice="error")) as api:
        viewer = await Viewer.connect(with_api(shared, api, "chat", "ears", "voice"))
        await viewer.speak(pcm, tail_s=0.8)
        await viewer.wait(TurnState, when=lambda turn: turn.state == "idle")
        assert {fault.code for fault in viewer.all(Fault)} == {"stt-failed", "tts-failed"}
        api.chat = api.ears = api.voice = "normal"
        await viewer.speak(pcm, tail_s=0.8)
        await viewer.wait(ReplyText, when=lambda reply: reply.text == "Very hot.")
        await viewer.aclose()


async def test_what_nobody_has_a_name_for_is_still_a_sentence() -> None:
    assert explain("The voice", RuntimeError(SECRET)) == "The voice failed."

"""What a session tells a client of RTVI, by the client's version; Pipecat's own models judge its shape."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

# Pipecat and what it loads warn about themselves when imported; our own warnings stay errors.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pipecat.processors.frameworks.rtvi import models as rtvi

from core.speech import messages
from core.wire.control import encode_control
from tests.edge.stage import Stage

_MODELS: dict[str, type[Any]] = {
    "bot-ready": rtvi.BotReady,
    "bot-output": rtvi.BotOutputMessage,
    "bot-transcription": rtvi.BotTranscriptionMessage,
    "bot-tts-text": rtvi.BotTTSTextMessage,
    "bot-started-speaking": rtvi.BotStartedSpeakingMessage,
    "bot-stopped-speaking": rtvi.BotStoppedSpeakingMessage,
    "user-started-speaking": rtvi.UserStartedSpeakingMessage,
    "user-stopped-speaking": rtvi.UserStoppedSpeakingMessage,
    "user-transcription": rtvi.UserTranscriptionMessage,
    "server-message": rtvi.ServerMessage,
    "error": rtvi.Error,
    "error-response": rtvi.ErrorResponse,
}


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.connect()
    return stage


def ready(stage: Stage, data: dict[str, Any]) -> list[str]:
    """Types of what answers a client-ready, up to bot-ready."""
    stage.session.on_control(encode_control("client-ready", data, "r1"), stage.now)
    return [message["type"] for message in stage.link.control if message.get("id") == "r1"]


@pytest.mark.parametrize(
    ("data", "spoken"),
    [({}, "1.0.0"), ({"version": "1.4.0"}, "1.0.0"), ({"version": "2.1.0"}, "2.0.0"), ({"version": "2"}, "2.0.0")],
)
def test_a_client_is_answered_in_its_version(stage: Stage, data: dict[str, Any], spoken: str) -> None:
    assert ready(stage, data) == ["bot-ready"]
    assert [message["version"] for message in stage.link.words("bot-ready")] == [spoken]


@pytest.mark.parametrize("version", ["3.0.0", "0.9", "", "x.y", "²", 2, None, ["2"], "9" * 5_000])
def test_a_client_of_no_known_version_is_told_so_and_let_in(stage: Stage, version: object) -> None:
    assert ready(stage, {"version": version}) == ["error-response", "bot-ready"]
    assert stage.link.words("bot-ready")[0]["version"] == "2.0.0"


def converse(stage: Stage) -> None:
    words = (messages.WordSpan("Hi", 0, 4_800), messages.WordSpan("there!", 9_600, 14_400))
    stage.session.receive(messages.Transcript(text="hello", final=True), stage.now)
    stage.session.receive(messages.ReplyText(utterance_id=1, text="Hi there!", words=words), stage.now)
    stage.say(1, 20)
    stage.ticks(25)


def test_clauses_come_as_bot_output_to_those_who_know_it(stage: Stage) -> None:
    ready(stage, {"version": "2.1.0"})
    converse(stage)
    assert [data["spoken_status"] for data in stage.link.words("bot-output")] == ["new", "in-progress", "completed"]
    assert [data["text"] for data in stage.link.words("bot-tts-text")] == ["Hi", "there!"]


def test_older_clients_get_no_words_that_they_do_not_know(stage: Stage) -> None:
    ready(stage, {"version": "1.0.0"})
    converse(stage)
    assert stage.link.words("bot-output") == []
    assert [data["text"] for data in stage.link.words("bot-transcription")] == ["Hi there!"]


def test_a_cut_ends_the_segments(stage: Stage) -> None:
    ready(stage, {"version": "2.0.0"})
    words = (messages.WordSpan("Hi", 0, 4_800), messages.WordSpan("there!", 9_600, 14_400))
    stage.session.receive(messages.ReplyText(utterance_id=1, text="Hi there!", words=words), stage.now)
    stage.say(1, 100)
    stage.ticks(6)
    stage.hear("cut")
    stage.ticks(50)
    assert [data["spoken_status"] for data in stage.link.words("bot-output")] == ["new", "in-progress"]


def test_a_request_that_nobody_knows_is_refused_by_its_id(stage: Stage) -> None:
    stage.session.on_control(encode_control("client-message", {"t": "make-coffee"}, "r7"), stage.now)
    refusal = stage.link.control[-1]
    assert (refusal["type"], refusal["id"]) == ("error-response", "r7")
    assert "interrupt" in refusal["data"]["error"]
    assert stage.registry.get_sample_value("edge_dropped_total", {"reason": "unused-control-message"}) == 1
    before = len(stage.link.control)
    stage.session.on_control(encode_control("bot-ready"), stage.now)
    assert len(stage.link.control) == before, "only requests wait for an answer"


def test_pipecats_own_models_accept_all_that_is_said(stage: Stage) -> None:
    ready(stage, {"version": "2.1.0"})
    converse(stage)
    stage.session.on_control(encode_control("send-text", {"content": ""}), stage.now)
    stage.session.on_control(encode_control("client-message", {"t": "make-coffee"}, "r7"), stage.now)
    stage.hear("started")
    stage.hear("paused")
    stage.ticks(20)
    seen = {message["type"] for message in stage.link.control}
    assert seen >= {"bot-ready", "bot-output", "user-transcription", "error", "error-response", "server-message"}
    for message in stage.link.control:
        _MODELS[message["type"]].model_validate(message)

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from core.speech.messages import Fault, ReplyText, SpeechEnd, UserText
from origin.config import LlmConfig
from origin.dialogue.services import Shared
from tests.origin.viewer import Viewer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _chunk(text: str) -> bytes:
    delta = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return f"data: {json.dumps({**delta, 'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n".encode()


class Model:
    """A streaming chat server that behaves as told."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.requests: list[dict[str, object]] = []
        self.keys: list[str] = []

    async def complete(self, request: Request) -> Response:
        self.requests.append(await request.json())
        self.keys.append(request.headers["authorization"])
        if self.behaviour == "error":
            return Response('{"error": {"message": "secret words"}}', 500, media_type="application/json")
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[bytes]:
        if self.behaviour == "slow":
            await asyncio.sleep(5)
        for word in ("Venus ", "is ", "hot. ", "Very ", "hot."):
            yield _chunk(word)
            if self.behaviour == "broken" and word == "hot. ":
                yield b"data: {not json\n\n"
                return
            if self.behaviour == "stalls" and word == "hot. ":
                await asyncio.sleep(5)
        yield b"data: [DONE]\n\n"


async def _ask(shared: Shared, model: Model) -> tuple[list[str], list[str], Viewer]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = Starlette(routes=[Route("/v1/chat/completions", model.complete, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=0))
    serving = asyncio.create_task(server._serve([listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    if model.behaviour == "down":
        server.should_exit = True
        await serving
    patience_s = 10.0 if model.behaviour == "normal" else 0.4  # a busy machine is no slow model
    llm = LlmConfig(
        service="openai", base_url=url, model="m", api_key="sk-test-key-1234",
        first_token_s=patience_s, stall_s=patience_s,
    )  # fmt: skip
    other = dataclasses.replace(shared, config=dataclasses.replace(shared.config, llm=llm))
    viewer = await Viewer.connect(other)
    await viewer.send(UserText(text="Tell me about Venus."))
    if model.behaviour == "normal":
        await viewer.wait(SpeechEnd, timeout_s=15)
    else:
        await viewer.wait(Fault)
        await viewer.wait(ReplyText, count=2 if model.behaviour in ("broken", "stalls") else 1)
    await viewer.aclose()
    server.should_exit = True
    await serving
    return [reply.text for reply in viewer.all(ReplyText)], [fault.code for fault in viewer.all(Fault)], viewer


async def test_a_streaming_model_answers_clause_by_clause(shared: Shared) -> None:
    model = Model("normal")
    clauses, faults, viewer = await _ask(shared, model)
    assert clauses == ["Venus is hot.", "Very hot."] and faults == []
    assert model.keys == ["Bearer sk-test-key-1234"]
    messages = model.requests[0]["messages"]
    assert isinstance(messages, list)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert "planetarium" in messages[0]["content"]
    assert viewer.session.history()[-1] == {"role": "assistant", "content": "Venus is hot. Very hot."}


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [("down", "llm-failed"), ("error", "llm-failed"), ("slow", "llm-slow")],
)
async def test_a_model_that_cannot_answer_is_apologised_for(shared: Shared, behaviour: str, code: str) -> None:
    clauses, faults, viewer = await _ask(shared, Model(behaviour))
    assert faults == [code]
    assert shared.characters["mira"].apologies[code].startswith(clauses[0])
    assert all("secret" not in fault.message for fault in viewer.all(Fault))


@pytest.mark.parametrize(("behaviour", "code"), [("broken", "llm-failed"), ("stalls", "llm-slow")])
async def test_an_answer_that_breaks_off_is_apologised_for(shared: Shared, behaviour: str, code: str) -> None:
    clauses, faults, _ = await _ask(shared, Model(behaviour))
    assert faults == [code]
    assert clauses[0] == "Venus is hot."
    assert shared.characters["mira"].apologies[code].startswith(clauses[1])

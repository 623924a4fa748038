"""A Pipecat bot with a face: its transport is `VisavisTransport`, everything else is as in any other bot.

    make run ARGS="--set edge.connect_sources=http://127.0.0.1:9000"
    .venv/bin/python examples/pipecat_bot.py

Then open the page with `?origin=http://127.0.0.1:9000`. The services need no account: the origin's own recogniser,
scripted character and voice. Any other Pipecat service may stand in their place.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from core.host.entropy import SystemEntropy
from origin.agent.client import AgentError
from origin.config import OriginConfig
from origin.dialogue.character import load_characters
from origin.dialogue.services import LLM, STT, TTS, Shared
from origin.transport import VisavisTransport

parser = argparse.ArgumentParser(description="A Pipecat bot with a face.")
parser.add_argument("origin", nargs="?", default="http://127.0.0.1:8081", help="where Visavis hands out sessions")
parser.add_argument("port", nargs="?", type=int, default=9000, help="where pages ask this program for one")
given = parser.parse_args()
services = Shared(OriginConfig(), load_characters(), SystemEntropy())
bots: set[asyncio.Task[None]] = set()


async def bot(transport: VisavisTransport) -> None:
    mira = services.characters["mira"]
    turns = UserTurnStrategies(
        start=[VADUserTurnStartStrategy()], stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.4)]
    )
    aggregators = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(user_turn_strategies=turns)
    )
    pipeline = Pipeline(
        [
            transport.input(),
            VADProcessor(vad_analyzer=SileroVADAnalyzer()),
            STT["pocketsphinx"](services, mira),
            aggregators.user(),
            LLM["scripted"](services, mira),
            TTS["espeak"](services, mira),
            transport.output(),
            aggregators.assistant(),
        ]
    )
    worker = PipelineWorker(pipeline, idle_timeout_secs=None)

    async def left(*_: object) -> None:
        await worker.cancel()

    transport.add_event_handler("on_client_disconnected", left)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def sessions(request: Request) -> JSONResponse:
    """What the page asks an origin for; every viewer gets a bot of its own."""
    transport = VisavisTransport(given.origin)
    try:
        ticket = await transport.open()
    except AgentError as error:
        return JSONResponse({"title": "Service Unavailable", "detail": str(error), "code": "no-session"}, 503)
    task = asyncio.create_task(bot(transport))
    bots.add(task)
    task.add_done_callback(bots.discard)
    return JSONResponse(ticket, 201)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    await services.start()
    yield
    await services.aclose()


if __name__ == "__main__":
    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_headers=["*"], allow_methods=["POST"])
    routes = [Route("/v1/sessions", sessions, methods=["POST"])]
    print(f"Open the page with ?origin=http://127.0.0.1:{given.port}")
    uvicorn.run(
        Starlette(routes=routes, middleware=[cors], lifespan=lifespan),
        host="127.0.0.1",
        port=given.port,
        log_level="warning",
    )

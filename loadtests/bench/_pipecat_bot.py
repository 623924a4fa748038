"""A bare Pipecat bot over its own SmallWebRTCTransport, with the services that an origin here has by default.

`python -m loadtests.bench._pipecat_bot` prints its port and serves `POST /offer` until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.workers.runner import WorkerRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from core.host.entropy import SystemEntropy
from core.limits import MEDIA_CLOCK_HZ
from origin.config import OriginConfig
from origin.dialogue.character import load_characters
from origin.dialogue.services import LLM, STT, TTS, Shared

_MICROPHONE_HZ = 16_000


class _Bots:
    def __init__(self, services: Shared) -> None:
        self._services = services
        self._tasks: set[asyncio.Task[None]] = set()

    async def offer(self, request: Request) -> JSONResponse:
        """Signalling as Pipecat's own examples do it: an offer in JSON, an answer in JSON."""
        body = await request.json()
        connection = SmallWebRTCConnection()
        await connection.initialize(sdp=body["sdp"], type=body["type"])
        task = asyncio.create_task(self._run(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        answer: Any = connection
        return JSONResponse(answer.get_answer())  # it has no types

    async def _run(self, connection: SmallWebRTCConnection) -> None:
        services = self._services
        character = services.characters[services.config.character]
        # What the embedded voice makes goes out without resampling: audio_out_sample_rate would else be 24 kHz.
        transport = SmallWebRTCTransport(
            connection,
            TransportParams(audio_in_enabled=True, audio_out_enabled=True, audio_out_sample_rate=MEDIA_CLOCK_HZ),
        )
        # Everything else is Pipecat's default: its turn strategies (VAD and transcript begin a turn, Smart Turn v3
        # ends it) and its Silero parameters (stop after 0.2 s). The detector is in front of the recogniser, as that
        # listens while the user speaks.
        aggregators = LLMContextAggregatorPair(LLMContext())
        ears: Any = STT[services.config.stt.service](services, character)
        ears._audio_passthrough = True  # as Pipecat's services do: Smart Turn hears the sound behind them
        pipeline = Pipeline(
            [
                transport.input(),
                VADProcessor(vad_analyzer=SileroVADAnalyzer()),
                ears,
                aggregators.user(),
                LLM[services.config.llm.service](services, character),
                TTS[services.config.tts.service](services, character),
                transport.output(),
                aggregators.assistant(),
            ]
        )
        worker = PipelineWorker(
            pipeline,
            params=PipelineParams(audio_in_sample_rate=_MICROPHONE_HZ, audio_out_sample_rate=MEDIA_CLOCK_HZ),
            idle_timeout_secs=None,
        )

        async def left(*_: object) -> None:
            await worker.cancel()

        transport.add_event_handler("on_client_disconnected", left)
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()


async def _serve() -> None:
    services = Shared(OriginConfig(), load_characters(), SystemEntropy())
    await services.start()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = Starlette(routes=[Route("/offer", _Bots(services).offer, methods=["POST"])])
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server._serve([listener]))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving
    await services.aclose()


def main() -> None:
    """Serve with the same event loop as our own servers have, if it is there."""
    logger.remove()
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve())


if __name__ == "__main__":
    main()

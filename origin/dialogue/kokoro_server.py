"""Kokoro with the HTTP API of Piper's server; run by `voice_host.py`, in a process of its own.

kokoro-onnx is MIT, but the phonemiser that it loads is GPL-3.0: nothing else imports this file.
"""

from __future__ import annotations

import argparse
import io
import wave
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["application", "main"]


def application(kokoro: Any, voice: str, language: str) -> Starlette:
    """`POST /synthesize` and `GET /voices` over one loaded Kokoro.

    Args:
        kokoro: `kokoro_onnx.Kokoro`.
        voice: for who names none.
        language: as espeak-ng names it.
    """

    def speak(text: str, name: str) -> bytes:
        samples, rate_hz = kokoro.create(text, voice=name, lang=language)
        file = io.BytesIO()
        with wave.open(file, "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(rate_hz)
            wav.writeframes((np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())
        return file.getvalue()

    async def synthesize(request: Request) -> Response:
        try:
            body = await request.json()
            text, name = str(body["text"]), str(body.get("voice") or voice)
        except (ValueError, KeyError, TypeError, AttributeError):
            return JSONResponse({"error": "a JSON object with a text is needed"}, 400)
        if name not in voices:
            return JSONResponse({"error": f"there is no voice {name!r}"}, 400)
        try:
            return Response(await run_in_threadpool(speak, text, name), media_type="audio/wav")
        except ValueError:
            return JSONResponse({"error": "nothing in this text can be spoken"}, 400)

    async def names(request: Request) -> Response:
        return JSONResponse({name: {} for name in voices})

    voices = sorted(kokoro.get_voices())
    return Starlette(routes=[Route("/synthesize", synthesize, methods=["POST"]), Route("/voices", names)])


def main() -> None:
    """Serve one origin."""
    from kokoro_onnx import Kokoro

    parser = argparse.ArgumentParser()
    for name in ("--model", "--voices", "--voice", "--language"):
        parser.add_argument(name, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    app = application(Kokoro(options.model, options.voices), options.voice, options.language)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()

"""A voice behind an OpenAI-compatible API that may be slow, overloaded, down or break off: the character says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from pipecat.frames.frames import Frame, StartFrame, TTSAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.openai.tts import OpenAITTSService

from origin.config import TtsConfig
from origin.dialogue.character import Character
from origin.dialogue.clause_stock import ClauseStock, speak
from origin.dialogue.frames import AnswerFrame, FaultFrame
from origin.dialogue.openings import Opening, Openings, apologies
from origin.dialogue.service_faults import explain

__all__ = ["GuardedOpenAITTSService"]

_log = logging.getLogger(__name__)

_RATE_HZ: Final = 24_000
"""What the API sends."""
_CHUNK_BYTES: Final = _RATE_HZ * 2 // 10
_EMPTY: Final = "The voice sent no sound."


class GuardedOpenAITTSService(OpenAITTSService):
    """Pipecat's OpenAI voice with time limits. After a failure the rest of the answer is left out, and the apology that
    was made ready when the session began is spoken. A guess that fails is silent.

    Args:
        config: section [origin.tts].
        api_key: of the API.
        character: whose apologies are made ready.
        openings: of this character, shared by its sessions.
    """

    def __init__(self, config: TtsConfig, api_key: str, character: Character, openings: Openings) -> None:
        super().__init__(
            api_key=api_key,
            base_url=config.base_url,
            sample_rate=_RATE_HZ,
            settings=OpenAITTSService.Settings(model=config.model, voice=config.voice),
        )
        # The character apologises sooner than a retry would help.
        self._client = self._client.with_options(max_retries=0)
        self._config = config
        self._character = character
        self._openings = openings
        self._stock = ClauseStock(openings, character.apologies["tts-failed"])
        self._warming: asyncio.Task[None] | None = None

    async def start(self, frame: StartFrame) -> None:
        """See TTSService; also makes the apologies ready, once per character."""
        await super().start(frame)
        if not self._openings.warming:
            self._openings.warming = True
            self._warming = self.create_task(self._warm(), name="openings")

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        if isinstance(frame, AnswerFrame):
            self._stock.begin(frame.answer)
        await super().process_frame(frame, direction)

    async def cleanup(self) -> None:
        """See FrameProcessor; also closes the connections."""
        if self._warming is not None and not self._warming.done():
            await self.cancel_task(self._warming)
            self._openings.warming = False  # another session makes the rest ready
        await super().cleanup()
        await self._client.close()

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        """See TTSService."""
        if self._stock.broken:
            return
        first = self._stock.first
        if (ready := self._stock.take(text.strip())) is not None:
            for frame in speak(text.strip(), ready, context_id):
                yield frame
            return
        pcm = bytearray()
        try:
            await self.start_tts_usage_metrics(text)
            async for chunk in self._sound(text):
                pcm += chunk
                yield TTSAudioRawFrame(chunk, _RATE_HZ, 1, context_id=context_id)
            if not pcm:
                raise ValueError(_EMPTY)
        except Exception as error:
            # Only the kind of error: its text may quote what was to be said.
            _log.warning("the voice: %s", type(error).__name__)
            self._stock.broken = True
            if self._stock.answer.fail():
                return
            message = _EMPTY if str(error) == _EMPTY else explain("The voice", error, begun=bool(pcm))
            await self.push_frame(FaultFrame(code="tts-failed", message=message))
            for frame in self._stock.excuse(context_id):
                yield frame
            return
        self._stock.keep(text.strip(), Opening(pcm=bytes(pcm), rate_hz=_RATE_HZ), first=first)

    async def on_turn_context_completed(self) -> None:
        """See TTSService. All sound is there by now, even if it is none: nobody waits for more."""
        self._is_yielding_frames_synchronously = True
        await super().on_turn_context_completed()

    async def _sound(self, text: str) -> AsyncIterator[bytes]:
        """Pieces of the sound. Raises: TimeoutError: one does not come; what the client's libraries raise."""
        request = self._client.audio.speech.with_streaming_response.create(
            input=text,
            model=self._config.model,
            voice=self._config.voice,  # compatible APIs have others than OpenAI's
            response_format="pcm",
        )
        async with contextlib.AsyncExitStack() as stack:
            # No time limit around a yield: it would run on, and hit whoever asked, while nobody waits for the API.
            async with asyncio.timeout(self._config.timeout_s):
                response = await stack.enter_async_context(request)
            pieces = aiter(response.iter_bytes(_CHUNK_BYTES))
            while True:
                async with asyncio.timeout(self._config.timeout_s):
                    chunk = await anext(pieces, None)
                if chunk is None:
                    return
                yield chunk

    async def _warm(self) -> None:
        """Make the apologies ready while the API can still be reached."""
        try:
            for text in apologies(self._character):
                if text not in self._openings:
                    pcm = b"".join([chunk async for chunk in self._sound(text)])
                    self._openings.keep_apology(text, Opening(pcm=pcm, rate_hz=_RATE_HZ))
        except Exception as error:
            self._openings.warming = False
            _log.warning("the character's apologies are not ready: %s", explain("The voice", error))

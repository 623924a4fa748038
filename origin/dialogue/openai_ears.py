"""A recogniser behind an OpenAI-compatible API that may be slow, overloaded or down.

Every stretch of speech gives exactly one transcript whatever happens, so that the turn ends and the character can say
what is wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

from pipecat.frames.frames import Frame, TranscriptionFrame
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.utils.time import time_now_iso8601

from origin.config import SttConfig
from origin.dialogue.frames import FaultFrame
from origin.dialogue.service_faults import explain

__all__ = ["GuardedOpenAISTTService"]

_log = logging.getLogger(__name__)


class GuardedOpenAISTTService(OpenAISTTService):
    """See the module. A failure is a FaultFrame "stt-failed" before an empty transcript.

    Args:
        config: section [origin.stt].
        api_key: of the API.
    """

    def __init__(self, config: SttConfig, api_key: str) -> None:
        super().__init__(
            api_key=api_key,
            base_url=config.base_url,
            settings=OpenAISTTService.Settings(model=config.model),
            ttfs_p99_latency=config.timeout_s,
        )
        # The character apologises sooner than a retry would help.
        self._client = self._client.with_options(max_retries=0)
        self._timeout_s = config.timeout_s

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        """See STTService."""
        text = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                text = (await self._transcribe(audio)).text.strip()
        except Exception as error:
            # Only the kind of error: its text may quote what was said.
            _log.warning("the recogniser: %s", type(error).__name__)
            await self.push_frame(FaultFrame(code="stt-failed", message=explain("The recogniser", error)))
        yield TranscriptionFrame(text, "viewer", time_now_iso8601(), finalized=True)

    async def cleanup(self) -> None:
        """See FrameProcessor; also closes the connections."""
        await super().cleanup()
        await self._client.close()

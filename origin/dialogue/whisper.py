"""Whisper as a recogniser: Pipecat's service over faster-whisper, its model loaded once for all sessions."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

from pipecat.frames.frames import ErrorFrame, Frame, TranscriptionFrame
from pipecat.services.whisper.stt import WhisperSTTService
from pipecat.utils.time import time_now_iso8601

from core.errors import ConfigError
from origin.config import SttConfig
from origin.dialogue.frames import FaultFrame

__all__ = ["SharedWhisperSTTService", "load_model"]

_log = logging.getLogger(__name__)


def load_model(config: SttConfig) -> Any:
    """Load the model; takes seconds, blocks, and fetches a model that is only named.

    Raises: ConfigError: it is neither here nor to be had.
    """
    from faster_whisper import WhisperModel

    name = config.whisper_model
    try:
        return WhisperModel(name, device=config.whisper_device)
    except Exception as error:
        # Its libraries raise a dozen kinds, of the network, of the disk and of the model's own files.
        raise ConfigError(
            f"origin.stt.whisper_model: {name!r} can neither be loaded nor fetched ({type(error).__name__}); "
            "give the folder of a faster-whisper model, or a name while there is a network"
        ) from None


class SharedWhisperSTTService(WhisperSTTService):
    """Every stretch of speech gives one finalized TranscriptionFrame, with empty text when nothing was understood.

    Args:
        model: from `load_model`.
    """

    def __init__(self, model: Any, config: SttConfig) -> None:
        self._shared_model = model
        super().__init__(
            settings=WhisperSTTService.Settings(model=config.whisper_model), ttfs_p99_latency=config.timeout_s
        )

    def _load(self) -> None:
        self._model = self._shared_model

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame, None]:
        """See STTService. The model works in a thread."""
        text = ""
        try:
            async for frame in super().run_stt(audio):
                if isinstance(frame, TranscriptionFrame):
                    text = frame.text.strip()
                elif isinstance(frame, ErrorFrame):
                    await self.push_frame(FaultFrame(code="stt-failed", message="The recogniser failed."))
                else:
                    yield frame
        except (RuntimeError, ValueError, OSError) as error:
            _log.warning("whisper failed: %s", type(error).__name__)
            await self.push_frame(FaultFrame(code="stt-failed", message="The recogniser failed."))
        yield TranscriptionFrame(text, "viewer", time_now_iso8601(), finalized=True)

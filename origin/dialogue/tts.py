"""Text to speech: the embedded espeak-ng voice as a Pipecat service, and its worker process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncGenerator
from typing import Final

import msgspec
from pipecat.frames.frames import Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import PhonemeSpan, WordSpan
from origin.dialogue.character import Voice
from origin.dialogue.frames import ClauseTimesFrame, FaultFrame
from origin.dialogue.worker_messages import Cancel, Clause, Failed, Say, tts_report_decoder
from origin.dialogue.worker_process import WorkerGoneError, WorkerProcess

__all__ = ["EspeakTTSService", "SpeechFailedError", "VoiceWorker"]

_log = logging.getLogger(__name__)

_WORKER: Final = "origin.dialogue.tts_worker"
_CHUNK_BYTES: Final = MEDIA_CLOCK_HZ * 2 // 5
"""200 ms of sound per frame."""


class SpeechFailedError(Exception):
    """A clause could not be spoken."""


class VoiceWorker:
    """The one espeak-ng process of an origin; a thousand times faster than real time, so one serves all sessions."""

    def __init__(self, timeout_s: float = 5.0) -> None:
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Clause]] = {}
        self.process = WorkerProcess(
            _WORKER, tts_report_decoder, on_report=self._receive, on_up=lambda: None, on_down=self._lost
        )

    async def start(self, timeout_s: float = 30.0) -> None:
        """Start the process and wait until it speaks. Raises: WorkerGoneError: it does not come up."""
        self.process.start()
        await self.process.wait_up(timeout_s)

    async def aclose(self) -> None:
        """End the process."""
        await self.process.aclose()

    async def speak(self, text: str, voice: Voice, *, silent: bool = False) -> Clause:
        """Synthesise one clause; cancelling the call cancels the synthesis.

        Args:
            silent: only the times of its phonemes and words are wanted.

        Raises: SpeechFailedError: the voice refuses it. WorkerGoneError: the worker died or is not up.
        """
        await self.process.wait_up(self._timeout_s)
        number = next(self._ids)
        future: asyncio.Future[Clause] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self.process.send(
                Say(
                    id=number,
                    text=text,
                    voice=voice.full_name,
                    rate_wpm=voice.rate_wpm,
                    pitch=voice.pitch,
                    range=voice.range,
                    silent=silent,
                )
            )
            async with asyncio.timeout(self._timeout_s):
                return await future
        except TimeoutError:
            self.process.kill()
            raise WorkerGoneError("the voice did not answer in time") from None
        except asyncio.CancelledError:
            with contextlib.suppress(WorkerGoneError):
                self.process.send(Cancel(id=number))
            raise
        finally:
            del self._waiting[number]

    def _receive(self, report: msgspec.Struct) -> None:
        match report:
            case Clause():
                future = self._waiting.get(report.id)
                if future is not None and not future.done():
                    future.set_result(report)
            case Failed():
                future = self._waiting.get(report.id)
                if future is not None and not future.done():
                    future.set_exception(SpeechFailedError(report.reason))
            case _:
                pass

    def _lost(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(WorkerGoneError("the voice's worker has died"))


class EspeakTTSService(TTSService):
    """The embedded voice: gives each clause's phonemes and words ahead of its sound.

    Args:
        worker: shared by all sessions.
        voice: the character's.
    """

    def __init__(self, worker: VoiceWorker, voice: Voice) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            push_text_frames=False,
            sample_rate=MEDIA_CLOCK_HZ,
            max_consecutive_zero_audio_contexts=0,
            settings=TTSSettings(model="espeak-ng", voice=voice.full_name, language=None),
        )
        self._worker = worker
        self._voice = voice

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """See TTSService. A worker that dies is asked once more when it is back."""
        try:
            clause = await self._speak_twice(text)
        except (SpeechFailedError, WorkerGoneError) as error:
            _log.warning("a clause could not be spoken: %s", error)
            await self.push_frame(FaultFrame(code="tts-failed", message="The voice failed."))
            return
        yield ClauseTimesFrame(
            text=text.strip(),
            words=tuple(WordSpan(*word) for word in clause.words),
            phonemes=tuple(PhonemeSpan(*phoneme) for phoneme in clause.phonemes),
        )
        for offset in range(0, len(clause.pcm), _CHUNK_BYTES):
            yield TTSAudioRawFrame(clause.pcm[offset : offset + _CHUNK_BYTES], MEDIA_CLOCK_HZ, 1, context_id=context_id)

    async def _speak_twice(self, text: str) -> Clause:
        try:
            return await self._worker.speak(text, self._voice)
        except WorkerGoneError as error:
            _log.warning("%s; asking again", error)
            await self.push_frame(FaultFrame(code="tts-failed", message="The voice was restarted."))
        return await self._worker.speak(text, self._voice)

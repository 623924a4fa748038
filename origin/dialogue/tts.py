"""Text to speech: the embedded espeak-ng voice as a Pipecat service, and its worker process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncGenerator
from typing import Final

import msgspec
from pipecat.frames.frames import Frame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import PhonemeSpan, WordSpan
from origin.dialogue.character import Voice
from origin.dialogue.clause_stock import ClauseStock, speak
from origin.dialogue.frames import AnswerFrame, FaultFrame
from origin.dialogue.openings import Opening
from origin.dialogue.worker_messages import Cancel, Clause, Failed, Say, tts_report_decoder
from origin.dialogue.worker_process import WorkerGoneError, WorkerProcess

__all__ = ["EspeakTTSService", "SpeechFailedError", "VoiceWorker", "opening_of"]

_log = logging.getLogger(__name__)

_WORKER: Final = "origin.dialogue.tts_worker"


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


def opening_of(clause: Clause) -> Opening:
    """A clause as it came from the worker."""
    return Opening(
        pcm=clause.pcm,
        rate_hz=MEDIA_CLOCK_HZ,
        words=tuple(WordSpan(*word) for word in clause.words),
        phonemes=tuple(PhonemeSpan(*phoneme) for phoneme in clause.phonemes),
    )


class EspeakTTSService(TTSService):
    """The embedded voice: gives each clause's phonemes and words ahead of its sound.

    Args:
        worker: shared by all sessions.
        voice: the character's.
        stock: openings of this character in this voice.
    """

    def __init__(self, worker: VoiceWorker, voice: Voice, stock: ClauseStock) -> None:
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
        self._stock = stock

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        if isinstance(frame, AnswerFrame):
            self._stock.begin(frame.answer)
        await super().process_frame(frame, direction)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """See TTSService. A worker that dies is asked once more when it is back."""
        text = text.strip()
        first = self._stock.first
        opening = self._stock.take(text)
        if opening is None:
            try:
                opening = opening_of(await self._speak_twice(text))
            except (SpeechFailedError, WorkerGoneError) as error:
                _log.warning("a clause could not be spoken: %s", error)
                if not self._stock.answer.fail():
                    await self.push_frame(FaultFrame(code="tts-failed", message="The voice failed."))
                    for frame in self._stock.excuse(context_id):
                        yield frame
                return
            self._stock.keep(text, opening, first=first)
        for frame in speak(text, opening, context_id):
            yield frame

    async def on_turn_context_completed(self) -> None:
        """See TTSService. All sound is there by now, even if it is none: nobody waits for more."""
        self._is_yielding_frames_synchronously = True
        await super().on_turn_context_completed()

    async def _speak_twice(self, text: str) -> Clause:
        try:
            return await self._worker.speak(text, self._voice)
        except WorkerGoneError as error:
            _log.warning("%s; asking again", error)
            if not self._stock.answer.open:
                await self.push_frame(FaultFrame(code="tts-failed", message="The voice was restarted."))
        return await self._worker.speak(text, self._voice)

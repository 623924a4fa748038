"""Speech to text: PocketSphinx in worker processes, as a Pipecat service that listens while the user speaks."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Final

import msgspec
import numpy as np
from pipecat.frames.frames import (
    Frame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.utils.time import time_now_iso8601

from origin.dialogue.character import Character
from origin.dialogue.frames import FaultFrame
from origin.dialogue.worker_messages import (
    Cancel,
    Failed,
    Feed,
    Finish,
    Partial,
    Prepare,
    Prepared,
    Recognised,
    Start,
    stt_report_decoder,
)
from origin.dialogue.worker_process import WorkerGoneError, WorkerProcess

__all__ = ["SAMPLE_RATE_HZ", "EarPool", "Hearing", "PocketSphinxSTTService", "QuietEnd"]

_log = logging.getLogger(__name__)

_WORKER: Final = "origin.dialogue.stt_worker"
SAMPLE_RATE_HZ: Final = 16_000
_PREROLL_BYTES: Final = SAMPLE_RATE_HZ * 2 // 2
"""Half a second before the detector said that somebody speaks: the detector is late, the first consonant is not."""
_UTTERANCE_BYTES_MAX: Final = SAMPLE_RATE_HZ * 2 * 60
"""Nobody says one sentence for longer than a minute; the rest of it is not listened to."""
_QUIET_BYTES: Final = SAMPLE_RATE_HZ * 2 // 10
"""So much silence the recogniser hears at the end of speech."""
_QUIET_BELOW_PEAK: Final = 10 ** (-35 / 20)
_HELD_BYTES_MAX: Final = SAMPLE_RATE_HZ * 2 * 4 // 10
"""The detector would have said stop: this is quiet speech after something loud."""


class _Ear:
    """One worker process and the utterance it hears."""

    def __init__(self, pool: EarPool) -> None:
        self.pool = pool
        self.hearing: Hearing | None = None
        self.process = WorkerProcess(
            _WORKER, stt_report_decoder, on_report=self._receive, on_up=self._up, on_down=self._lost
        )

    def _up(self) -> None:
        for prepare in self.pool.preparations:
            self.process.send(prepare)
        self.pool.assign()

    def _receive(self, report: msgspec.Struct) -> None:
        hearing = self.hearing
        match report:
            case Prepared(unknown=unknown) if unknown:
                _log.warning(
                    "the recogniser's dictionary lacks %s; phrases with them are left out "
                    "(give the character a [pronunciations] entry)",
                    ", ".join(unknown),
                )
            case Partial() if hearing is not None and report.id == hearing.id:
                hearing.on_partial(report.text)
            case Recognised() if hearing is not None and report.id == hearing.id:
                hearing.settle(report)
            case Failed() if hearing is not None and report.id == hearing.id:
                hearing.fail(WorkerGoneError(report.reason))
            case _:
                pass

    def _lost(self) -> None:
        if self.hearing is not None:
            self.hearing.fail(WorkerGoneError("the recogniser's worker has died"))


class Hearing:
    """One utterance on its way through a worker; waits in line while all workers are busy.

    Attributes:
        result: done when the words are known, or failed with WorkerGoneError.
    """

    def __init__(self, pool: EarPool, number: int, character: str, on_partial: Callable[[str], None]) -> None:
        self.id = number
        self.on_partial = on_partial
        self.result: asyncio.Future[Recognised] = asyncio.get_running_loop().create_future()
        self._pool = pool
        self._character = character
        self._ear: _Ear | None = None
        self._queued: list[msgspec.Struct] = []
        self._fed = 0

    def begin(self, ear: _Ear) -> None:
        """A worker is free: tell it everything so far."""
        self._ear = ear
        queued, self._queued = self._queued, []
        self._tell(Start(id=self.id, character=self._character))
        for message in queued:
            self._tell(message)

    def feed(self, pcm: bytes) -> None:
        """More of the utterance: 16 kHz mono 16-bit PCM."""
        self._fed += len(pcm)
        if self._fed <= _UTTERANCE_BYTES_MAX:
            self._tell(Feed(id=self.id, pcm=pcm))

    def finish(self) -> None:
        """It is over: `result` will be set."""
        self._tell(Finish(id=self.id))

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        if not self.result.done():
            self._tell(Cancel(id=self.id))
            self.result.cancel()
            self._free()

    def settle(self, report: Recognised) -> None:
        """The worker has answered."""
        if not self.result.done():
            self.result.set_result(report)
        self._free()

    def fail(self, error: WorkerGoneError) -> None:
        """The worker cannot answer."""
        if not self.result.done():
            self.result.set_exception(error)
            self.result.exception()  # the one who asked may be gone: no warning about it
        self._free()

    def _tell(self, message: msgspec.Struct) -> None:
        if self.result.done():
            return
        if self._ear is None:
            self._queued.append(message)
            return
        try:
            self._ear.process.send(message)
        except WorkerGoneError as error:
            self.fail(error)

    def _free(self) -> None:
        self._pool.free(self, self._ear)
        self._ear = None


class EarPool:
    """The recogniser's worker processes, shared by all sessions.

    Args:
        workers: how many viewers may speak at the same time without waiting.
        characters: whose phrases they know.
    """

    def __init__(self, workers: int, characters: tuple[Character, ...]) -> None:
        self._ids = itertools.count(1)
        self._line: deque[Hearing] = deque()
        self.preparations = [
            Prepare(
                id=0,
                character=character.id,
                phrases=tuple(character.phrases()),
                pronunciations=dict(character.pronunciations),
            )
            for character in characters
        ]
        self.ears = [_Ear(self) for _ in range(workers)]

    async def start(self, timeout_s: float = 60.0) -> None:
        """Start all workers and wait until the models are loaded. Raises: WorkerGoneError: one does not come up."""
        for ear in self.ears:
            ear.process.start()
        for ear in self.ears:
            await ear.process.wait_up(timeout_s)

    async def aclose(self) -> None:
        """End all workers."""
        await asyncio.gather(*(ear.process.aclose() for ear in self.ears))

    def listen(self, character: str, on_partial: Callable[[str], None]) -> Hearing:
        """Begin an utterance."""
        hearing = Hearing(self, next(self._ids), character, on_partial)
        self._line.append(hearing)
        self.assign()
        return hearing

    def assign(self) -> None:
        """Give free workers to who waits."""
        for ear in self.ears:
            if not self._line:
                return
            if ear.hearing is None and ear.process.up:
                ear.hearing = self._line.popleft()
                ear.hearing.begin(ear)

    def free(self, hearing: Hearing, ear: _Ear | None) -> None:
        """An utterance is over, one way or another."""
        if ear is not None and ear.hearing is hearing:
            ear.hearing = None
        elif hearing in self._line:
            self._line.remove(hearing)
        self.assign()

    @property
    def waiting(self) -> int:
        """Utterances without a worker."""
        return len(self._line)


class QuietEnd:
    """Holds back the silence in which the detector makes sure that speech has ended.

    The recogniser learns nothing from it, makes up words in it, and is done with the speech itself by the time the
    detector has made up its mind.
    """

    def __init__(self) -> None:
        self._peak = 0.0
        self._quiet = 0
        self._held = bytearray()

    def push(self, pcm: bytes) -> bytes:
        """16-bit PCM. Returns: what the recogniser should hear now; all that was held back once speech goes on."""
        samples = np.frombuffer(pcm, "<i2").astype(np.float32)
        level = math.sqrt(float(np.mean(samples**2))) if len(samples) else 0.0
        self._peak = level if len(self._held) > _HELD_BYTES_MAX else max(self._peak, level)
        if level >= self._peak * _QUIET_BELOW_PEAK:
            held, self._held, self._quiet = bytes(self._held), bytearray(), 0
            return held + pcm
        self._quiet += len(pcm)
        if self._quiet <= _QUIET_BYTES:
            return pcm
        self._held += pcm
        return b""


class PocketSphinxSTTService(STTService):
    """Listens while the user speaks, so that the words are there a few milliseconds after the detector says stop.

    Every stretch of speech gives exactly one finalized TranscriptionFrame, with empty text when nothing was understood.
    After a worker's death there is a FaultFrame "stt-failed" before it.

    Args:
        pool: shared by all sessions.
        character: id whose phrases to expect.
    """

    def __init__(self, pool: EarPool, character: str) -> None:
        super().__init__(
            audio_passthrough=False,
            sample_rate=SAMPLE_RATE_HZ,
            ttfs_p99_latency=0.3,
            settings=STTSettings(model="pocketsphinx-en-us", language=None),
        )
        self._pool = pool
        self._character = character
        self._preroll = bytearray()
        self._quiet_end = QuietEnd()
        self._hearing: Hearing | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._partials: asyncio.Queue[str] = asyncio.Queue()

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """See STTService."""
        if self._hearing is not None:
            if heard := self._quiet_end.push(audio):
                self._hearing.feed(heard)
        else:
            self._preroll += audio
            del self._preroll[: max(0, len(self._preroll) - _PREROLL_BYTES)]
        while not self._partials.empty():
            yield InterimTranscriptionFrame(self._partials.get_nowait(), "viewer", time_now_iso8601())

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._begin()
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self._finish()

    async def cleanup(self) -> None:
        """See FrameProcessor."""
        if self._hearing is not None:
            self._hearing.cancel()
            self._hearing = None
        for task in list(self._answers):
            await self.cancel_task(task)
        await super().cleanup()

    def _begin(self) -> None:
        if self._hearing is not None:
            self._hearing.cancel()
        self._hearing = self._pool.listen(self._character, self._partials.put_nowait)
        self._quiet_end = QuietEnd()
        self._hearing.feed(bytes(self._preroll))
        self._preroll.clear()

    def _finish(self) -> None:
        hearing, self._hearing = self._hearing, None
        if hearing is None:
            return
        hearing.finish()
        task = self.create_task(self._answer(hearing), name="transcript")
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, hearing: Hearing) -> None:
        try:
            text = (await hearing.result).text
        except WorkerGoneError as error:
            _log.warning("%s", error)
            await self.push_frame(FaultFrame(code="stt-failed", message="The recogniser was restarted."))
            text = ""
        finally:
            hearing.cancel()
        frame = TranscriptionFrame(text, "viewer", time_now_iso8601(), finalized=True)
        await self.push_frame(frame)

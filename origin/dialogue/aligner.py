"""Forced alignment as a service of the origin: one worker process, asked by all sessions, never waited for."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Final

import msgspec

from core.limits import ALIGNMENTS_WAITING_MAX
from origin.dialogue.worker_messages import Align, Aligned, aligner_report_decoder
from origin.dialogue.worker_process import WorkerGoneError, WorkerProcess

__all__ = ["Aligner"]

_log = logging.getLogger(__name__)

_WORKER: Final = "origin.dialogue.aligner_worker"
_TIMEOUT_S: Final = 10.0


class Aligner:
    """See the module. Whoever gets no answer stays with what it has, so nothing here raises.

    Attributes:
        process: the worker.
        refused: alignments that nobody made, because too many waited, or the worker was not there or too slow.
    """

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[tuple[int, int], ...]]] = {}
        self.refused = 0
        self.process = WorkerProcess(
            _WORKER, aligner_report_decoder, on_report=self._receive, on_up=lambda: None, on_down=self._lost
        )

    @staticmethod
    def knows(language: str) -> bool:
        """Whether it has a model of that language's sounds."""
        return language.lower().startswith("en")

    def start(self) -> None:
        """Begin to keep the process running."""
        self.process.start()

    async def aclose(self) -> None:
        """End the process."""
        await self.process.aclose()

    async def align(
        self, pcm: bytes, words: tuple[tuple[str, ...], ...], *, complete: bool
    ) -> tuple[tuple[int, int], ...]:
        """See `forced_alignment.align_words`. Returns: the first phonemes' times, none when they are not known."""
        if len(self._waiting) >= ALIGNMENTS_WAITING_MAX:
            self.refused += 1
            return ()
        number = next(self._ids)
        future: asyncio.Future[tuple[tuple[int, int], ...]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self.process.send(Align(id=number, pcm=pcm, words=words, complete=complete))
            async with asyncio.timeout(_TIMEOUT_S):
                return await future
        except (TimeoutError, WorkerGoneError) as error:
            self.refused += 1
            if isinstance(error, TimeoutError):
                _log.warning("the aligner did not answer in time, replacing it")
                self.process.kill()
            return ()
        finally:
            del self._waiting[number]

    def _receive(self, report: msgspec.Struct) -> None:
        if isinstance(report, Aligned):
            future = self._waiting.get(report.id)
            if future is not None and not future.done():
                future.set_result(report.times)

    def _lost(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(WorkerGoneError("the aligner's worker has died"))

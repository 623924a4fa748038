"""Phonemes and words for voices that give none, without ever making their sound wait.

espeak-ng says which phonemes a text has. As soon as the first sound is there they are spread over the clause at the
pace that this voice had so far, and moved to where PocketSphinx hears them while more comes in. Where it has no model
of the language they are stretched over the whole sound once its end is known; where espeak-ng is missing there are
none, and the face goes by the sound alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from core.limits import ALIGN_EVERY_S, ALIGNED_S_MAX, MEDIA_CLOCK_HZ
from core.speech.clause_times import Pronounced, first_sound, last_sound, pronounced, times
from core.speech.messages import PhonemeSpan, WordSpan
from origin.dialogue.aligner import Aligner
from origin.dialogue.forced_alignment import RATE_HZ
from origin.dialogue.live_times import LiveTimes
from origin.dialogue.worker_messages import Clause

__all__ = ["ClauseTimer", "Pace"]

_TICKS: Final = MEDIA_CLOCK_HZ // RATE_HZ
_PACE_MIN: Final = 0.4
_PACE_MAX: Final = 2.5
"""A voice beyond these says something else than its text."""
_MEMORY_TICKS: Final = 30 * MEDIA_CLOCK_HZ
"""The pace is that of the last half minute."""
_PIECE_S: Final = 0.5

Pronounce = Callable[[str], Awaitable[Clause | None]]


@dataclass(slots=True)
class Pace:
    """How fast a voice speaks, as a multiple of espeak-ng's time for the same text; learnt as it speaks."""

    _spoken: float = 0.0
    _pronounced: float = 0.0

    def learn(self, spoken: int, length: int) -> None:
        """A clause of `length` ticks in espeak-ng's mouth took `spoken` ticks."""
        if length <= 0 or not _PACE_MIN <= spoken / length <= _PACE_MAX:
            return
        keep = min(1.0, _MEMORY_TICKS / (self._pronounced + 1.0))
        self._spoken = self._spoken * keep + spoken
        self._pronounced = self._pronounced * keep + length

    @property
    def now(self) -> float:
        """1 while nothing is known."""
        return self._spoken / self._pronounced if self._pronounced else 1.0


class ClauseTimer:
    """Of one clause. Everything is done by its own task, which ends by itself after `end`, or is cancelled by `aclose`.

    Args:
        text: what is said.
        pronounce: tells how espeak-ng says it; None: it cannot.
        aligner: None: nobody knows the sounds of this language.
        pace: of the voice.

    Attributes:
        times: what is known by now.
    """

    def __init__(self, text: str, pronounce: Pronounce, aligner: Aligner | None, pace: Pace) -> None:
        self.times = LiveTimes()
        self._aligner = aligner
        self._pace = pace
        self._said: Pronounced | None = None
        self._heard: list[npt.NDArray[np.int16]] = []
        self._samples = 0
        self._onset: int | None = None
        self._known: tuple[tuple[int, int], ...] = ()
        self._ended = False
        self._news = asyncio.Event()
        self._placed = asyncio.Event()
        self._resampler: soxr.ResampleStream | None = None
        self._rate_hz = 0
        self._part = b""
        self._task = asyncio.get_running_loop().create_task(self._run(text, pronounce), name="clause times")

    # --- what is told ----------------------------------------------------------------------------------------------

    async def push(self, audio: bytes, rate_hz: int, channels: int) -> None:
        """More of its sound: 16-bit PCM, channels interleaved; may end within a sample."""
        audio = self._part + audio
        whole = len(audio) - len(audio) % (2 * channels)
        self._part = audio[whole:]
        piece = round(_PIECE_S * rate_hz) * 2 * channels
        for offset in range(0, whole, piece):
            if self._samples >= ALIGNED_S_MAX * RATE_HZ:
                self._samples += len(audio[offset:whole]) // (2 * channels) * RATE_HZ // rate_hz
                break
            self._hear(np.frombuffer(audio[offset : min(whole, offset + piece)], "<i2"), rate_hz, channels)
            if offset:
                await asyncio.sleep(0)
        self._news.set()

    def end(self) -> None:
        """All its sound was told."""
        if self._resampler is not None and self._samples < ALIGNED_S_MAX * RATE_HZ:
            self._keep(np.asarray(self._resampler.resample_chunk(np.zeros(0, np.int16), last=True), np.int16))
        self._ended = True
        self._news.set()

    async def placed(self, timeout_s: float) -> None:
        """Wait until anything is known, or it is clear that nothing ever will, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._placed.wait()

    async def aclose(self) -> None:
        """Nobody wants to know any more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _hear(self, pcm: npt.NDArray[np.int16], rate_hz: int, channels: int) -> None:
        if channels > 1:
            pcm = (pcm.reshape(-1, channels).astype(np.int32).sum(axis=1) // channels).astype(np.int16)
        if rate_hz != self._rate_hz:
            self._rate_hz = rate_hz
            self._resampler = None
            if rate_hz != RATE_HZ:
                self._resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="int16")
        if self._resampler is not None:
            pcm = np.asarray(self._resampler.resample_chunk(pcm), np.int16)
        self._keep(pcm)

    def _keep(self, pcm: npt.NDArray[np.int16]) -> None:
        if self._onset is None:
            found = first_sound(_float(pcm), RATE_HZ)
            if found is not None:
                self._onset = self._samples * _TICKS + found
        self._heard.append(pcm)
        self._samples += len(pcm)

    # --- what is found out -----------------------------------------------------------------------------------------

    async def _run(self, text: str, pronounce: Pronounce) -> None:
        try:
            clause = await pronounce(text)
            if clause is None:
                return
            said = pronounced([PhonemeSpan(*one) for one in clause.phonemes], [WordSpan(*one) for one in clause.words])
            if not said.sounds:
                return
            self._said = said
            if self._aligner is None:
                self.times.settle()
            await self._follow(said)
        finally:
            self.times.settle()
            self._placed.set()

    async def _follow(self, said: Pronounced) -> None:
        words = tuple(symbols for _, symbols in said.spelled())
        looked = 0
        while not self._ended:
            await self._news.wait()
            self._news.clear()
            if self._ended:
                break
            self._place(None)
            new_s = (self._samples - looked) / RATE_HZ
            if self._aligner is not None and new_s >= ALIGN_EVERY_S and looked < ALIGNED_S_MAX * RATE_HZ:
                looked = self._samples
                found = await self._aligner.align(self._sound().tobytes(), words, complete=False)
                if len(found) > len(self._known):
                    self._known = found
                    self.times.settle(found[-1][1])
                if not self._ended:
                    self._place(None)
        if self._onset is not None:
            await self._finish(words)

    async def _finish(self, words: tuple[tuple[str, ...], ...]) -> None:
        """All of the sound is there."""
        assert self._said is not None and self._onset is not None
        sound = self._sound()
        whole = self._samples <= ALIGNED_S_MAX * RATE_HZ
        end = last_sound(_float(sound), RATE_HZ) if whole else self._samples * _TICKS
        self._place(end)
        self._pace.learn(end - self._onset, self._said.length)
        if self._aligner is not None:
            found = await self._aligner.align(sound.tobytes(), words, complete=whole)
            if len(found) > len(self._known):
                self._known = found
                self._place(end)

    def _place(self, end: int | None) -> None:
        """Tell what is known now; while the sound is silent it begins after what came so far."""
        assert self._said is not None
        onset = self._samples * _TICKS if self._onset is None else self._onset
        self.times.revise(*times(self._said, self._known, onset, end, self._pace.now))
        self._placed.set()

    def _sound(self) -> npt.NDArray[np.int16]:
        """What came so far, as far as anybody listens to it."""
        return np.concatenate([*self._heard, np.zeros(0, np.int16)])[: round(ALIGNED_S_MAX * RATE_HZ)]


def _float(pcm: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    return pcm.astype(np.float32) / np.float32(32768.0)

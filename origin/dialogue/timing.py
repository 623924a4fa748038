"""Between a voice that gives no times and the way out: every clause gets words and phonemes; sound never waits.

A service that knows the times itself says so by a ClauseTimesFrame before the clause's sound, and is left alone.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pipecat.frames.frames import (
    AggregatedTextFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from core.limits import AGENT_PHONEMES_S_MAX
from origin.dialogue.aligner import Aligner
from origin.dialogue.clause_timer import ClauseTimer, Pace, Pronounce
from origin.dialogue.frames import ClauseTimesFrame

__all__ = ["ClauseTiming"]

_OLD_MAX: Final = 8
"""Clauses that are over and still being looked at."""


class ClauseTiming(FrameProcessor):
    """See the module.

    Args:
        pronounce: tells how espeak-ng says a text; None: it cannot.
        aligner: None: nobody knows the sounds of this language.
        pace: of this voice, shared by its sessions.
    """

    def __init__(self, pronounce: Pronounce, aligner: Aligner | None, pace: Pace) -> None:
        super().__init__()
        self._pronounce = pronounce
        self._aligner = aligner
        self._pace = pace
        self._text = ""
        self._timer: ClauseTimer | None = None
        self._sounding = False
        self._timers: list[ClauseTimer] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            match frame:
                case AggregatedTextFrame() if frame.will_be_spoken and not isinstance(frame, TTSTextFrame):
                    await self._announced(frame.text)
                case ClauseTimesFrame() if frame.words or frame.phonemes:
                    await self._forget()  # the service knows better
                case ClauseTimesFrame():
                    await self._announced(frame.text)
                    return
                case TTSAudioRawFrame():
                    await self._sound(frame)
                case TTSTextFrame() if self._sounding:
                    self._end()  # Pipecat's services say the text once more when its sound is complete
                case LLMFullResponseEndFrame():
                    self._end()
                case InterruptionFrame() | EndFrame() | CancelFrame():
                    await self._forget()
                case _:
                    pass
        await self.push_frame(frame, direction)

    async def cleanup(self) -> None:
        """See FrameProcessor."""
        await self._forget()
        await super().cleanup()

    async def _announced(self, text: str) -> None:
        if self._timer is not None and not self._sounding and self._text == text:
            return
        self._end()
        self._text = text
        self._sounding = False
        self._timer = ClauseTimer(text, self._pronounce, self._aligner, self._pace)
        self._timers.append(self._timer)
        if len(self._timers) > _OLD_MAX:
            await self._timers.pop(0).aclose()

    async def _sound(self, frame: TTSAudioRawFrame) -> None:
        timer = self._timer
        if timer is None:
            return
        await timer.push(frame.audio, frame.sample_rate, frame.num_channels)
        if not self._sounding:
            self._sounding = True
            await timer.placed(AGENT_PHONEMES_S_MAX)
            await self.push_frame(ClauseTimesFrame(text=self._text, live=timer.times))

    def _end(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.end()

    async def _forget(self) -> None:
        timers, self._timers, self._timer = self._timers, [], None
        await asyncio.gather(*(timer.aclose() for timer in timers))

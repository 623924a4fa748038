"""Does what the user said sound finished? Smart Turn, which ships with Pipecat, asked once per doubtful silence."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3

__all__ = ["EndingJudge"]

_SAMPLE_RATE_HZ: Final = 16_000


class EndingJudge:
    """One model and one thread for all sessions of an origin.

    A judgement takes some 40 ms of a core, most of it without the interpreter lock. Loading takes 0.2 s.
    """

    def __init__(self) -> None:
        self._model = LocalSmartTurnAnalyzerV3(sample_rate=_SAMPLE_RATE_HZ)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ending")

    async def probability(self, pcm: bytes) -> float:
        """How likely the turn is over.

        Args:
            pcm: 16 kHz mono 16-bit, the turn so far; the last 8 s of it count.

        Returns: 0 to 1.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._judge, pcm)

    def _judge(self, pcm: bytes) -> float:
        sound = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0
        # The method behind Pipecat's own buffer of the turn, which would be a second one per session.
        return float(self._model._predict_endpoint(sound)["probability"])

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

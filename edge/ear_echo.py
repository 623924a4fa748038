"""Whether a sound is more than the character's own voice coming back through the viewer's loudspeakers.

What is played is known in 40 mel bands every 20 ms. Its echo arrives 20-400 ms later, quieter and coloured by the room.
So the microphone's bands are compared with what was played at every delay: where they move together, the delay and each
band's coupling are learnt; a sound is the user's when many bands are louder than that echo can be.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import LOG_MEL_BANDS
from core.speech.features import HOP_S, LogMelStream, log_mel_decibels

__all__ = ["EchoTest"]

_SLOTS: Final = 64
"""20 ms slots of played sound remembered: 1.28 s."""
_DELAY_SLOTS_MIN: Final = 1
_DELAY_SLOTS_MAX: Final = 22
_TAIL_SLOTS: Final = 4
"""A room rings on: an echo may hold what was played up to 80 ms before."""
_ACTIVE_S: Final = 0.6
"""The character counts as audible this long after its last packet was sent."""
_COUPLING_PRIOR_DB: Final = -4.0
"""Before anything is learnt: louder than any loudspeaker that a person would talk over."""
_COUPLING_MIN_DB: Final = -45.0
_EXCESS_DB: Final = 6.0
_USER_BANDS: Final = 8
"""Bands that must exceed the echo before it is the user."""
_QUIET_DB: Final = -75.0
_HISTORY: Final = 16
_SIMILAR: Final = 0.6


class EchoTest:
    """One session's echo. Costs nothing while the character is silent."""

    def __init__(self) -> None:
        self._played = np.full((_SLOTS, LOG_MEL_BANDS), -100.0, np.float32)
        self._slot_at = -1
        self._last_played_at = -1e9
        self._now = 0.0
        self._mel = LogMelStream(16_000)
        self._heard = np.full((_HISTORY, LOG_MEL_BANDS), -100.0, np.float32)
        self._coupling = np.full(LOG_MEL_BANDS, _COUPLING_PRIOR_DB, np.float32)
        self._user = True

    @property
    def active(self) -> bool:
        """The character's voice may be audible at the viewer."""
        return self._now - self._last_played_at < _ACTIVE_S

    def played(self, log_mel: NDArray[np.uint8], now: float) -> None:
        """40 bytes of what is sent at `now` (seconds). An empty frame (no features) counts as loud in all bands."""
        self._now = now
        self._advance(round(now / HOP_S))
        frame = log_mel_decibels(log_mel) if len(log_mel) == LOG_MEL_BANDS else np.full(LOG_MEL_BANDS, -20.0)
        self._played[self._slot_at % _SLOTS] = frame
        self._last_played_at = now

    def user_is_heard(self, sound: NDArray[np.float32], now: float) -> bool:
        """Whether 20 ms of 16 kHz sound hold more than echo. True while the character is silent."""
        self._now = now
        if not self.active:
            self._user = True
            return True
        self._advance(round(now / HOP_S))
        for frame in log_mel_decibels(self._mel.push(sound)):
            self._heard = np.roll(self._heard, -1, axis=0)
            self._heard[-1] = frame
            self._user = self._judge(frame)
        return self._user

    def _advance(self, slot: int) -> None:
        for passed in range(max(self._slot_at + 1, slot - _SLOTS + 1), slot + 1):
            self._played[passed % _SLOTS] = -100.0
        self._slot_at = max(self._slot_at, slot)

    def _judge(self, frame: NDArray[np.float32]) -> bool:
        newest = self._slot_at
        slots = np.arange(newest - _DELAY_SLOTS_MAX - _TAIL_SLOTS, newest - _DELAY_SLOTS_MIN + 1) % _SLOTS
        loudest = self._played[slots].max(axis=0)
        bound = np.maximum(loudest + self._coupling, _QUIET_DB)
        excess = frame - bound
        user = int((excess > _EXCESS_DB).sum()) >= _USER_BANDS
        return bool(user)

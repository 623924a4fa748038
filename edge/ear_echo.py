"""Whether a sound is more than the character's own voice coming back through the viewer's loudspeakers.

What is played is known in 40 mel bands every 20 ms. Its echo arrives 20-440 ms later, quieter and coloured by the room.
For every delay and band the ear keeps how loud, at most, the voice can come back: whenever the microphone is quieter
than that, less. At the echo's true delay the bound settles at its loudness, at all others it falls to the room's noise;
with headphones, or an echo canceller that works, it falls everywhere within the first half second. A sound is the
user's when many bands are louder than what was played can make them. The user's own voice never lowers a bound, so
nothing has to know when the user speaks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import LOG_MEL_BANDS
from core.speech.features import HOP_S, LogMelStream, log_mel_decibels

__all__ = ["EchoTest"]

_SLOTS: Final = 64
"""20 ms slots remembered: 1.28 s."""
_DELAYS: Final = np.arange(0, 26)
"""Delays looked at, in slots: up to 500 ms, the tail of a room's reverberation included."""
_ACTIVE_S: Final = 0.6
"""The character counts as audible this long after its last packet was sent."""
_PRIOR_DB: Final = 0.0
"""Coupling before anything is learnt: louder than any loudspeaker that a person would talk over."""
_LOUD_DB: Final = -55.0
"""A band played quieter than this tells nothing."""
_RISE: Final = 0.01
_RISE_DB_MAX: Final = 0.15
"""Per packet: a bound rises this slowly where the microphone is louder than it."""
_NEIGHBOUR_DB: Final = 4.0
"""A band is at least this near its neighbours: a voice's harmonics wander between bands."""
_FLOOR_RISE_DB: Final = 0.1
_FLOOR_MARGIN_DB: Final = 6.0
"""The room's noise in a band wavers this much above its quietest moments."""
_EXCESS_DB: Final = 7.0
_USER_BANDS: Final = 8
"""Bands that must exceed the echo before it is the user."""
_USER_BANDS_LOUD: Final = 4
_TOTAL_EXCESS_DB: Final = 10.0
"""Fewer are enough when all together are this much louder than all of the echo."""
_QUIET_DB: Final = -90.0
_INAUDIBLE_DB: Final = -72.0
"""A band quieter than this is nobody's speech."""
_SPREAD_DB: Final = -33.0
"""Codecs, small loudspeakers and windows that do not meet spread this much of an echo over all bands."""
_TOTAL: Final = LOG_MEL_BANDS
"""The column that holds all bands together."""
_TOTAL_LOUD_DB: Final = -40.0
_LOUD_FROM_DB: Final = np.append(np.full(LOG_MEL_BANDS, _LOUD_DB), _TOTAL_LOUD_DB).astype(np.float32)
_BAND_ABOVE_TOTAL_DB: Final = 15.0
"""No loudspeaker and no room favour a band by more: bounds a band that has not been loud yet."""


class EchoTest:
    """One session's echo. Costs nothing while the character is silent."""

    def __init__(self) -> None:
        self._played = np.full((_SLOTS, LOG_MEL_BANDS + 1), -100.0, np.float32)
        self._heard = np.full((_SLOTS, LOG_MEL_BANDS + 1), -100.0, np.float32)
        self._bound = np.full((len(_DELAYS), LOG_MEL_BANDS + 1), _PRIOR_DB, np.float32)
        self._floor = np.full(LOG_MEL_BANDS, _QUIET_DB, np.float32)
        self._slot = -1
        self._last_played_at = -1e9
        self._now = 0.0
        self._mel = LogMelStream(16_000)
        # 5 ms more in front, so that every packet completes a frame that ends with it.
        self._mel.push(np.zeros(80, np.float32))

    @property
    def active(self) -> bool:
        """The character's voice may be audible at the viewer."""
        return self._now - self._last_played_at < _ACTIVE_S

    def played(self, log_mel: NDArray[np.uint8], now: float) -> None:
        """40 bytes of what is sent at `now` (seconds). Without features it counts as loud in all bands."""
        self._advance(now)
        known = len(log_mel) == LOG_MEL_BANDS
        self._played[self._slot % _SLOTS] = _with_total(log_mel_decibels(log_mel)) if known else -20.0
        self._last_played_at = now

    def user_is_heard(self, sound: NDArray[np.float32], now: float) -> bool:
        """Whether 20 ms of 16 kHz sound hold more than echo. True while the character is silent."""
        self._advance(now)
        if not self.active:
            return True
        frames = log_mel_decibels(self._mel.push(sound))
        if not len(frames):
            return False  # part of a packet: better late than a character that ducks for itself
        frame = _with_total(np.maximum(frames[-1], _QUIET_DB))
        self._learn(frame)
        return self._exceeds(frame)

    def silent(self, now: float) -> None:
        """The microphone heard nothing for 20 ms. With headphones it stays so while the character speaks."""
        self._advance(now)
        if self.active:
            self._learn(_SILENT)

    def _advance(self, now: float) -> None:
        slot = round(now / HOP_S)
        for passed in range(max(self._slot + 1, slot - _SLOTS + 1), slot + 1):
            self._played[passed % _SLOTS] = -100.0
            self._heard[passed % _SLOTS] = -100.0
        self._slot = max(self._slot, slot)
        self._now = now

    def _learn(self, frame: NDArray[np.float32]) -> None:
        """Lower the bounds to what was heard one slot ago; its neighbours count too, for packets that come uneven."""
        here = self._slot % _SLOTS
        self._heard[here] = np.maximum(self._heard[here], frame)
        around = (self._slot - np.arange(3)) % _SLOTS
        played = self._played[(self._slot - 1 - _DELAYS) % _SLOTS]
        seen = self._heard[around].max(axis=0) - played
        rise = np.minimum(_RISE * (seen - self._bound), _RISE_DB_MAX)
        moved = np.where(rise < 0.0, seen, self._bound + rise)
        self._bound = np.where(played > _LOUD_FROM_DB, np.minimum(moved, _PRIOR_DB), self._bound)

    def _exceeds(self, frame: NDArray[np.float32]) -> bool:
        """Whether many bands are louder than the echo can be."""
        played = self._played[(self._slot - _DELAYS) % _SLOTS]
        bound = np.minimum(self._bound, self._bound[:, _TOTAL:] + _BAND_ABOVE_TOTAL_DB)
        echo = (played + bound).max(axis=0)[:_TOTAL]
        echo[1:-1] = np.maximum(echo[1:-1], np.maximum(echo[:-2], echo[2:]) - _NEIGHBOUR_DB)
        bands = frame[:_TOTAL]
        self._floor = np.minimum(bands, self._floor + _FLOOR_RISE_DB)
        least = max(_INAUDIBLE_DB, float(echo.max()) + _SPREAD_DB)
        echo = np.maximum(echo, np.maximum(self._floor + _FLOOR_MARGIN_DB, least))
        louder = int((bands > echo + _EXCESS_DB).sum())
        if louder >= _USER_BANDS:
            return True
        return louder >= _USER_BANDS_LOUD and frame[_TOTAL] > _total_db(echo) + _TOTAL_EXCESS_DB


def _total_db(bands: NDArray[np.float32]) -> float:
    return 10.0 * float(np.log10(np.power(10.0, bands / 10.0).sum()))


def _with_total(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.append(bands, np.float32(_total_db(bands)))


_SILENT: Final = _with_total(np.full(LOG_MEL_BANDS, _QUIET_DB, np.float32))

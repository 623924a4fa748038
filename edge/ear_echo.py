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
"""20 ms slots remembered: 1.28 s."""
_DELAYS: Final = np.arange(1, 23)
"""Delays looked at, in slots: 20 to 440 ms."""
_HISTORY: Final = np.arange(-19, 1)
"""Slots compared to find the delay: 400 ms."""
_TAIL: Final = np.arange(-2, 7)
"""Slots around the delay that may be heard now: jitter before it, the room's reverberation after it."""
_TAIL_DB: Final = np.where(_TAIL > 1, -4.0 * (_TAIL - 1), 0.0).astype(np.float32)[:, None]
_ACTIVE_S: Final = 0.6
"""The character counts as audible this long after its last packet was sent."""
_PRIOR_DB: Final = -4.0
"""Coupling before anything is learnt: louder than any loudspeaker that a person would talk over."""
_COUPLING_MIN_DB: Final = -45.0
_COUPLING_MAX_DB: Final = 3.0
_COUPLING_SILENT_DB: Final = -30.0
_FLOOR_RISE_DB: Final = 0.2
_FLOOR_MARGIN_DB: Final = 6.0
"""The room's noise in a band wavers this much above its quietest moments."""
_LOUD_DB: Final = -45.0
_LEARNING_UP: Final = 0.4
_LEARNING_DOWN: Final = 0.06
"""Per packet: an echo that grows louder must not look like a user, one that gets quieter may wait."""
_EXCESS_DB: Final = 7.0
_USER_BANDS: Final = 8
"""Bands that must exceed the echo before it is the user."""
_QUIET_DB: Final = -78.0
_AUDIBLE_DB: Final = -60.0
_SIMILAR: Final = 0.6
_AGREED: Final = 7
"""Packets in a row that must name the same delay."""


class EchoTest:
    """One session's echo. Costs nothing while the character is silent.

    Attributes:
        delay_slots: the echo's delay in slots of 20 ms, None until it was heard.
    """

    def __init__(self) -> None:
        self.delay_slots: int | None = None
        self._played = np.full((_SLOTS, LOG_MEL_BANDS), -100.0, np.float32)
        self._heard = np.full((_SLOTS, LOG_MEL_BANDS), -100.0, np.float32)
        self._coupling = np.full(LOG_MEL_BANDS, _PRIOR_DB, np.float32)
        self._floor = np.full(LOG_MEL_BANDS, _QUIET_DB, np.float32)
        self._slot = -1
        self._last_played_at = -1e9
        self._now = 0.0
        self._mel = LogMelStream(16_000)
        self._user = True
        self._candidate = 0
        self._quiet_packets = 0
        self._agreed = 0

    @property
    def active(self) -> bool:
        """The character's voice may be audible at the viewer."""
        return self._now - self._last_played_at < _ACTIVE_S

    def played(self, log_mel: NDArray[np.uint8], now: float) -> None:
        """40 bytes of what is sent at `now` (seconds). Without features it counts as loud in all bands."""
        self._advance(now)
        known = len(log_mel) == LOG_MEL_BANDS
        self._played[self._slot % _SLOTS] = log_mel_decibels(log_mel) if known else -20.0
        self._last_played_at = now

    def user_is_heard(self, sound: NDArray[np.float32], now: float) -> bool:
        """Whether 20 ms of 16 kHz sound hold more than echo. True while the character is silent."""
        self._advance(now)
        if not self.active:
            self._user = True
            return True
        frames = log_mel_decibels(self._mel.push(sound))
        if not len(frames):
            self._user = False  # its first window is not complete: better late than a character that ducks for itself
        else:
            self._heard[self._slot % _SLOTS] = frames[-1]
            if frames[-1].max() > _AUDIBLE_DB:
                self._quiet_packets = 0
                self._learn()
            else:
                self.silent(now)
            self._user = self._exceeds(frames[-1])
        return self._user

    def silent(self, now: float) -> None:
        """The microphone heard nothing for 20 ms. With headphones it stays so while the character speaks."""
        self._advance(now)
        slots = (self._slot - _DELAYS) % _SLOTS
        if not self.active or self._played[slots].max() < _LOUD_DB:
            return
        self._quiet_packets += 1
        if self._quiet_packets > len(_DELAYS):
            self._coupling = np.maximum(self._coupling - 1.0, _COUPLING_SILENT_DB)

    def _advance(self, now: float) -> None:
        slot = round(now / HOP_S)
        for passed in range(max(self._slot + 1, slot - _SLOTS + 1), slot + 1):
            self._played[passed % _SLOTS] = -100.0
            self._heard[passed % _SLOTS] = -100.0
        self._slot = max(self._slot, slot)
        self._now = now

    def _learn(self) -> None:
        """Find the delay at which microphone and voice move together, and how loud the voice comes back there."""
        heard = np.maximum(self._heard[(self._slot + _HISTORY) % _SLOTS], _QUIET_DB)
        slots = (self._slot + _HISTORY)[None, :] - _DELAYS[:, None]
        played = np.maximum(self._played[slots % _SLOTS], _QUIET_DB)
        moved = heard - heard.mean(axis=0)
        voice = played - played.mean(axis=1, keepdims=True)
        strength = np.sqrt((voice * voice).sum(axis=(1, 2)) * float((moved * moved).sum())) + 1e-3
        similarity = (voice * moved).sum(axis=(1, 2)) / strength
        best = int(similarity.argmax())
        if similarity[best] < _SIMILAR:
            return
        delay = int(_DELAYS[best])
        self._agreed = self._agreed + 1 if abs(delay - self._candidate) <= 1 else 0
        self._candidate = delay
        if self._agreed < _AGREED:
            return  # two voices resemble each other for a moment at some delay; only an echo does so at the same one
        self.delay_slots = delay
        recent = played[best, -5:]
        audible = recent > _AUDIBLE_DB
        gains = np.where(audible, heard[-5:] - recent, 0.0).sum(axis=0) / np.maximum(audible.sum(axis=0), 1)
        error = gains - self._coupling
        rate = np.where(error > 0.0, _LEARNING_UP, _LEARNING_DOWN)
        step = np.where(audible.any(axis=0), rate * error, 0.0)
        self._coupling = np.clip(self._coupling + step, _COUPLING_MIN_DB, _COUPLING_MAX_DB).astype(np.float32)

    def _exceeds(self, frame: NDArray[np.float32]) -> bool:
        """Whether many bands are louder than the echo can be."""
        if self.delay_slots is None:
            loudest = self._played[(self._slot - np.arange(_DELAYS[-1] + _TAIL[-1])) % _SLOTS].max(axis=0)
        else:
            loudest = (self._played[(self._slot - self.delay_slots - _TAIL) % _SLOTS] + _TAIL_DB).max(axis=0)
        self._floor = np.minimum(frame, self._floor + _FLOOR_RISE_DB)
        echo = np.maximum(loudest + self._coupling, np.maximum(self._floor + _FLOOR_MARGIN_DB, _QUIET_DB))
        return int((frame > echo + _EXCESS_DB).sum()) >= _USER_BANDS

"""The first sign that the user has stopped: reversible, and within 150 ms of the last sound.

A pause inside a sentence and the end of one look alike for the first tenth of a second. Stops (p, t, k) close the mouth
for 50-100 ms, so the rule waits that long below the utterance's peak, longer while the model still hears speech.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HOP_S", "SpeechEnergy"]

HOP_S: Final = 0.010
"""Energy is judged in windows of 10 ms."""
BELOW_PEAK_DB: Final = 32.0
"""A window this far below the utterance's peak is quiet: 3 dB before the bench's definition, for codec noise."""
ABOVE_FLOOR_DB: Final = 6.0
"""A window this near the room's noise is quiet too."""
ONSET_MIN_DB: Final = -60.0
"""Nothing quieter than this begins an utterance."""
PEAK_DECAY_DB: Final = 0.01
"""Per window: a loud first word is forgotten at 1 dB/s."""
FLOOR_RISE_DB: Final = 0.03
"""Per window: the noise floor rises by 3 dB/s and falls at once."""


class SpeechEnergy:
    """Running peak, noise floor and quiet time of one microphone, in 10 ms windows.

    Attributes:
        peak_db, floor_db: dB below full scale.
        quiet_windows: windows in a row that were quiet.
        loud_windows: windows in a row that were not.
    """

    __slots__ = ("floor_db", "loud_windows", "peak_db", "quiet_windows")

    def __init__(self) -> None:
        self.floor_db = -70.0
        self.peak_db = -127.0
        self.quiet_windows = 0
        self.loud_windows = 0

    def begin(self) -> None:
        """A new utterance: the peak of the last one no longer counts."""
        self.peak_db = -127.0

    def push(self, level_db: float, *, speaking: bool, user: bool = True) -> bool:
        """The next window's level in dB below full scale.

        Args:
            speaking: the user speaks, as far as was told.
            user: False: what is heard is only the character's echo: silence of the user, however loud it is.
        Returns: it is quiet.
        """
        if level_db < self.floor_db:
            self.floor_db += 0.2 * (level_db - self.floor_db)
        elif not speaking:
            self.floor_db = min(level_db, self.floor_db + FLOOR_RISE_DB)
        quiet = True
        if user:
            self.peak_db = max(level_db, self.peak_db - PEAK_DECAY_DB)
            least_db = self.peak_db - BELOW_PEAK_DB if speaking else ONSET_MIN_DB
            quiet = level_db < max(self.floor_db + ABOVE_FLOOR_DB, least_db)
        self.quiet_windows = self.quiet_windows + 1 if quiet else 0
        self.loud_windows = 0 if quiet else self.loud_windows + 1
        return quiet

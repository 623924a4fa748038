"""How the origin should encode the voice for a viewer's link: bitrate, and in-band FEC where packets are lost.

The origin changes encoders in a pause of the voice, so that it is asked rarely, and loss is told in a few classes that
do not flicker.
"""

from __future__ import annotations

import math
from typing import Final

from core.limits import VOICE_BITRATE_BPS_MAX, VOICE_BITRATE_BPS_MIN, VOICE_FORMAT_S_MIN
from core.speech.messages import VoiceFormat

__all__ = ["VoiceAdvisor"]

_CLASSES: Final = ((0.0, 0), (0.01, 5), (0.06, 10), (0.15, 20))
"""Least loss, and the percentage that is told of it."""
_CALM: Final = 0.5
"""Share of a class's least loss below which the class is left."""


class VoiceAdvisor:
    """Of one viewer's link."""

    def __init__(self) -> None:
        self._class = 0
        self._last: VoiceFormat | None = None
        self._told_at = -math.inf

    def advise(self, *, bitrate_bps: int, loss: float, now: float) -> VoiceFormat | None:
        """The link was judged again.

        Args:
            bitrate_bps: what the rate controller wants; brought within limits.VOICE_BITRATE_BPS_MIN to _MAX.
            loss: share of the voice's packets that nothing but Opus itself repairs, 0 to 1.
            now: monotonic seconds.
        Returns: what to tell the origin, None when that is what it knows, or was told something just now.
        """
        while self._class + 1 < len(_CLASSES) and loss >= _CLASSES[self._class + 1][0]:
            self._class += 1
        while self._class and loss < _CALM * _CLASSES[self._class][0]:
            self._class -= 1
        wanted = VoiceFormat(
            bitrate_bps=min(max(bitrate_bps, VOICE_BITRATE_BPS_MIN), VOICE_BITRATE_BPS_MAX),
            loss_percent=_CLASSES[self._class][1],
        )
        if wanted == self._last or now - self._told_at < VOICE_FORMAT_S_MIN:
            return None
        self._last, self._told_at = wanted, now
        return wanted

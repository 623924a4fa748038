"""Do the lips fit the voice? The lag of the drawn jaw against what is heard, minus the same lag at the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import MEDIA_CLOCK_HZ
from loadtests.signals import Lag, envelope, lag, resample_at

__all__ = ["STEP_S", "Curve", "LipSync", "assemble", "lip_sync", "loudness"]

STEP_S: Final = 0.005
_CORRELATION_MIN: Final = 0.7
"""Below this two curves are not the same movement, and a lag between them means nothing."""
_POINTS_MIN: Final = 25


@dataclass(frozen=True, slots=True)
class Curve:
    """Values at increasing times: float64[n] each."""

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]

    def shifted(self, seconds: float) -> Curve:
        """The same curve, later."""
        return Curve(self.times_s + seconds, self.values)


@dataclass(frozen=True, slots=True)
class LipSync:
    """How drawn motion and heard voice relate to what was sent.

    Attributes:
        motion: the drawn jaw behind the sent jaw.
        sound: the heard voice behind the sent voice.
    """

    motion: Lag
    sound: Lag

    @property
    def offset_ms(self) -> float:
        """Positive: the lips come later than the voice."""
        return (self.motion.seconds - self.sound.seconds) * 1e3


def assemble(pieces: list[tuple[float, NDArray[np.float32]]]) -> tuple[float, NDArray[np.float32]]:
    """Put pieces of sound on one clock.

    Args:
        pieces: (seconds of the first sample, float32[n] at 48 kHz) in order.
    Returns: when it begins, and float32[n] with silence in the gaps.
    """
    if not pieces:
        return 0.0, np.empty(0, dtype=np.float32)
    start = pieces[0][0]
    length = round((pieces[-1][0] - start) * MEDIA_CLOCK_HZ) + pieces[-1][1].size
    sound = np.zeros(length, dtype=np.float32)
    for at, samples in pieces:
        offset = round((at - start) * MEDIA_CLOCK_HZ)
        piece = samples[: max(0, length - offset)]
        sound[offset : offset + piece.size] = piece
    return start, sound


def loudness(start_s: float, sound: NDArray[np.float32]) -> Curve:
    """The envelope of 48 kHz sound that begins at `start_s`."""
    values = envelope(sound, MEDIA_CLOCK_HZ, hop_s=STEP_S)
    return Curve(start_s + np.arange(values.size, dtype=np.float64) * STEP_S, values)


def lip_sync(*, sent_jaw: Curve, drawn_jaw: Curve, sent_voice: Curve, heard_voice: Curve) -> LipSync | None:
    """Compare what was drawn and heard with what was sent.

    The lag of jaw against loudness is not taken directly, because the two only resemble each other. Each of these pairs
    holds the same movement twice, so both lags are sharp, and the difference is the same number:
    (drawn jaw - heard voice) - (sent jaw - sent voice) = (drawn jaw - sent jaw) - (heard voice - sent voice).

    Args:
        sent_jaw, sent_voice: on the clock of the media.
        drawn_jaw, heard_voice: on the clock of the viewer. The two clocks must agree to within 300 ms; shift the sent
            curves for that, both by the same: the difference falls out.
    Returns: None when there is too little of anything, or a pair does not correlate.
    """
    curves = (sent_jaw, drawn_jaw, sent_voice, heard_voice)
    if min(curve.values.size for curve in curves) < _POINTS_MIN:
        return None
    begin = min(sent_voice.times_s[0], heard_voice.times_s[0]) - 0.3
    end = max(sent_voice.times_s[-1], heard_voice.times_s[-1]) + 0.3
    times = np.arange(begin, end, STEP_S)
    motion = lag(
        resample_at(sent_jaw.times_s, sent_jaw.values, times),
        resample_at(drawn_jaw.times_s, drawn_jaw.values, times, hold=True),  # a picture stands until the next one
        step_s=STEP_S,
    )
    sound = lag(_silent_outside(sent_voice, times), _silent_outside(heard_voice, times), step_s=STEP_S)
    if motion is None or sound is None or min(motion.correlation, sound.correlation) < _CORRELATION_MIN:
        return None
    return LipSync(motion=motion, sound=sound)


def _silent_outside(curve: Curve, times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.interp(times, curve.times_s, curve.values, left=0.0, right=0.0), dtype=np.float64)

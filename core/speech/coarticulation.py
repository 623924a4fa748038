"""Phonemes become mouth movement: dominance functions, and closures that hold.

Each sound adds `dominance · target` and `dominance` to two running sums on a 10 ms grid; their ratio is the mouth
(Cohen & Massaro 1993). The sums are additive, so a sound costs its own window once, in whatever order sounds arrive,
and sampling a frame is one interpolation. On top of the ratio lie the seals: a blend of neighbours never quite shuts
the lips, so /p b m/ and /f v/ carry a curve that is exactly 1 while the lips must touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import MEDIA_CLOCK_HZ, MOUTH_CURVE_AHEAD_S_MAX
from core.speech.messages import PhonemeSpan
from core.speech.phonemes import Segment, split_symbol
from core.speech.visemes import ARTICULATORS, GROUP_OF, GROUPS, REST_DOMINANCE, Viseme, viseme

__all__ = ["CURVE_COLUMNS", "REST_ROW", "SEALS", "MouthCurve", "resolve"]

STEP_TICKS: Final = 480
"""Ticks between two grid points (10 ms): half a frame, so that no closure falls between samples."""
STEP_S: Final = STEP_TICKS / MEDIA_CLOCK_HZ
BEFORE_S: Final = 0.5
"""Curves start this long before their utterance: the first sound is anticipated."""
_BEFORE: Final = round(BEFORE_S / STEP_S)

SEALS: Final[tuple[str, ...]] = ("lips", "teeth")
"""Columns after the articulators in a resolved curve."""
_COUNT: Final = len(ARTICULATORS)
_SUMS: Final = _COUNT + len(GROUPS)
CURVE_COLUMNS: Final = _SUMS + len(SEALS)
"""Columns of the stored grid: weighted targets, dominances, seals."""
_LIPS, _TEETH = _SUMS, _SUMS + 1

_ANTICIPATION_S: Final = np.array([0.038, 0.060, 0.040, 0.022], dtype=np.float32)
"""Time constants before a sound, per group (jaw, rounding, lips, tongue). Rounding reaches furthest (Löfqvist)."""
_CARRY_S: Final = np.array([0.042, 0.048, 0.042, 0.024], dtype=np.float32)
"""Time constants after a sound: inertia."""
_REACH: Final = 4.5
"""Time constants after which a sound no longer counts; its dominance fades to exactly 0 there."""
_FAINTEST: Final = float(np.exp(-_REACH))
_SOFTNESS: Final = 0.35
"""Rounds the corner where a sound's hold begins and ends."""
_CORE: Final = 0.28
"""A sound holds fully between this fraction and its mirror image."""
_SHUT_S: Final = 0.055
"""Time the lips take to meet, and (at most) to part; measured closing movements last 50 to 90 ms (Löfqvist 2000)."""


def resolve(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sums into a mouth.

    Args:
        rows: float32[n, CURVE_COLUMNS].
    Returns: articulators float32[n, 11] in [0, 1] and seals float32[n, 2] in [0, 1].
    """
    return rows[:, :_COUNT] / rows[:, _COUNT:_SUMS].take(GROUP_OF, axis=1), rows[:, _SUMS:]


def _rest_rows(count: int) -> NDArray[np.float32]:
    grid = np.zeros((count, CURVE_COLUMNS), dtype=np.float32)
    grid[:, _COUNT:_SUMS] = REST_DOMINANCE
    return grid


class MouthCurve:
    """The mouth movement of one utterance, growing as its phonemes arrive.

    Attributes:
        beats: (tick, stress) of every primary or secondary stressed vowel, in order of arrival.
        unknown: letters that no table knows; they look neutral.
        disturbed: a sound that arrived late has moved the curve where it was already sampled; the sampler clears it.
        dropped: spans refused because their times are impossible (end before start, long past, or too far ahead).
    """

    __slots__ = ("_base", "_end", "_grid", "_position", "beats", "disturbed", "dropped", "unknown")

    def __init__(self) -> None:
        self._base = -_BEFORE
        """Grid index of the first stored row; rows far in the past are let go."""
        self._grid = _rest_rows(256)
        self._end = 0
        self._position = -_BEFORE
        self.beats: list[tuple[int, int]] = []
        self.disturbed = False
        self.unknown = 0
        self.dropped = 0

    def add(self, spans: Sequence[PhonemeSpan]) -> None:
        """Take phonemes in; times in utterance ticks. Impossible ones are counted in `dropped`, never raised."""
        for span in spans:
            begin, end = span.start / MEDIA_CLOCK_HZ, span.end / MEDIA_CLOCK_HZ
            now = self._position * STEP_S
            if not (now - BEFORE_S < end and begin < end and begin < now + MOUTH_CURVE_AHEAD_S_MAX):
                self.dropped += 1
                continue
            end = min(end, begin + MOUTH_CURVE_AHEAD_S_MAX)
            segments, marked, unknown = split_symbol(span.symbol)
            self.unknown += unknown
            stress = min(max(span.stress, marked), 2)
            duration = end - begin
            for segment in segments:
                until = begin + segment.share * duration
                self._add_segment(segment, begin, until, stress)
                if segment.vowel and stress > 0:
                    self.beats.append((round(begin * MEDIA_CLOCK_HZ), stress))
                    stress = -1  # the glide of a diphthong keeps the height, not the beat
                begin = until

    def _add_segment(self, segment: Segment, begin: float, end: float, stress: int) -> None:
        wish = viseme(segment.sound)
        duration = end - begin
        tempo = min(max(duration / 0.08, 0.6), 1.25)
        targets, dominance = wish.targets, wish.dominance
        if segment.vowel:
            targets = targets * _STRESS_SCALE[stress]
            dominance = dominance * (1.3 if segment.long or stress else 1.0)
        margin = _CORE * duration
        reach = (_REACH + _SOFTNESS) * 0.06 * tempo
        first, last = self._window(begin - reach, end + reach)
        # Seconds since the sound's start, so that float32 stays exact however long the utterance is.
        times = (np.arange(first, last) * STEP_S - begin).astype(np.float32)
        column = times[:, None]
        distance = np.maximum((margin - column) / (_ANTICIPATION_S * tempo),
                              (column - (duration - margin)) / (_CARRY_S * tempo))  # fmt: skip
        np.maximum(distance, 0.0, out=distance)
        distance *= distance
        distance += _SOFTNESS * _SOFTNESS
        weight = np.exp(_SOFTNESS - np.sqrt(distance))
        weight -= _FAINTEST
        np.maximum(weight, 0.0, out=weight)
        weight *= dominance
        rows = self._grid[first - self._base : last - self._base]
        rows[:, :_COUNT] += weight.take(GROUP_OF, axis=1) * targets
        rows[:, _COUNT:_SUMS] += weight
        if wish.seal:
            self._seal(wish, rows, times, duration)

    @staticmethod
    def _seal(wish: Viseme, rows: NDArray[np.float32], times: NDArray[np.float32], duration: float) -> None:
        """Raise the seal: 1 while it is held, smooth before and after; where two meet the higher one counts."""
        early, fraction = wish.hold
        until = max(fraction * duration, 0.012)
        part = min(max(0.8 * duration, 0.035), _SHUT_S)
        shape = np.minimum((times + early) / _SHUT_S, (until - times) / part) + 1.0
        np.minimum(np.maximum(shape, 0.0, out=shape), 1.0, out=shape)
        shape *= shape * (3.0 - 2.0 * shape)
        column = rows[:, _LIPS if wish.seal == "lips" else _TEETH]
        np.maximum(column, shape, out=column)

    def _window(self, begin: float, end: float) -> tuple[int, int]:
        """Grid indices [first, last) of a time range, stored from now on."""
        first = max(int(begin / STEP_S) - 1, self._base)
        last = max(int(end / STEP_S) + 2, first + 1)
        if last - self._base > len(self._grid):
            self._make_room(last)
            first = max(first, self._base)
        self._end = max(self._end, last)
        self.disturbed |= first <= self._position
        return first, max(last, first + 1)

    def _make_room(self, last: int) -> None:
        """Let go of what has been played, then double until it fits."""
        kept_from = max(self._base, min(self._position - _BEFORE, self._end))
        kept = self._grid[kept_from - self._base : self._end - self._base]
        size = len(self._grid)
        while size < max(last, self._end) - kept_from + 1:
            size *= 2
        grid = _rest_rows(size)
        grid[: len(kept)] = kept
        self._grid, self._base = grid, kept_from

    def sample_into(self, ticks: int, low: NDArray[np.float32], high: NDArray[np.float32]) -> float:
        """Write the two grid rows around a position into `low` and `high`, both float32[CURVE_COLUMNS].

        Returns: how far the position lies between them, in [0, 1). Beyond either end the mouth rests.
        """
        index, rest = divmod(ticks, STEP_TICKS)
        self._position = max(self._position, index)
        offset = index - self._base
        if 0 <= offset < len(self._grid) - 1:
            low[:] = self._grid[offset]
            high[:] = self._grid[offset + 1]
        else:
            low[:] = high[:] = REST_ROW
        return rest / STEP_TICKS


_STRESS_SCALE: Final = tuple(
    np.array([jaw, 1.0, 1.0, 1.0, 1.0, lips, lips, 1.0, 1.0, 1.0, 1.0], dtype=np.float32)
    for jaw, lips in ((0.88, 0.9), (1.0, 1.0), (1.18, 1.12), (1.1, 1.05))
)
"""Unstressed, secondary, primary; the last (index -1) is the glide after a stressed nucleus."""
REST_ROW: Final = _rest_rows(1)[0]
"""float32[CURVE_COLUMNS]: nobody speaks."""

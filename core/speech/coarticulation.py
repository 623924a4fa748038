"""Phonemes become mouth movement: dominance functions, and closures that hold.

Each sound adds `dominance · target` and `dominance` to two running sums on a 10 ms grid; their ratio is the mouth
(Cohen & Massaro 1993). The sums are additive, so a sound costs its own window once, in whatever order sounds arrive,
and sampling a frame is one interpolation. On top of the ratio lie the seals: a blend of neighbours never quite shuts
the lips, so /p b m/ and /f v/ carry a curve that is exactly 1 while the lips must touch. Beside them lies the beat: how
near a stressed syllable is, for brows and head.

Sounds come one by one, far ahead of time, and are drawn several at once just before they are needed: an array operation
on many of them costs little more than on one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import MEDIA_CLOCK_HZ, MOUTH_CURVE_AHEAD_S_MAX, MOUTH_SPANS_KEPT_MAX
from core.speech.messages import PhonemeSpan
from core.speech.phonemes import Segment, split_symbol
from core.speech.visemes import ARTICULATORS, GROUP_OF, GROUPS, REST_DOMINANCE, Viseme, viseme

__all__ = ["BEAT_COLUMN", "CURVE_COLUMNS", "REST_ROW", "SEALS", "MouthCurve", "draw", "resolve"]

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
BEAT_COLUMN: Final = _SUMS + len(SEALS)
"""Strength of a stressed syllable near this moment, in [0, 1]."""
CURVE_COLUMNS: Final = BEAT_COLUMN + 1
"""Columns of the stored grid: weighted targets, dominances, seals, beat."""
_LIPS, _TEETH = _SUMS, _SUMS + 1
_BEAT_STRENGTH: Final = (0.0, 0.55, 1.0)
_BEAT_RISE_S: Final = 0.12
_BEAT_FALL_S: Final = 0.20
_DRAWN_AT_ONCE: Final = 16
"""Sounds that wait to be drawn at most."""
_SOON_STEPS: Final = 4
"""Grid steps before its first trace at which a sound is drawn."""

_ANTICIPATION_S: Final = (0.038, 0.060, 0.040, 0.022)
"""Time constants before a sound, per group (jaw, rounding, lips, tongue). Rounding reaches furthest (Löfqvist)."""
_CARRY_S: Final = (0.042, 0.048, 0.042, 0.024)
"""Time constants after a sound: inertia."""
_REACH: Final = 4.5
"""Time constants after which a sound no longer counts; its dominance fades to exactly 0 there."""
_FAINTEST: Final = float(np.exp(-_REACH))
_SOFTNESS: Final = 0.35
"""Rounds the corner where a sound's hold begins and ends."""
_CORE: Final = 0.28
"""A sound holds fully between this fraction and its mirror image."""
_PER_ANTICIPATION: Final = (1.0 / np.array(_ANTICIPATION_S)).astype(np.float32)
_PER_CARRY: Final = (1.0 / np.array(_CARRY_S)).astype(np.float32)
_NEVER: Final = 1 << 62
_SHUT_S: Final = 0.055
"""Time the lips take to meet, and (at most) to part; measured closing movements last 50 to 90 ms (Löfqvist 2000)."""


def resolve(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sums into a mouth.

    Args:
        rows: float32[n, CURVE_COLUMNS].
    Returns: articulators float32[n, 11] in [0, 1] and seals float32[n, 2] in [0, 1].
    """
    return rows[:, :_COUNT] / rows[:, _COUNT:_SUMS].take(GROUP_OF, axis=1), rows[:, _SUMS:BEAT_COLUMN]


def _rest_rows(count: int) -> NDArray[np.float32]:
    grid = np.zeros((count, CURVE_COLUMNS), dtype=np.float32)
    grid[:, _COUNT:_SUMS] = REST_DOMINANCE
    return grid


@dataclass(slots=True, eq=False)
class _Sound:
    """One segment that waits to be drawn; seconds of the utterance."""

    begin: float
    duration: float
    tempo: float
    wish: Viseme
    targets: NDArray[np.float32]
    dominance: NDArray[np.float32]
    stress: int
    beats: bool
    reach_from: float
    reach_to: float


class MouthCurve:
    """The mouth movement of one utterance, growing as its phonemes arrive.

    Attributes:
        beats: (tick, stress) of every primary or secondary stressed vowel, in order of arrival.
        unknown: letters that no table knows; they look neutral.
        disturbed: a sound that arrived late has moved the curve where it was already sampled; the sampler clears it.
        due_ticks: the first position that needs a sound which waits; at the latest then it is drawn.
        spans: the newest ones taken in.
        dropped: spans refused because their times are impossible (end before start, long past, or too far ahead).
    """

    __slots__ = (
        "_base",
        "_end",
        "_grid",
        "_position",
        "_waiting",
        "beats",
        "disturbed",
        "dropped",
        "due_ticks",
        "spans",
        "unknown",
    )

    def __init__(self) -> None:
        self._base = -_BEFORE
        """Grid index of the first stored row; rows far in the past are let go."""
        self._grid = _rest_rows(256)
        self._end = 0
        self._position = -_BEFORE
        self._waiting: list[_Sound] = []
        self.due_ticks = _NEVER
        self.beats: list[tuple[int, int]] = []
        self.disturbed = False
        self.spans: deque[PhonemeSpan] = deque(maxlen=MOUTH_SPANS_KEPT_MAX)
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
            self.spans.append(span)
            end = min(end, begin + MOUTH_CURVE_AHEAD_S_MAX)
            segments, marked, unknown = split_symbol(span.symbol)
            self.unknown += unknown
            stress = min(max(span.stress, marked), 2)
            duration = end - begin
            for segment in segments:
                until = begin + segment.share * duration
                self._expect(segment, begin, until, stress)
                if segment.vowel and stress > 0:
                    self.beats.append((round(begin * MEDIA_CLOCK_HZ), stress))
                    stress = -1  # the glide of a diphthong keeps the height, not the beat
                begin = until
        if self.due_ticks <= self._position * STEP_TICKS or len(self._waiting) >= _DRAWN_AT_ONCE:
            draw([self])

    def _expect(self, segment: Segment, begin: float, end: float, stress: int) -> None:
        duration = end - begin
        tempo = min(max(duration / 0.08, 0.6), 1.25)
        reach = (_REACH + _SOFTNESS) * 0.06 * tempo
        wish, targets, dominance = _wish(segment.sound, segment.vowel, stress, segment.long)
        sound = _Sound(
            begin, duration, tempo, wish, targets, dominance, stress, segment.vowel and stress > 0,
            begin - reach, max(end + reach, begin + _BEAT_FALL_S),
        )  # fmt: skip
        self._waiting.append(sound)
        due = (int(sound.reach_from / STEP_S) - _SOON_STEPS) * STEP_TICKS
        self.due_ticks = min(self.due_ticks, due)

    def _window(self, begin: float, end: float) -> tuple[int, int]:
        """Grid indices [first, last) of a time range, stored from now on."""
        first, last = int(begin / STEP_S) - 1, int(end / STEP_S) + 2
        if first < self._base:
            first = self._base
        if last <= first:
            last = first + 1
        if last - self._base > len(self._grid):
            self._make_room(last)
            first = max(first, self._base)
            last = max(last, first + 1)
        if last > self._end:
            self._end = last
        if first <= self._position:
            self.disturbed = True
        return first, last

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

    def at(self, ticks: int) -> NDArray[np.float32]:
        """What the grid says of a position: float32[CURVE_COLUMNS], to be read at once; beyond it the mouth rests."""
        index = ticks // STEP_TICKS
        if self.due_ticks <= ticks:
            draw([self])
        if index > self._position:
            self._position = index
        grid, offset = self._grid, index - self._base
        if not 0 <= offset < len(grid) - 1:
            return REST_ROW
        row: NDArray[np.float32] = grid[offset]
        rest = ticks - index * STEP_TICKS
        if rest == 0:
            return row
        mixed: NDArray[np.float32] = row + (grid[offset + 1] - row) * np.float32(rest / STEP_TICKS)
        return mixed

    def sample_into(self, ticks: int, low: NDArray[np.float32], high: NDArray[np.float32]) -> float:
        """Write the two grid rows around a position into `low` and `high`, both float32[CURVE_COLUMNS].

        Returns: how far the position lies between them, in [0, 1). Beyond either end the mouth rests.
        """
        index, rest = divmod(ticks, STEP_TICKS)
        if self.due_ticks <= ticks:
            draw([self])
        self._position = max(self._position, index)
        offset = index - self._base
        if 0 <= offset < len(self._grid) - 1:
            low[:] = self._grid[offset]
            high[:] = self._grid[offset + 1]
        else:
            low[:] = high[:] = REST_ROW
        return rest / STEP_TICKS

    def take(self) -> tuple[list[_Sound], list[tuple[int, int]], int]:
        """The sounds that wait, with room made for them. For `draw`.

        Returns: sounds, the grid indices [first, last) of each, and the index of the grid's first row.
        """
        sounds, self._waiting, self.due_ticks = self._waiting, [], _NEVER
        windows = [self._window(sound.reach_from, sound.reach_to) for sound in sounds]
        base = self._base
        # The grid may have moved on for a later sound.
        return sounds, [(max(first, base), max(last, base + 1)) for first, last in windows], base

    @property
    def grid(self) -> NDArray[np.float32]:
        """float32[rows, CURVE_COLUMNS]. For `draw`."""
        return self._grid


def draw(curves: Sequence[MouthCurve]) -> None:
    """Add the sounds that wait to the grids of their curves, all at once."""
    sounds: list[_Sound] = []
    grids: list[NDArray[np.float32]] = []
    firsts: list[int] = []
    for curve in curves:
        taken, windows, base = curve.take()
        sounds += taken
        firsts += [first for first, _ in windows]
        grids += [curve.grid[first - base : last - base] for first, last in windows]
    if not sounds:
        return
    begins = np.array([sound.begin for sound in sounds])
    # Seconds since the sound's start, so that float32 stays exact however long the utterance is.
    starts = np.array(firsts) * STEP_S - begins
    times = (starts[:, None] + np.arange(max(map(len, grids))) * STEP_S).astype(np.float32)
    for rows, trace in zip(grids, _traces(sounds, times), strict=True):
        rows[:, :_SUMS] += trace[:, : len(rows)].T
    _raise(
        _LIPS, _seals, [index for index, sound in enumerate(sounds) if sound.wish.seal == "lips"], sounds, times, grids
    )
    _raise(
        _TEETH,
        _seals,
        [index for index, sound in enumerate(sounds) if sound.wish.seal == "teeth"],
        sounds,
        times,
        grids,
    )
    _raise(BEAT_COLUMN, _beats, [index for index, sound in enumerate(sounds) if sound.beats], sounds, times, grids)


def _raise(
    column: int,
    shape: Callable[[Sequence[_Sound], NDArray[np.float32]], NDArray[np.float32]],
    which: list[int],
    sounds: Sequence[_Sound],
    times: NDArray[np.float32],
    grids: Sequence[NDArray[np.float32]],
) -> None:
    """Some sounds raise a column; where two meet the higher one counts.

    Args:
        shape: sounds and their times float32[n, steps] into float32[n, steps] in [0, 1].
        which: of the sounds.
    """
    if which:
        for index, raised in zip(which, shape([sounds[index] for index in which], times[which]), strict=True):
            rows = grids[index][:, column]
            np.maximum(rows, raised[: len(rows)], out=rows)


def _seals(sounds: Sequence[_Sound], times: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 while a seal is held, smooth before and after."""
    timing = [
        (
            sound.wish.hold[0],
            max(sound.wish.hold[1] * sound.duration, 0.012),
            min(max(0.8 * sound.duration, 0.035), _SHUT_S),
        )
        for sound in sounds
    ]
    early, until, part = np.array(timing, dtype=np.float32).T[:, :, None]
    return _smooth(np.minimum((times + early) / np.float32(_SHUT_S), (until - times) / part) + np.float32(1.0))


def _beats(sounds: Sequence[_Sound], times: NDArray[np.float32]) -> NDArray[np.float32]:
    """Strength of stressed vowels, smooth before and after their start."""
    strength = np.array([_BEAT_STRENGTH[sound.stress] for sound in sounds], dtype=np.float32)
    rise = times / np.float32(_BEAT_RISE_S) + np.float32(1.0)
    return _smooth(np.minimum(rise, np.float32(1.0) - times / np.float32(_BEAT_FALL_S))) * strength[:, None]


def _smooth(shape: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ease in and out on [0, 1], in place."""
    np.minimum(np.maximum(shape, 0.0, out=shape), 1.0, out=shape)
    shape *= shape * (np.float32(3.0) - np.float32(2.0) * shape)
    return shape


def _traces(sounds: Sequence[_Sound], times: NDArray[np.float32]) -> NDArray[np.float32]:
    """What sounds add to the sums.

    Args:
        times: float32[sounds, steps], seconds since each one's start.
    Returns: float32[sounds, articulators + groups, steps].
    """
    targets = np.array([sound.targets for sound in sounds])
    dominance = np.array([sound.dominance for sound in sounds])
    shape = np.array([(1.0 / sound.tempo, sound.duration) for sound in sounds], dtype=np.float32)
    quick, duration = shape[:, :1], shape[:, 1:]
    margin = duration * np.float32(_CORE)
    before = (margin - times)[:, None, :] * (quick * _PER_ANTICIPATION)[:, :, None]
    after = (times - (duration - margin))[:, None, :] * (quick * _PER_CARRY)[:, :, None]
    distance = np.maximum(before, after, out=before)
    # Beyond its reach a sound counts for nothing; exponentials of more would be denormal, which is slow.
    np.minimum(np.maximum(distance, 0.0, out=distance), np.float32(_REACH + 1.0), out=distance)
    distance *= distance
    distance += np.float32(_SOFTNESS * _SOFTNESS)
    np.sqrt(distance, out=distance)
    np.subtract(np.float32(_SOFTNESS), distance, out=distance)
    weight = np.exp(distance, out=distance)
    weight -= np.float32(_FAINTEST)
    np.maximum(weight, 0.0, out=weight)
    weight *= dominance[:, :, None]
    traces = np.empty((len(sounds), _SUMS, times.shape[1]), dtype=np.float32)
    np.multiply(weight.take(GROUP_OF, axis=1), targets[:, :, None], out=traces[:, :_COUNT])
    traces[:, _COUNT:] = weight
    return traces


@lru_cache(maxsize=1024)
def _wish(sound: str, vowel: bool, stress: int, long: bool) -> tuple[Viseme, NDArray[np.float32], NDArray[np.float32]]:
    """A sound's viseme, and its targets float32[11] and dominance float32[4] where it stands."""
    wish = viseme(sound)
    if not vowel:
        return wish, wish.targets, wish.dominance
    return wish, wish.targets * _STRESS_SCALE[stress], wish.dominance * np.float32(1.3 if long or stress else 1.0)


_STRESS_SCALE: Final = tuple(
    np.array([jaw, 1.0, 1.0, 1.0, 1.0, lips, lips, 1.0, 1.0, 1.0, 1.0], dtype=np.float32)
    for jaw, lips in ((0.88, 0.9), (1.0, 1.0), (1.18, 1.12), (1.1, 1.05))
)
"""Unstressed, secondary, primary; the last (index -1) is the glide after a stressed nucleus."""
REST_ROW: Final[NDArray[np.float32]] = _rest_rows(1)[0]
REST_ROW.flags.writeable = False
"""float32[CURVE_COLUMNS]: nobody speaks."""

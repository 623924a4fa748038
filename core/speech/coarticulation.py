"""Phonemes become mouth movement: dominance functions, and closures that hold.

Each sound pulls every articulator towards its target, strongest while it is said and fading before and after; the
mouth is the average of all pulls, weighted by dominance (Cohen & Massaro 1993). On top of the average lie the seals: a
blend of neighbours never quite shuts the lips, so /p b m/ and /f v/ carry a curve that is exactly 1 while the lips must
touch. Beside them lies the beat: how near a stressed syllable is, for brows and head.

Only sounds within a few tenths of a second count, so a mouth needs no memory of what it said: an `Utterance` keeps the
sounds that are still to come, a `SoundTable` the few that are near the present of each of many mouths, as arrays, and
one sample of all of them is a fixed number of array operations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.limits import (
    MEDIA_CLOCK_HZ,
    MOUTH_CURVE_AHEAD_S_MAX,
    MOUTH_SOUNDS_NEAR_MAX,
    MOUTH_SOUNDS_WAITING_MAX,
    MOUTH_SPANS_KEPT_MAX,
)
from core.speech.messages import PhonemeSpan
from core.speech.phonemes import split_symbol
from core.speech.visemes import ARTICULATORS, GROUP_OF, GROUPS, REST_DOMINANCE, viseme

__all__ = [
    "BEAT_COLUMN", "CURVE", "CURVE_COLUMNS", "NEVER", "OF_GROUP", "PER_S", "SEALS", "Sound", "SoundTable", "Utterance",
    "resolve", "say",
]  # fmt: skip

BEFORE_S: Final = 0.5
"""Mouths follow an utterance from this long before it on: the first sound is anticipated."""
NEVER: Final = 1 << 62

SEALS: Final[tuple[str, ...]] = ("lips", "teeth")
"""Columns after the articulators in a resolved sample."""
_COUNT: Final = len(ARTICULATORS)
_SUMS: Final = _COUNT + len(GROUPS)
BEAT_COLUMN: Final = _SUMS + len(SEALS)
"""Strength of a stressed syllable near this moment, in [0, 1]."""
CURVE_COLUMNS: Final = BEAT_COLUMN + 1
"""Columns of a sample: weighted targets, dominances, seals, beat."""
_LIPS, _TEETH = _SUMS, _SUMS + 1
_BEAT_STRENGTH: Final = (0.0, 0.55, 1.0)
_BEAT_RISE_S: Final = 0.12
_BEAT_FALL_S: Final = 0.20
_SOON_S: Final = 0.04
"""How long before it first counts a sound is due."""
_TOGETHER_S: Final = 0.12
"""What is due this soon after it comes along: an array operation on a few sounds costs little more than on one."""

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
_SHUT_S: Final = 0.055
"""Time the lips take to meet, and (at most) to part; measured closing movements last 50 to 90 ms (Löfqvist 2000)."""
PER_S: Final = np.array([1.0 / np.array(_ANTICIPATION_S), 1.0 / np.array(_CARRY_S)], dtype=np.float32)
"""float32[2, groups], 1/s: how quickly a sound's dominance rises before it and falls after it."""
_PER_ANTICIPATION, _PER_CARRY = PER_S[:, :, None, None]
CURVE: Final = np.array(
    [_REACH, _SOFTNESS, _FAINTEST, REST_DOMINANCE, 1.0 / _SHUT_S, 1.0 / _BEAT_RISE_S, 1.0 / _BEAT_FALL_S],
    dtype=np.float32,
)
"""The other numbers of a sample: reach and softness of a dominance, what is too faint to count, the rest's dominance;
1/s of lips that meet and of a beat that rises and falls."""
_OWN: Final = 1e9
"""Begin of a sound that is none, seconds: nobody comes near it."""

_PULLS: Final = slice(0, _SUMS)
_PULLED: Final = 16
"""Numbers that a sound adds to the sums, and one that is 0: a cache line."""
OF_GROUP: Final = np.zeros((len(GROUPS), _PULLED), dtype=np.float32)
"""float32[groups, 16]: 1 where a weighted target, or a dominance, belongs to a group."""
OF_GROUP[:, :_SUMS] = np.eye(len(GROUPS))[:, np.concatenate([GROUP_OF, np.arange(len(GROUPS))])]
_HOLD_FROM, _HOLD_TO, _QUICK, _SEAL_FROM, _SEAL_TO, _PARTING, _BY_LIPS, _BY_TEETH, _BEAT = range(9)
"""Rows of a sound's shape; times in seconds after its begin: it holds fully between the first two; 1/tempo; it is shut
between the next two; 1/seconds that parting takes; 1 if it shuts the lips, or the teeth; its beat's strength."""


def resolve(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sums into a mouth.

    Args:
        rows: float32[n, CURVE_COLUMNS].
    Returns: articulators float32[n, 11] in [0, 1] and seals float32[n, 2] in [0, 1].
    """
    return rows[:, :_COUNT] / rows[:, _COUNT:_SUMS].take(GROUP_OF, axis=1), rows[:, _SUMS:BEAT_COLUMN]


_EARLY, _FRACTION, _SEALS_AND_BEAT, _PULL = 0, 1, slice(2, 5), slice(5, 5 + _SUMS)
"""Of a kind of sound: its seal is shut from so many seconds before its begin until so large a fraction of its duration
after it; 1 if it shuts the lips, 1 if the teeth, strength of its beat; dominance times target per articulator, and
dominance per group."""


@lru_cache(maxsize=1024)
def _kind(sound: str, vowel: bool, stress: int, long: bool) -> NDArray[np.float32]:
    """What a sound is like wherever it stands.

    Args: stress: 0 to 2; -1 is the glide of a diphthong, which keeps its nucleus' height, not its beat.
    """
    wish = viseme(sound)
    targets, dominance = wish.targets, wish.dominance
    if vowel:
        targets, dominance = targets * _STRESS_SCALE[stress], dominance * np.float32(1.3 if long or stress else 1.0)
    beat = _BEAT_STRENGTH[stress] if vowel and stress > 0 else 0.0
    traits = (*wish.hold, wish.seal == "lips", wish.seal == "teeth", beat)
    return np.concatenate([traits, dominance[GROUP_OF] * targets, dominance]).astype(np.float32)


_STRESS_SCALE: Final = tuple(
    np.array([jaw, 1.0, 1.0, 1.0, 1.0, lips, lips, 1.0, 1.0, 1.0, 1.0], dtype=np.float32)
    for jaw, lips in ((0.88, 0.9), (1.0, 1.0), (1.18, 1.12), (1.1, 1.05))
)
"""Unstressed, secondary, primary; the last (index -1) is the glide after a stressed nucleus."""


class Sound(msgspec.Struct, frozen=True, gc=False):
    """One sound in its place; seconds of the utterance.

    Attributes:
        counts_from: before that it moves nothing.
        begin, duration: when it is said.
        kind: float32[20], what it is like.
    """

    counts_from: float
    begin: float
    duration: float
    kind: NDArray[np.float32]


class _Part(NamedTuple):
    """A sound of a symbol: its share of the symbol's time, and what comes before it."""

    begin: float
    share: float
    kind: NDArray[np.float32]
    beats: bool


@lru_cache(maxsize=4096)
def _parts(symbol: str, stress: int) -> tuple[tuple[_Part, ...], int, int]:
    """The sounds of a symbol, its stress, and how many letters are unknown. Args: stress: what its span says."""
    segments, marked, unknown = split_symbol(symbol)
    stress = left = min(max(stress, marked), 2)
    parts: list[_Part] = []
    begin = 0.0
    for segment in segments:
        beats = segment.vowel and left > 0
        parts.append(_Part(begin, segment.share, _kind(segment.sound, segment.vowel, left, segment.long), beats))
        left = -1 if beats else left
        begin += segment.share
    return tuple(parts), stress, unknown


def _tempo(duration: float) -> float:
    return min(max(duration / 0.08, 0.6), 1.25)


class Utterance:
    """The sounds of one utterance that are still to come.

    Attributes:
        due_ticks: the position at which the next of them is due; NEVER without one.
        beats: (tick, stress) of every primary or secondary stressed vowel, in order of arrival; who has used one takes
            it out.
        spans: the newest that were taken in.
        unknown: letters that no table knows; they look neutral.
        dropped: spans refused: their times are impossible (end before begin, long past, too far ahead), or too many
            wait.
    """

    __slots__ = ("_sorted", "_waiting", "beats", "dropped", "due_ticks", "spans", "unknown")

    def __init__(self) -> None:
        self._waiting: deque[Sound] = deque()
        self._sorted = True
        self.due_ticks = NEVER
        self.beats: list[tuple[int, int]] = []
        self.spans: deque[PhonemeSpan] = deque(maxlen=MOUTH_SPANS_KEPT_MAX)
        self.unknown = 0
        self.dropped = 0

    def add(self, spans: Sequence[PhonemeSpan], now_ticks: int = 0) -> None:
        """Take phonemes in, in any order; impossible ones are counted in `dropped`, never raised.

        Args:
            spans: times in utterance ticks.
            now_ticks: position of its mouth.
        """
        now = now_ticks / MEDIA_CLOCK_HZ
        waiting = self._waiting
        for span in spans:
            begin, end = span.start / MEDIA_CLOCK_HZ, span.end / MEDIA_CLOCK_HZ
            possible = now - BEFORE_S < end and begin < end and begin < now + MOUTH_CURVE_AHEAD_S_MAX
            if not possible or len(waiting) >= MOUTH_SOUNDS_WAITING_MAX:
                self.dropped += 1
                continue
            self.spans.append(span)
            whole = min(end, begin + MOUTH_CURVE_AHEAD_S_MAX) - begin
            parts, stress, unknown = _parts(span.symbol, span.stress)
            self.unknown += unknown
            for part in parts:
                start, duration = begin + part.begin * whole, part.share * whole
                counts_from = start - (_REACH + _SOFTNESS) * max(_ANTICIPATION_S) * _tempo(duration)
                if waiting and counts_from < waiting[-1].counts_from:
                    self._sorted = False
                waiting.append(Sound(counts_from, start, duration, part.kind))
                due = int((counts_from - _SOON_S) * MEDIA_CLOCK_HZ)
                if due < self.due_ticks:
                    self.due_ticks = due
                if part.beats:
                    self.beats.append((round(start * MEDIA_CLOCK_HZ), stress))

    def take(self, ticks: int) -> list[Sound]:
        """The sounds that are due at a position, and those that will be soon, in order; they wait no longer."""
        if not self._sorted:
            self._waiting = deque(sorted(self._waiting, key=_counts_from))
            self._sorted = True
        until = ticks / MEDIA_CLOCK_HZ + _SOON_S + _TOGETHER_S
        waiting = self._waiting
        taken: list[Sound] = []
        while waiting and waiting[0].counts_from <= until:
            taken.append(waiting.popleft())
        self.due_ticks = int((waiting[0].counts_from - _SOON_S) * MEDIA_CLOCK_HZ) if waiting else NEVER
        return taken


def _counts_from(sound: Sound) -> float:
    return sound.counts_from


class SoundTable:
    """The sounds near the present of many mouths: each has a slot with room for MOUTH_SOUNDS_NEAR_MAX. When more are
    put there, the one that came first gives way."""

    def __init__(self, capacity: int) -> None:
        near = MOUTH_SOUNDS_NEAR_MAX
        self._next = [0] * capacity
        self._begins = np.full((capacity, near), _OWN)
        self._shapes = np.zeros((capacity, 9, near), dtype=np.float32)
        self._pulls = np.zeros((capacity, near, _PULLED), dtype=np.float32)

    def grow(self, capacity: int) -> None:
        """Make room; mouths keep their slots."""
        self._next += [0] * (capacity - len(self._next))
        for name in ("_begins", "_shapes", "_pulls"):
            old = getattr(self, name)
            new = np.zeros((capacity, *old.shape[1:]), dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
        self._begins[len(old) :] = _OWN

    def clear(self, slot: int) -> None:
        """No sound is near this mouth."""
        self._begins[slot] = _OWN
        self._pulls[slot] = 0.0
        self._shapes[slot] = 0.0

    def put(self, slots: Sequence[int], sounds: Sequence[Sound]) -> None:
        """Sounds, each to the mouth it belongs to. Args: slots: as many."""
        if not sounds:
            return
        places: list[int] = []
        for slot in slots:
            place = self._next[slot]
            places.append(place)
            self._next[slot] = (place + 1) % MOUTH_SOUNDS_NEAR_MAX
        where = np.array(slots, dtype=np.intp), np.array(places, dtype=np.intp)
        durations = np.array([sound.duration for sound in sounds], dtype=np.float32)
        kinds = np.concatenate([sound.kind for sound in sounds]).reshape(len(sounds), -1)
        shapes = np.empty((len(sounds), 9), dtype=np.float32)
        shapes[:, _HOLD_FROM] = durations * np.float32(_CORE)
        shapes[:, _HOLD_TO] = durations * np.float32(1.0 - _CORE)
        shapes[:, _QUICK] = 1.0 / np.minimum(np.maximum(durations * np.float32(12.5), 0.6), 1.25)
        shapes[:, _SEAL_FROM] = -kinds[:, _EARLY]
        shapes[:, _SEAL_TO] = np.maximum(kinds[:, _FRACTION] * durations, 0.012)
        shapes[:, _PARTING] = 1.0 / np.minimum(np.maximum(durations * np.float32(0.8), 0.035), np.float32(_SHUT_S))
        shapes[:, _BY_LIPS:] = kinds[:, _SEALS_AND_BEAT]
        self._begins[where] = [sound.begin for sound in sounds]
        self._shapes[where[0], :, where[1]] = shapes
        self._pulls[(*where, _PULLS)] = kinds[:, _PULL]

    def tables(self) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """What `sample` reads, for who does the same faster: begins float64[slots, sounds], shapes float32[slots, 9,
        sounds], pulls float32[slots, sounds, 16]. They are others after `grow`."""
        return self._begins, self._shapes, self._pulls

    def sample(self, slots: NDArray[np.intp], times: NDArray[np.float64]) -> NDArray[np.float32]:
        """Where mouths ought to be.

        Args:
            slots: intp[n]. times: float64[n], seconds of the utterances they say.
        Returns: float32[n, CURVE_COLUMNS]; see `resolve`. A mouth without sounds rests.
        """
        # Seconds since each sound's begin, so that float32 stays exact however long the utterance is.
        since = (times[:, None] - self._begins[slots]).astype(np.float32)
        return _sample(since, self._shapes[slots], self._pulls[slots])


def _sample(since: NDArray[np.float32], shapes: NDArray[np.float32], pulls: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum up what sounds want.

    Args:
        since: float32[n, sounds], seconds since the begin of each. shapes: float32[n, 9, sounds].
        pulls: float32[n, sounds, _PULLED].
    """
    rows = np.empty((len(since), CURVE_COLUMNS), dtype=np.float32)
    # One contiguous array per group: numpy is slow where the innermost axis is short.
    quick = shapes[:, _QUICK]
    distance = _PER_ANTICIPATION * ((shapes[:, _HOLD_FROM] - since) * quick)
    np.maximum(distance, _PER_CARRY * ((since - shapes[:, _HOLD_TO]) * quick), out=distance)
    # Beyond its reach a sound counts for nothing; exponentials of more would be denormal, which is slow.
    np.minimum(np.maximum(distance, 0.0, out=distance), np.float32(_REACH + 1.0), out=distance)
    distance *= distance
    distance += np.float32(_SOFTNESS * _SOFTNESS)
    np.sqrt(distance, out=distance)
    np.subtract(np.float32(_SOFTNESS), distance, out=distance)
    weight = np.exp(distance, out=distance)
    weight -= np.float32(_FAINTEST)
    np.maximum(weight, 0.0, out=weight)
    weights = np.matmul(weight.reshape(len(GROUPS), -1).T, OF_GROUP).reshape(pulls.shape)
    rows[:, :_SUMS] = np.einsum("nsc,nsc->nc", weights, pulls)[:, :_SUMS]
    rows[:, _COUNT:_SUMS] += np.float32(REST_DOMINANCE)
    raised = np.empty((len(since), 3, since.shape[1]), dtype=np.float32)
    shut = (since - shapes[:, _SEAL_FROM]) * np.float32(1.0 / _SHUT_S)
    np.minimum(shut, (shapes[:, _SEAL_TO] - since) * shapes[:, _PARTING], out=shut)
    shut += np.float32(1.0)
    np.multiply(_smooth(shut)[:, None], shapes[:, _BY_LIPS : _BY_TEETH + 1], out=raised[:, :2])
    beat = since * np.float32(1.0 / _BEAT_RISE_S) + np.float32(1.0)
    np.minimum(beat, np.float32(1.0) - since * np.float32(1.0 / _BEAT_FALL_S), out=beat)
    np.multiply(_smooth(beat), shapes[:, _BEAT], out=raised[:, 2])
    rows[:, _SUMS:] = _highest(raised)
    return rows


def _highest(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The maximum along the last axis, whose length is a power of two: by halves, in half the time of `max`."""
    half = values.shape[-1] // 2
    while half:
        values = np.maximum(values[..., :half], values[..., half:])
        half //= 2
    return values[..., 0]


def _smooth(shape: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ease in and out on [0, 1], in place."""
    np.minimum(np.maximum(shape, 0.0, out=shape), 1.0, out=shape)
    shape *= shape * (np.float32(3.0) - np.float32(2.0) * shape)
    return shape


def say(utterance: Utterance, ticks: Sequence[int]) -> NDArray[np.float32]:
    """A whole utterance at once; nothing of it waits afterwards.

    Args:
        ticks: positions, increasing.
    Returns: float32[len(ticks), CURVE_COLUMNS]; see `resolve`.
    """
    table, slot = SoundTable(1), np.zeros(1, dtype=np.intp)
    rows = np.empty((len(ticks), CURVE_COLUMNS), dtype=np.float32)
    for row, now in zip(rows, ticks, strict=True):
        if utterance.due_ticks <= now:
            sounds = utterance.take(now)
            table.put([0] * len(sounds), sounds)
        row[:] = table.sample(slot, np.array([now / MEDIA_CLOCK_HZ]))[0]
    return rows

"""The teacher: what a face should do with an utterance, from its phonemes, its sound, and all of its future.

The mouth is `core.speech.coarticulation`'s (dominance functions over viseme targets, seals that hold), shaped by a
character's `Style`, by how loudly each part is said, and by the mood: loud syllables open and spread or round the
mouth further, murmured ones barely move it, an excited voice articulates more, a cheerful one wider. Stressed syllables
raise brows and nod the head, in proportion to how loud and how high they are within their utterance; between them the
head follows the melody; pauses invite blinks. None of this touches a closure.

What must match and what may approximate (`LOSS_WEIGHTS`): a viewer sees lips that miss a closure at once, and a jaw
out of phase soon; how far a brow rises or a head nods nobody can check against the sound, only that it fits the beat.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ, PTIME_MS, TICK_SAMPLES
from core.speech.coarticulation import Utterance, resolve, say
from core.speech.messages import PhonemeSpan
from core.speech.phonemes import split_symbol
from core.speech.student_layout import MOUTH, OUTPUTS, PLAN
from core.speech.visemes import ARTICULATORS, viseme

__all__ = ["LOSS_WEIGHTS", "NEUTRAL", "Closure", "Lesson", "Style", "closures", "load_styles", "plan_of", "teach"]

LOSS_WEIGHTS: Final[dict[str, float]] = {
    "jaw": 1.3, "funnel": 1.5, "pucker": 1.6, "stretch": 1.2, "smile": 1.2, "lower_down": 1.0, "upper_up": 1.0,
    "roll_lower": 1.0, "tongue": 1.4, "puff": 0.2, "voice": 0.3, "lips": 2.0, "teeth": 1.4,
    "brow_inner": 0.3, "brow_outer": 0.15, "head_pitch": 0.3, "blink": 0.15, "sync": 0.2,
}  # fmt: skip
"""How much a miss counts, in units of each output's own variance. Closures must match (shut frames count more still,
see `origin.distill.train`), then the mouth, what is hard to hear before what is easy; the rest may approximate."""

_LOUDNESS_SHARES: Final[dict[str, float]] = {
    "jaw": 1.0, "lower_down": 1.0, "upper_up": 1.0, "stretch": 0.5, "smile": 0.4, "funnel": 0.4, "pucker": 0.25,
    "tongue": 0.4,
}  # fmt: skip
"""How much of the loudness an articulator follows: height most, rounding least, seals and "voice" not at all."""
_LOUD: Final = np.array([_LOUDNESS_SHARES.get(name, 0.0) for name in MOUTH], dtype=np.float32)
_LOUDER_PER_LEVEL: Final = 2.5
"""Opening per unit of level (100 dB): 10 dB open a mouth a quarter further."""
_LOUDER: Final = (0.7, 1.35)
"""Least and most."""
_EMPHASIS_USUAL: Final = 0.7
_PROMINENCE: Final = 0.3
"""Opening per unit of emphasis: what is said with weight is articulated, what is not is mumbled (Lindblom's H&H)."""
_CHEER: Final[dict[str, float]] = {"smile": 0.5, "stretch": 0.25, "upper_up": 0.25, "funnel": -0.1, "pucker": -0.1}
"""Change of an articulator's gain per unit of valence; the face that smiles by itself is the mood layer's."""
_NOD_RAD: Final = 0.055
_SWAY_RAD: Final = 0.04
_RISE_RAD_PER_SEMITONE: Final = 0.005
"""A head rises with the melody (Yehia, Kuratate, Vatikiotis-Bateson 2002) and nods on beats."""
_FRAME_S: Final = PTIME_MS / 1000.0
_BEAT_STRENGTH: Final = (0.0, 0.55, 1.0)
_BEAT_RISE_S: Final = 0.12
_BEAT_FALL_S: Final = 0.20
_PAUSE_S_MIN: Final = 0.10
_SPEECH_S_MIN: Final = 0.6
"""Speech before a pause that makes a blink welcome."""
_AUDIBLE: Final = 0.25
"""Mean log-mel byte / 255 above which a frame is sound."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a character moves.

    Attributes:
        name: [a-z0-9-]+.
        gains: factor of an articulator, 1 where absent.
        raise_by: added to an articulator while it speaks, 0 where absent.
        smoothing_s: standard deviation of a Gaussian over time: how lazily everything but closures moves.
        loudness: how much of the voice's loudness shows, 1 where it is anyone's.
        brows, head: factors of the beats.
    """

    name: str
    gains: dict[str, float] = field(default_factory=dict)
    raise_by: dict[str, float] = field(default_factory=dict)
    smoothing_s: float = 0.0
    loudness: float = 1.0
    brows: float = 1.0
    head: float = 1.0


NEUTRAL: Final = Style("neutral")


@dataclass(frozen=True, slots=True)
class Closure:
    """Lips that must be shut.

    Attributes:
        symbol: the sound.
        start, end: frames (fractions) between which they touch.
    """

    symbol: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """One utterance as it should look.

    Attributes:
        plan: float32[frames, len(PLAN)], what the phonemes ask of the neutral mouth.
        targets: float32[frames, len(OUTPUTS)].
        closures: when the lips must be shut.
    """

    plan: NDArray[np.float32]
    targets: NDArray[np.float32]
    closures: tuple[Closure, ...]


def load_styles(path: Path | None = None) -> tuple[Style, ...]:
    """The characters' styles, neutral first.

    Args:
        path: TOML with one table per character; None: the ones that come along.
    Raises: ConfigError: the file is missing or says something unknown.
    """
    path = path or Path(__file__).parent / "styles.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    styles = [NEUTRAL]
    for name, table in tables.items():
        unknown = set(table) - {"gains", "raise_by", "smoothing_s", "loudness", "brows", "head"}
        strange = {*table.get("gains", {}), *table.get("raise_by", {})} - set(ARTICULATORS)
        if unknown or strange:
            raise ConfigError(f"{path}: {name} has {', '.join(sorted(unknown | strange))}, which is unknown")
        styles.append(Style(name, **table))
    return tuple(styles)


def closures(spans: Sequence[PhonemeSpan]) -> tuple[Closure, ...]:
    """Where p, b and m hold the lips shut, in frames of 20 ms."""
    found = []
    for span in spans:
        segments, _, _ = split_symbol(span.symbol)
        begin, duration = span.start / MEDIA_CLOCK_HZ, (span.end - span.start) / MEDIA_CLOCK_HZ
        for segment in segments:
            wish, length = viseme(segment.sound), segment.share * duration
            if wish.seal == "lips":
                early, fraction = wish.hold
                last = begin + max(fraction * length, 0.012)
                found.append(Closure(segment.sound, (begin - early) / _FRAME_S, last / _FRAME_S))
            begin += length
    return tuple(found)


def plan_of(spans: Sequence[PhonemeSpan], frames: int) -> NDArray[np.float32]:
    """What the phonemes ask of the neutral mouth: float32[frames, len(PLAN)]; see PLAN."""
    utterance = Utterance()
    utterance.add(spans)
    rows = say(utterance, range(0, frames * TICK_SAMPLES, TICK_SAMPLES))
    plan = np.zeros((frames, len(PLAN)), dtype=np.float32)
    plan[:, : len(MOUTH)] = np.concatenate(resolve(rows), axis=1)
    plan[:, PLAN.index("planned")] = 1.0
    times = np.arange(frames) * _FRAME_S
    for tick, stress in utterance.beats:
        away = times - tick / MEDIA_CLOCK_HZ
        bump = np.clip(np.minimum(1.0 + away / _BEAT_RISE_S, 1.0 - away / _BEAT_FALL_S), 0.0, 1.0)
        strength = _BEAT_STRENGTH[stress] * bump * bump * (3.0 - 2.0 * bump)
        plan[:, -1] = np.maximum(plan[:, -1], strength)
    return plan


def teach(
    spans: Sequence[PhonemeSpan],
    log_mel: NDArray[np.uint8],
    *,
    style: Style = NEUTRAL,
    mood: tuple[float, float] = (0.0, 0.0),
    pitch: NDArray[np.float32] | None = None,
    plan: NDArray[np.float32] | None = None,
) -> Lesson:
    """How an utterance should look.

    Args:
        spans: its phonemes, utterance ticks.
        log_mel: uint8[frames, 40] of its clean sound.
        style: of the character.
        mood: valence and arousal in [-1, 1].
        pitch: float32[frames], semitones (`origin.distill.prosody`); None: a monotone.
        plan: from `plan_of`, if it is there already.
    """
    frames = len(log_mel)
    plan = plan_of(spans, frames) if plan is None else plan
    valence, arousal = mood
    louder, emphasis = _loudness(log_mel)
    mouth = plan[:, : len(MOUTH)].copy()
    voice = mouth[:, MOUTH.index("voice")]
    melody = np.zeros(frames, np.float32) if pitch is None else _smoothed(pitch[:, None], 2.0)[:, 0]
    emphasis = np.clip(emphasis * (1.0 + 0.08 * melody), 0.0, 1.4)
    opened = 1.0 + style.loudness * (louder - 1.0 + _PROMINENCE * (emphasis - _EMPHASIS_USUAL)) + 0.15 * arousal
    mouth *= 1.0 + (opened - 1.0)[:, None] * _LOUD
    gains = [style.gains.get(name, 1.0) * (1.0 + valence * _CHEER.get(name, 0.0)) for name in MOUTH]
    added = np.array([style.raise_by.get(name, 0.0) for name in MOUTH], dtype=np.float32)
    added[MOUTH.index("smile")] += 0.10 * max(valence, 0.0)
    mouth = mouth * np.array(gains, dtype=np.float32) + voice[:, None] * added
    if style.smoothing_s > 0.0:
        smooth = _smoothed(mouth[:, : len(ARTICULATORS)], style.smoothing_s / _FRAME_S)
        mouth[:, : len(ARTICULATORS)] = smooth
    found = closures(spans)
    _guarantee(mouth[:, MOUTH.index("lips")], found)
    beat = plan[:, -1] * emphasis
    targets = np.zeros((frames, len(OUTPUTS)), dtype=np.float32)
    targets[:, : len(MOUTH)] = np.clip(mouth, 0.0, 1.0)
    targets[:, OUTPUTS.index("brow_inner")] = 0.20 * beat * style.brows * (1.0 + 0.5 * arousal)
    targets[:, OUTPUTS.index("brow_outer")] = 0.16 * beat * style.brows * (1.0 + 0.5 * arousal)
    sway = _SWAY_RAD * (emphasis - _EMPHASIS_USUAL) - _RISE_RAD_PER_SEMITONE * _smoothed(melody[:, None], 4.0)[:, 0]
    targets[:, OUTPUTS.index("head_pitch")] = style.head * (_NOD_RAD * beat + sway * voice)
    targets[:, OUTPUTS.index("blink")] = _blinks(voice)
    targets[:, OUTPUTS.index("sync")] = np.minimum(voice * 1.06, 1.0)
    return Lesson(plan=plan, targets=targets, closures=found)


def _loudness(log_mel: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much further each frame opens the mouth (_LOUDER) and how much it is emphasised (0 … 1.2)."""
    level = log_mel.mean(axis=1, dtype=np.float32) / np.float32(255.0)
    audible = level > _AUDIBLE
    usual = float(level[audible].mean()) if audible.any() else 0.5
    near = _smoothed(level[:, None], 1.5)[:, 0]
    wide = _smoothed(level[:, None], 6.0)[:, 0]
    louder = np.where(audible, np.clip(1.0 + _LOUDER_PER_LEVEL * (near - usual), *_LOUDER), 1.0)
    emphasis = np.clip(_EMPHASIS_USUAL + 4.0 * (wide - usual), 0.0, 1.2)
    return _smoothed(louder[:, None], 1.0)[:, 0], emphasis.astype(np.float32)


def _smoothed(columns: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """A Gaussian over time, the ends held."""
    reach = max(1, round(3.0 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(columns, ((reach, reach), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    return np.asarray(windows @ kernel, dtype=np.float32)


def _guarantee(lips: NDArray[np.float32], found: Sequence[Closure]) -> None:
    """A closure shorter than a frame may fall between two: its nearest frame shuts."""
    for closure in found:
        first, last = int(np.ceil(closure.start)), int(np.floor(closure.end))
        if last < first or last < 0 or first >= len(lips):
            first = last = round((closure.start + closure.end) / 2.0)
        if first >= 0 and last < len(lips) and lips[first : last + 1].max() < 0.999:
            lips[first] = 1.0


def _blinks(voice: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 where a pause begins after speech: people blink between phrases."""
    welcome = np.zeros(len(voice), dtype=np.float32)
    talked = quiet = 0
    for index, speaking in enumerate(voice > 0.5):
        quiet = 0 if speaking else quiet + 1
        talked += speaking
        if quiet * _FRAME_S >= _PAUSE_S_MIN and talked * _FRAME_S >= _SPEECH_S_MIN:
            welcome[index : index + 6] = 1.0
            talked = 0
    return _smoothed(welcome[:, None], 1.5)[:, 0]

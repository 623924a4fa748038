"""Frames for all sessions of a phase in one batch.

The mouth follows the character's phonemes (tier "rules": `core.speech.coarticulation`), the rest of the face what the
session is doing (`core.avatar.behaviour`). One `Animator` serves all sessions of a POP: each has a slot in arrays that
grow by doubling and are reused. Everything is a function of media time, so frames may be 20 ms or 80 ms apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.behaviour import Behaviours
from core.avatar.blend import layer_mouth, limit_steps
from core.avatar.expression import CHANNELS
from core.avatar.frame import AnimationFrame
from core.avatar.rotation import quaternions
from core.errors import LocalProtocolError
from core.limits import (
    BLENDSHAPE_COUNT,
    JOINT_COUNT,
    LOG_MEL_BANDS,
    MEDIA_CLOCK_HZ,
    UTTERANCES_PER_SLOT_MAX,
)
from core.session.state import FaceState
from core.speech.coarticulation import CURVE_COLUMNS, REST_ROW, SEALS, MouthCurve, resolve
from core.speech.messages import PhonemeSpan
from core.speech.visemes import ARTICULATORS

__all__ = ["AnimatedBatch", "Animator", "AnimatorRow"]

_EASE_HZ: Final = 45.0
"""How fast the mouth leaves what it was doing when its speech starts, is cut or turns out otherwise: critically damped,
a quarter of the way left after 60 ms (rad/s)."""
_LOUDNESS_EASE_S: Final = 0.05
_LOUDNESS_MEAN_S: Final = 1.5
_LOUDNESS_USUAL: Final = 0.50
"""Mean log-mel byte / 255 of a normal voice, until the utterance shows its own."""
_BEAT_AHEAD_TICKS: Final = 5_760
"""Head beats are prepared 120 ms before their syllable."""
_BEAT_STRENGTH: Final = (0.0, 0.55, 1.0)
_NO_LOG_MEL: Final = bytes(LOG_MEL_BANDS)
_VOICE: Final = ARTICULATORS.index("voice")
_MOUTH_WIDTH: Final = len(ARTICULATORS) + len(SEALS)


@dataclass(slots=True)
class AnimatorRow:
    """What one session's frame needs.

    Attributes:
        slot: from `Animator.open`.
        media_time: unwrapped 48 kHz ticks of this frame.
        state: what the face is doing.
        utterance_id: the utterance whose sound this frame accompanies, 0 = silence.
        utterance_ticks: position of this frame within that utterance; negative shortly before its sound.
        log_mel: 40 bytes of `core.speech.features`, or b"" (any other length counts as b"").
        user_level: the user's speech energy in [0, 1].
    """

    slot: int
    media_time: int
    state: FaceState
    utterance_id: int = 0
    utterance_ticks: int = 0
    log_mel: bytes = b""
    user_level: float = 0.0


@dataclass(slots=True)
class AnimatedBatch:
    """Frames in the order of the rows.

    Attributes:
        weights: float32[n, 52] in [0, 1].
        joints: float32[n, 7, 4] unit quaternions (x, y, z, w), w >= 0.
        sync: float32[n] lip-sync confidence in [0, 1].
    """

    weights: NDArray[np.float32]
    joints: NDArray[np.float32]
    sync: NDArray[np.float32]

    def frame(self, index: int) -> AnimationFrame:
        """The frame of one row."""
        return AnimationFrame(
            weights=self.weights[index], joints=self.joints[index], sync_score=float(self.sync[index])
        )


class _Voice:
    """What one session is going to say."""

    __slots__ = ("beats_done", "curves", "cut_through", "source", "ticks")

    def __init__(self) -> None:
        self.curves: dict[int, MouthCurve] = {}
        self.cut_through = 0
        self.source = 0
        """The utterance the mouth follows now, 0 = none."""
        self.ticks = 0
        self.beats_done = 0


class Animator:
    """One per POP.

    Attributes:
        unknown_phonemes: letters in phoneme symbols that no table knows (they look neutral).
        dropped_phonemes: spans refused because of impossible times, or of utterances that were cut.
    """

    def __init__(self, *, capacity: int = 64) -> None:
        """Args: capacity: slots to begin with, at least 1; doubles when it is used up."""
        if capacity < 1:
            raise LocalProtocolError("an animator needs room for at least one face")
        self._free = list(range(capacity - 1, -1, -1))
        self._voices: list[_Voice | None] = [None] * capacity
        self._behaviours = Behaviours(capacity)
        self._times = np.zeros(capacity)
        self._poses = np.zeros((capacity, CHANNELS), dtype=np.float32)
        self._mouths = np.zeros((capacity, 3, _MOUTH_WIDTH), dtype=np.float32)
        """What the mouth did last, how far that still is from what its curve says, and how fast it gets there."""
        self._loudness = np.zeros((capacity, 2), dtype=np.float32)
        self.unknown_phonemes = 0
        self.dropped_phonemes = 0

    # --- sessions ------------------------------------------------------------------------------------------------

    def open(self, *, seed: int) -> int:
        """A slot for a session. Its first frame is alive at once.

        Args:
            seed: any integer; the same seed and media times give the same face.
        """
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._voices[slot] = _Voice()
        self._behaviours.reset(slot, seed)
        self._times[slot] = -np.inf
        self._poses[slot] = 0.0
        self._mouths[slot] = 0.0
        self._loudness[slot] = 1.0, _LOUDNESS_USUAL
        return slot

    def close(self, slot: int) -> None:
        """Free a slot.

        Raises: LocalProtocolError: the slot is not open (also for all methods below).
        """
        self._voice(slot)
        self._voices[slot] = None
        self._free.append(slot)

    def _voice(self, slot: int) -> _Voice:
        voice = self._voices[slot] if 0 <= slot < len(self._voices) else None
        if voice is None:
            raise LocalProtocolError(f"animator slot {slot} is not open")
        return voice

    def _grow(self) -> None:
        old = len(self._voices)
        self._free = list(range(2 * old - 1, old - 1, -1))
        self._voices += [None] * old
        self._behaviours.grow(2 * old)
        for name in ("_times", "_poses", "_mouths", "_loudness"):
            table = getattr(self, name)
            setattr(self, name, np.concatenate([table, np.zeros_like(table)]))

    # --- what happens to a session -------------------------------------------------------------------------------

    def set_mood(self, slot: int, valence: float, arousal: float) -> None:
        """How the character feels; both in [-1, 1], clipped. The face eases there."""
        self._voice(slot)
        self._behaviours.set_mood(slot, valence, arousal)

    def speech_start(self, slot: int, utterance_id: int) -> None:
        """An utterance is announced. A silent face breathes in and looks at the viewer."""
        voice = self._voice(slot)
        self._curve(voice, utterance_id)
        if voice.source == 0:
            self._behaviours.expect_speech(slot)

    def speech_phonemes(self, slot: int, utterance_id: int, spans: Sequence[PhonemeSpan]) -> None:
        """Phonemes of an utterance, in utterance ticks, any amount ahead of its sound and in any order.

        Those of an utterance that was cut, or with impossible times, are dropped and counted.
        """
        if not spans:
            return
        curve = self._curve(self._voice(slot), utterance_id)
        if curve is None:
            self.dropped_phonemes += len(spans)
            return
        unknown, dropped = curve.unknown, curve.dropped
        curve.add(spans)
        self.unknown_phonemes += curve.unknown - unknown
        self.dropped_phonemes += curve.dropped - dropped

    def speech_cut(self, slot: int) -> None:
        """The voice was cut: everything announced so far is forgotten and the mouth eases closed."""
        voice = self._voice(slot)
        voice.cut_through = max(voice.cut_through, voice.source, *voice.curves, 0)
        voice.curves.clear()

    @staticmethod
    def _curve(voice: _Voice, utterance_id: int) -> MouthCurve | None:
        """An utterance's curve, begun if need be; None if it was cut or is no utterance."""
        curve = voice.curves.get(utterance_id)
        if curve is None and utterance_id > voice.cut_through:
            curve = voice.curves[utterance_id] = MouthCurve()
            if len(voice.curves) > UTTERANCES_PER_SLOT_MAX:
                del voice.curves[min(voice.curves)]
        return curve

    # --- frames --------------------------------------------------------------------------------------------------

    def animate(self, rows: Sequence[AnimatorRow]) -> AnimatedBatch:
        """One frame per row, all in one batch.

        Args:
            rows: each slot at most once; the media time of a slot never goes back.
        """
        count = len(rows)
        slots = np.array([row.slot for row in rows], dtype=np.intp)
        times = np.array([row.media_time for row in rows], dtype=np.float64) / MEDIA_CLOCK_HZ
        states = np.array([row.state for row in rows], dtype=np.int8)
        levels = np.fmin(np.fmax([row.user_level for row in rows], 0.0), 1.0)  # NaN becomes 0
        elapsed = np.maximum(times - self._times[slots], 0.0)
        self._times[slots] = times
        mouth, speaking = self._follow_speech(rows, slots, times, elapsed)
        loudness, energy = self._hear(rows, slots, elapsed, mouth[:, _VOICE], speaking)
        pose = self._behaviours.step(slots, times, states, levels, speaking)
        layer_mouth(pose, mouth[:, : len(ARTICULATORS)], mouth[:, len(ARTICULATORS) :], loudness, energy)
        shown = limit_steps(pose, self._poses[slots], elapsed)
        self._poses[slots] = shown
        return AnimatedBatch(
            weights=np.ascontiguousarray(shown[:, :BLENDSHAPE_COUNT]),
            joints=quaternions(shown[:, BLENDSHAPE_COUNT:].reshape(count, JOINT_COUNT, 3)),
            sync=np.minimum(np.maximum(mouth[:, _VOICE] * 1.06, energy), 1.0),
        )

    def _follow_speech(
        self,
        rows: Sequence[AnimatorRow],
        slots: NDArray[np.intp],
        times: NDArray[np.float64],
        elapsed: NDArray[np.float64],
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Mouths float32[n, 11 + 2] and whether speech owns them float64[n]."""
        count = len(rows)
        grid = np.empty((2, count, CURVE_COLUMNS), dtype=np.float32)
        low, high = grid[0], grid[1]
        between = np.zeros((count, 1), dtype=np.float32)
        speaking = np.zeros(count)
        switched: list[int] = []
        for index, row in enumerate(rows):
            voice = self._voice(row.slot)
            source, curve = row.utterance_id, None
            if source and source <= voice.cut_through:
                source = 0
            elif source:
                speaking[index] = 1.0
                curve = voice.curves.get(source)
            if source != voice.source:
                self._switch(voice, source)
                switched.append(index)
            if curve is None:
                low[index] = high[index] = REST_ROW
                continue
            if curve.disturbed:
                self._correct(row.slot, voice, curve)
            between[index, 0] = curve.sample_into(row.utterance_ticks, low[index], high[index])
            voice.ticks = row.utterance_ticks
            if voice.beats_done < len(curve.beats):
                self._beat(row, voice, curve, float(times[index]))
        high -= low
        high *= between
        high += low
        mouth = np.concatenate(resolve(high), axis=1)
        former = self._mouths[slots]
        if switched:
            former[switched, 1] = former[switched, 0] - mouth[switched]
        apart = self._ease(former, np.minimum(elapsed, 1.0).astype(np.float32)[:, None])
        # A seal may part slowly, but it is never kept from closing.
        np.maximum(apart[:, len(ARTICULATORS) :], 0.0, out=apart[:, len(ARTICULATORS) :])
        mouth += apart
        former[:, 0] = mouth
        self._mouths[slots] = former
        return mouth, speaking

    @staticmethod
    def _ease(former: NDArray[np.float32], elapsed: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shrink what the mouth is apart from its curve, in place: critically damped, exact for any step."""
        apart, speed = former[:, 1], former[:, 2]
        fade = np.exp(elapsed * np.float32(-_EASE_HZ))
        swing = (speed + apart * np.float32(_EASE_HZ)) * elapsed
        speed -= swing * np.float32(_EASE_HZ)
        speed *= fade
        apart += swing
        apart *= fade
        return apart

    @staticmethod
    def _switch(voice: _Voice, source: int) -> None:
        voice.source = source
        voice.beats_done = 0
        for old in [key for key in voice.curves if source and key < source]:
            del voice.curves[old]

    def _correct(self, slot: int, voice: _Voice, curve: MouthCurve) -> None:
        """A late phoneme has bent the curve under the mouth: keep the mouth where it is and let it ease over."""
        curve.disturbed = False
        pair = np.empty((2, 1, CURVE_COLUMNS), dtype=np.float32)
        between = curve.sample_into(voice.ticks, pair[0, 0], pair[1, 0])
        there = np.concatenate(resolve(pair[0] + (pair[1] - pair[0]) * np.float32(between)), axis=1)[0]
        self._mouths[slot, 1] = self._mouths[slot, 0] - there

    def _beat(self, row: AnimatorRow, voice: _Voice, curve: MouthCurve, now_s: float) -> None:
        """Hand on the stressed syllables that are near; those that have passed are skipped."""
        while voice.beats_done < len(curve.beats):
            tick, stress = curve.beats[voice.beats_done]
            ahead = tick - row.utterance_ticks
            if ahead > _BEAT_AHEAD_TICKS:
                return
            voice.beats_done += 1
            if ahead >= 0:
                strength = _BEAT_STRENGTH[stress]
                self._behaviours.beat(row.slot, now_s, now_s + ahead / MEDIA_CLOCK_HZ, strength)

    def _hear(
        self,
        rows: Sequence[AnimatorRow],
        slots: NDArray[np.intp],
        elapsed: NDArray[np.float64],
        voiced: NDArray[np.float32],
        speaking: NDArray[np.float64],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Loudness (1 = as usual) and sound without phonemes in [0, 0.4], both float32[n]."""
        count = len(rows)
        if not any(row.log_mel for row in rows):
            self._loudness[slots, 0] = 1.0
            return np.ones(count, dtype=np.float32), np.zeros(count, dtype=np.float32)
        data = b"".join([row.log_mel if len(row.log_mel) == LOG_MEL_BANDS else _NO_LOG_MEL for row in rows])
        bands = np.frombuffer(data, dtype=np.uint8).reshape(count, LOG_MEL_BANDS)
        level = bands.mean(axis=1, dtype=np.float32) * np.float32(1.0 / 255.0)
        heard = (level > 0.0) & (speaking > 0.0)
        known = self._loudness[slots]
        gain, usual = known[:, 0], known[:, 1]
        audible = heard & (level > 0.3)
        usual += (level - usual) * audible * (1.0 - np.exp(elapsed * (-1.0 / _LOUDNESS_MEAN_S)))
        wanted = np.where(heard, np.minimum(np.maximum(1.0 + 2.0 * (level - usual), 0.8), 1.2), 1.0)
        gain += (wanted - gain) * (1.0 - np.exp(elapsed * (-1.0 / _LOUDNESS_EASE_S)))
        self._loudness[slots] = known
        unexplained = np.maximum(1.0 - voiced, 0.0) * heard
        energy = np.minimum(np.maximum((level - 0.38) * 2.4, 0.0), 0.4) * unexplained
        return gain, energy.astype(np.float32)

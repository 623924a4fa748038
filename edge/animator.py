"""Frames for all sessions of a phase in one batch.

The mouth follows the character's voice and phonemes: the student (`edge.student_faces`) moves those it serves, all of a
fidelity in one run, and the rules (`core.speech.coarticulation`, tier "rules") the others. The rest of the face follows
what the session is doing (`core.avatar.behaviour`). One `Animator` serves all sessions of a POP: each has a slot in
arrays that grow by doubling and are reused. Everything is a function of media time, so frames may be 20 ms or 80 ms
apart.

Whoever moves the mouth says where it ought to be, and one critically damped ease (`edge.easing`) takes what is shown
there: a cut, another utterance, another tier, fidelity or character never shows as a jump.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.avatar.behaviour import Behaviours
from core.avatar.blend import layer_mouth, limit_steps
from core.avatar.expression import CHANNELS, channel
from core.avatar.frame import AnimationFrame
from core.avatar.rotation import quaternions
from core.avatar.slot_tables import load_rows, save_rows
from core.errors import LocalProtocolError
from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT, LOG_MEL_BANDS, MEDIA_CLOCK_HZ
from core.speech.messages import PhonemeSpan
from core.speech.student_layout import MOUTH, OUTPUTS
from core.speech.visemes import ARTICULATORS
from edge.animator_row import AnimatorRow
from edge.easing import Easing
from edge.mouths import Mouths, MouthState, Plans
from edge.student import Student
from edge.student_faces import EASED, RULES, TIERS, Answers, StudentFaces

if TYPE_CHECKING:  # what numba needs is a matter of who wants it
    from edge.compiled import CompiledFaces

__all__ = ["RULES", "TIERS", "AnimatedBatch", "Animator", "AnimatorRow", "FaceMotion", "TierChange"]

_LOUDNESS_EASE_S: Final = 0.05
_LOUDNESS_MEAN_S: Final = 1.5
_LOUDNESS_USUAL: Final = 0.50
"""Mean log-mel byte / 255 of a normal voice, until the utterance shows its own."""
_ACTIVITY_S: Final = 10.0
"""How long it takes until a session that fell silent counts as less active than one that speaks now and then."""
_NO_LOG_MEL: Final = bytes(LOG_MEL_BANDS)
_COUNT: Final = len(ARTICULATORS)
_VOICE: Final = MOUTH.index("voice")
_JAW: Final = MOUTH.index("jaw")
_LOUD: Final = np.array([name in ("jaw", "lower_down", "upper_up") for name in MOUTH], dtype=np.float32)
"""What a louder voice opens further; the student has it in its answers."""
_BROW_INNER: Final = OUTPUTS.index("brow_inner")
_BROW_OUTER: Final = OUTPUTS.index("brow_outer")
_HEAD_PITCH: Final = OUTPUTS.index("head_pitch")
_BROWS_OUTER: Final = [channel("browOuterUpLeft"), channel("browOuterUpRight")]
_SEALS: Final = slice(_COUNT, len(MOUTH))
"""A seal may part slowly, but it is never kept from closing."""

TierChange = Callable[[NDArray[np.int8], NDArray[np.float64]], NDArray[np.int8]]
"""Tiers (indices of TIERS) and activity (0 to 1) of all sessions into the tiers they should have."""


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

    def frames(self) -> list[AnimationFrame]:
        """The frame of each row."""
        return [
            AnimationFrame(weights=weights, joints=joints, sync_score=sync)
            for weights, joints, sync in zip(self.weights, self.joints, self.sync.tolist(), strict=True)
        ]


class FaceMotion(msgspec.Struct, frozen=True, array_like=True):
    """How a face moves at one moment: its behaviour, its mouth, rows of the animator's tables, and what the student
    remembers where it is served by one."""

    behaviour: tuple[int, list[int], list[bytes]]
    mouth: MouthState
    rows: list[bytes]
    student: tuple[bytes, list[bytes]] | None


class Animator:
    """One per POP.

    Args:
        capacity: slots to begin with, at least 1; doubles when it is used up.
        student: moves the faces; None: the rules do.
        compiled: does the arithmetic; None: numpy does, which takes several times as long.
    """

    def __init__(
        self, *, capacity: int = 64, student: Student | None = None, compiled: CompiledFaces | None = None
    ) -> None:
        if capacity < 1:
            raise LocalProtocolError("an animator needs room for at least one face")
        self._free = list(range(capacity - 1, -1, -1))
        self._behaviours = Behaviours(capacity)
        self._compiled = compiled
        self._mouths = Mouths(capacity, self._behaviours, compiled)
        self._easing = Easing(capacity, EASED, prompt=_SEALS)
        self._faces = StudentFaces(student, capacity, compiled) if student is not None else None
        self._open = np.zeros(capacity, dtype=np.bool_)
        self._tiers = np.zeros(capacity, dtype=np.int8)
        self._times = np.zeros(capacity)
        self._activity = np.zeros(capacity)
        self._poses = np.zeros((capacity, CHANNELS), dtype=np.float32)
        self._loudness = np.zeros((capacity, 2), dtype=np.float32)

    @property
    def student(self) -> Student | None:
        """Who moves the faces above the tier "rules"."""
        return self._faces.student if self._faces is not None else None

    @property
    def compiled(self) -> bool:
        """Machine code does the arithmetic."""
        return self._compiled is not None

    @property
    def unknown_phonemes(self) -> int:
        """Letters in phoneme symbols that no table knows (they look neutral)."""
        return self._mouths.unknown_phonemes

    @property
    def dropped_phonemes(self) -> int:
        """Spans refused because of impossible times, or of utterances that were cut."""
        return self._mouths.dropped_phonemes

    # --- sessions ------------------------------------------------------------------------------------------------

    def open(self, *, seed: int, character: str = "neutral") -> int:
        """A slot for a session. Its first frame is alive at once.

        Args:
            seed: any integer; the same seed and media times give the same face.
            character: whose style the student takes on; one it does not know is neutral.
        """
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._open[slot] = True
        self._behaviours.reset(slot, seed)
        self._mouths.open(slot)
        self._easing.reset(slot)
        self._times[slot] = -np.inf
        self._activity[slot] = 0.0
        self._poses[slot] = 0.0
        self._loudness[slot] = 1.0, _LOUDNESS_USUAL
        self._tiers[slot] = RULES
        if self._faces is not None:
            self._faces.open(slot, character)
            self._tiers[slot] = 0
            self._mouths.go_by_rules(slot, False)
        return slot

    def close(self, slot: int) -> None:
        """Free a slot.

        Raises: LocalProtocolError: the slot is not open (also for all methods below).
        """
        self._mouths.close(slot)
        if self._faces is not None:
            self._faces.close(slot)
        self._open[slot] = False
        self._free.append(slot)

    def _grow(self) -> None:
        old = len(self._open)
        self._free = list(range(2 * old - 1, old - 1, -1))
        for part in (self._behaviours, self._mouths, self._easing, self._faces):
            if part is not None:
                part.grow(2 * old)
        for name in ("_open", "_tiers", "_times", "_activity", "_poses", "_loudness"):
            table = getattr(self, name)
            setattr(self, name, np.concatenate([table, np.zeros_like(table)]))

    def save(self, slot: int) -> FaceMotion:
        """A face as it moves now, for another process that goes on with it."""
        self._mouths.check(slot)
        return FaceMotion(
            behaviour=self._behaviours.save(slot),
            mouth=self._mouths.save(slot),
            rows=save_rows(self._tables(), slot),
            student=self._faces.save(slot) if self._faces is not None and self._tiers[slot] != RULES else None,
        )

    def load(self, slot: int, motion: FaceMotion) -> None:
        """Go on with a face: nothing of it jumps, whoever moves it here. Raises: RemoteProtocolError: `bad-state`."""
        self._mouths.check(slot)
        self._behaviours.load(slot, motion.behaviour)
        self._mouths.load(slot, motion.mouth)
        load_rows(self._tables(), slot, motion.rows)
        if self._faces is None:
            return
        if motion.student is not None:
            self._faces.load(slot, motion.student)
        else:
            self._faces.swap(slot)

    def _tables(self) -> tuple[NDArray[Any], ...]:
        return self._times, self._activity, self._poses, self._loudness, self._easing.table()

    # --- who moves them ------------------------------------------------------------------------------------------

    def set_tier(self, slot: int, tier: str) -> None:
        """Who moves a face from its next frame on, without a jump. Without a student it is always "rules".

        Raises: LocalProtocolError: it is none of TIERS.
        """
        self._mouths.check(slot)
        if tier not in TIERS:
            raise LocalProtocolError(f"there is no tier {tier!r}, only {', '.join(TIERS)}")
        self._change_tier(slot, TIERS.index(tier))

    def _change_tier(self, slot: int, tier: int) -> None:
        if self._faces is not None:
            self._tiers[slot] = tier
            self._faces.set_tier(slot, tier)
            self._mouths.go_by_rules(slot, tier == RULES)

    def tier(self, slot: int) -> str:
        """Who moves a face."""
        self._mouths.check(slot)
        return TIERS[int(self._tiers[slot])]

    def tier_counts(self) -> dict[str, int]:
        """Sessions per tier, every tier named."""
        counts = np.bincount(self._tiers[self._open], minlength=len(TIERS)).tolist()
        return dict(zip(TIERS, counts, strict=True))

    def set_character(self, slot: int, character: str) -> None:
        """Become another character within a syllable; one without a style is neutral."""
        self._mouths.check(slot)
        if self._faces is not None:
            self._faces.set_character(slot, character)

    def retier(self, change: TierChange) -> None:
        """Let a policy move all sessions between tiers.

        Args:
            change: see `core.session.fidelity.FidelityPolicy`.
        """
        slots = np.flatnonzero(self._open)
        wanted = change(self._tiers[slots], self._activity[slots])
        for index in np.flatnonzero(wanted != self._tiers[slots]).tolist():
            self._change_tier(int(slots[index]), int(wanted[index]))

    # --- what happens to a session -------------------------------------------------------------------------------

    def set_mood(self, slot: int, valence: float, arousal: float) -> None:
        """How the character feels; both in [-1, 1], clipped. The face eases there."""
        self._mouths.check(slot)
        self._behaviours.set_mood(slot, valence, arousal)
        if self._faces is not None:
            self._faces.set_mood(slot, valence, arousal)

    def speech_start(self, slot: int, utterance_id: int) -> None:
        """An utterance is announced. A silent face breathes in and looks at the viewer."""
        self._mouths.speech_start(slot, utterance_id)

    def speech_phonemes(self, slot: int, utterance_id: int, spans: Sequence[PhonemeSpan]) -> None:
        """Phonemes of an utterance, in utterance ticks, any amount ahead of its sound and in any order.

        Those of an utterance that was cut, or with impossible times, are dropped and counted.
        """
        self._mouths.speech_phonemes(slot, utterance_id, spans)

    def speech_cut(self, slot: int) -> None:
        """The voice was cut: everything announced so far is forgotten and the mouth eases closed."""
        self._mouths.speech_cut(slot)

    # --- frames --------------------------------------------------------------------------------------------------

    def animate(self, rows: Sequence[AnimatorRow]) -> AnimatedBatch:
        """One frame per row, all in one batch.

        Args:
            rows: each slot at most once; the media time of a slot never goes back.
        """
        count = len(rows)
        slots = np.array([row.slot for row in rows], dtype=np.intp)
        times = np.array([row.media_time for row in rows], dtype=np.float64) / MEDIA_CLOCK_HZ
        # As bytes: numpy takes enumerations in at a tenth of the pace.
        states = np.frombuffer(bytes([row.state for row in rows]), dtype=np.int8)
        levels = np.fmin(np.fmax([row.user_level for row in rows], 0.0), 1.0)  # NaN becomes 0
        sources = np.array([row.utterance_id for row in rows], dtype=np.int64)
        ticks = np.array([row.utterance_ticks for row in rows], dtype=np.int64)
        plans = self._mouths.follow(slots, times, sources, ticks)
        elapsed = self._notice(slots, times, plans.speaking)
        answers = self._faces.answer(rows, slots, plans) if self._faces is not None else None
        wanted, sync = self._want(rows, slots, elapsed, plans, answers)
        switched = plans.switched if answers is None else plans.switched | answers.swapped
        if answers is not None:
            for index in answers.blinks:
                self._behaviours.invite_blink(int(slots[index]), float(times[index]))
        lived = self._behaviours.live(slots, times, states, levels)
        if self._compiled is not None:
            self._easing.correct(slots, plans.corrected)
            weights, joints = self._compiled.show(
                self._behaviours, self._easing.table(), self._poses, slots,
                times, elapsed, lived, levels, plans.speaking, switched, wanted,
            )  # fmt: skip
            return AnimatedBatch(weights=weights, joints=joints, sync=sync)
        shown = self._easing.ease(slots, wanted, switched, plans.corrected, elapsed)
        pose = self._behaviours.pose(slots, times, lived, levels, plans.speaking)
        layer_mouth(pose, shown[:, :_COUNT], shown[:, _SEALS])
        pose[:, channel("browInnerUp")] += shown[:, _BROW_INNER]
        pose[:, _BROWS_OUTER] += shown[:, _BROW_OUTER, None]
        pose[:, channel("head.pitch")] += shown[:, _HEAD_PITCH]
        limited = limit_steps(pose, self._poses[slots], elapsed)
        self._poses[slots] = limited
        return AnimatedBatch(
            weights=np.ascontiguousarray(limited[:, :BLENDSHAPE_COUNT]),
            joints=quaternions(limited[:, BLENDSHAPE_COUNT:].reshape(count, JOINT_COUNT, 3)),
            sync=sync,
        )

    def _notice(
        self, slots: NDArray[np.intp], times: NDArray[np.float64], speaking: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How much each session speaks: whoever does so least gives way first when there is too much to do.

        Returns: float64[n], seconds since their frames before.
        """
        if self._compiled is not None:
            return self._compiled.notice(slots, times, speaking, self._times, self._activity, 1.0 / _ACTIVITY_S)
        elapsed = np.maximum(times - self._times[slots], 0.0)
        self._times[slots] = times
        activity = self._activity[slots]
        activity += (speaking - activity) * (1.0 - np.exp(elapsed * (-1.0 / _ACTIVITY_S)))
        self._activity[slots] = activity
        return elapsed

    def _want(
        self,
        rows: Sequence[AnimatorRow],
        slots: NDArray[np.intp],
        elapsed: NDArray[np.float64],
        plans: Plans,
        answers: Answers | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where mouths, brows and heads ought to be, float32[n, EASED], and lip-sync confidence float32[n]."""
        if answers is not None and len(answers.served) == len(rows):  # the usual case
            return answers.positions, answers.sync
        wanted = np.zeros((len(rows), EASED), dtype=np.float32)
        mouth = wanted[:, : len(MOUTH)]
        mouth[:] = plans.wishes[:, : len(MOUTH)]
        loudness, energy = self._hear(rows, slots, elapsed, mouth[:, _VOICE], plans.speaking)
        mouth *= 1.0 + (loudness - 1.0)[:, None] * _LOUD
        mouth[:, _JAW] += energy
        sync = np.minimum(np.maximum(mouth[:, _VOICE] * np.float32(1.06), energy), 1.0)
        if answers is not None:
            wanted[answers.served] = answers.positions
            sync[answers.served] = answers.sync
        return wanted, sync

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

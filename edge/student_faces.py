"""Faces that the student moves: who is served by it, at which fidelity, what it is told, and what it answers.

A session is heard by the student only while it speaks, and for `_SETTLE_FRAMES` of silence afterwards: then the
student's memory holds no speech any more, and it may rest at no cost until the next utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.slot_tables import load_rows, save_rows
from core.limits import LOG_MEL_BANDS, STUDENT_CATCH_UP_FRAMES_MAX
from core.speech.student_layout import FIDELITIES, INPUTS, MOOD, MOUTH, OUTPUTS, PLAN, STATE_ROWS
from edge.animator_row import AnimatorRow
from edge.mouths import Plans
from edge.student import Student

if TYPE_CHECKING:  # what numba needs is a matter of who wants it
    from edge.compiled import CompiledFaces

__all__ = ["EASED", "RULES", "TIERS", "Answers", "StudentFaces"]

TIERS: Final[tuple[str, ...]] = (*FIDELITIES, "rules")
"""What may serve a face, dearest first."""
RULES: Final = len(FIDELITIES)
"""Index of the tier without a student."""

EASED: Final = OUTPUTS.index("blink")
"""The first outputs are positions (mouth, brows, head), which nothing may make jump; the others are opinions."""
_BLINK: Final = OUTPUTS.index("blink")
_SYNC: Final = OUTPUTS.index("sync")
_SETTLE_FRAMES: Final = STATE_ROWS
"""The student sees no further back, but for the slow mean, which silence does not move."""
_SILENCE: Final = bytes(LOG_MEL_BANDS)
_PLAN_FROM: Final = LOG_MEL_BANDS
_MOOD_FROM: Final = LOG_MEL_BANDS + len(PLAN)
_BLINK_FROM: Final = 0.5
_BLINK_UNTIL: Final = 0.25
_BLINK_EDGES: Final = np.array([_BLINK_FROM, _BLINK_UNTIL], dtype=np.float32)


@dataclass(slots=True)
class Answers:
    """What the student says, in the order of the rows.

    Attributes:
        served: intp[k], rows that the student moves.
        positions: float32[k, EASED]; the mouth in [0, 1].
        sync: float32[k] in [0, 1].
        blinks: rows in which a pause makes a blink welcome.
        swapped: bool[n]: somebody else moves this face than in its frame before.
    """

    served: NDArray[np.intp]
    positions: NDArray[np.float32]
    sync: NDArray[np.float32]
    blinks: list[int]
    swapped: NDArray[np.bool_]


class StudentFaces:
    """One slot per session.

    Args:
        student: serves them; its slots are its own.
        compiled: does the arithmetic; None: numpy does.
    """

    def __init__(self, student: Student, capacity: int, compiled: CompiledFaces | None = None) -> None:
        self._student = student
        self._compiled = compiled
        self._own = np.full(capacity, -1, dtype=np.intp)
        """The student's slot of each session."""
        self._tiers = np.zeros(capacity, dtype=np.int8)
        self._swapped = np.zeros(capacity, dtype=np.bool_)
        self._unsettled = np.zeros(capacity, dtype=np.int16)
        """Frames of silence that a session still has to hear."""
        self._moods = np.zeros((capacity, len(MOOD)), dtype=np.float32)
        self._answers = np.zeros((capacity, len(OUTPUTS)), dtype=np.float32)
        self._welcomed = np.zeros(capacity, dtype=np.bool_)
        """The pause that makes a blink welcome has been told."""
        self._inputs = np.zeros((capacity, INPUTS), dtype=np.float32)

    def grow(self, capacity: int) -> None:
        """Make room; sessions keep their slots."""
        extra = capacity - len(self._own)
        for name in ("_own", "_tiers", "_swapped", "_unsettled", "_moods", "_answers", "_welcomed", "_inputs"):
            table = getattr(self, name)
            setattr(self, name, np.concatenate([table, np.zeros((extra, *table.shape[1:]), dtype=table.dtype)]))

    @property
    def student(self) -> Student:
        """Who serves them."""
        return self._student

    # --- sessions ------------------------------------------------------------------------------------------------

    def open(self, slot: int, character: str) -> None:
        """A session that has heard nothing, at the highest fidelity; a character without a style is neutral."""
        self._own[slot] = self._student.open(character=self._known(character))
        for table in (self._tiers, self._swapped, self._unsettled, self._moods, self._answers, self._welcomed):
            table[slot] = 0

    def close(self, slot: int) -> None:
        """Free a slot."""
        self._student.close(int(self._own[slot]))

    def _known(self, character: str) -> str:
        return character if character in self._student.characters else "neutral"

    def save(self, slot: int) -> tuple[bytes, list[bytes]]:
        """A face, for another process that goes on with it: the student's memory, and rows."""
        return self._student.memory(int(self._own[slot])), save_rows(self._kept(), slot)

    def load(self, slot: int, state: tuple[bytes, list[bytes]]) -> None:
        """Go on with a face. Raises: RemoteProtocolError: `bad-state`."""
        memory, rows = state
        load_rows(self._kept(), slot, rows)
        self._student.remember(int(self._own[slot]), memory)

    def _kept(self) -> tuple[NDArray[Any], ...]:
        return self._unsettled, self._moods, self._answers, self._welcomed

    def set_character(self, slot: int, character: str) -> None:
        """Become another character within a syllable."""
        self._student.set_character(int(self._own[slot]), self._known(character))

    def set_mood(self, slot: int, valence: float, arousal: float) -> None:
        """Both clipped to [-1, 1]; NaN is neutral."""
        self._moods[slot] = [min(max(value, -1.0), 1.0) if value == value else 0.0 for value in (valence, arousal)]

    def set_tier(self, slot: int, tier: int) -> None:
        """Who serves a session from its next frame on: an index of TIERS."""
        if tier == self._tiers[slot]:
            return
        self._tiers[slot] = tier
        self._swapped[slot] = True
        if tier < RULES:
            self._student.set_fidelity(int(self._own[slot]), FIDELITIES[tier])

    def swap(self, slot: int) -> None:
        """Somebody else has moved this face so far."""
        self._swapped[slot] = True

    # --- frames --------------------------------------------------------------------------------------------------

    def answer(self, rows: Sequence[AnimatorRow], slots: NDArray[np.intp], plans: Plans) -> Answers:
        """One frame of those that the student serves, in one run.

        Args:
            slots: intp[n], of the rows. plans: of the rows.
        """
        served, settling, swapped = self._serve(slots, plans)
        all_served = len(served) == len(rows)
        ours = slots if all_served else slots[served]
        self._unsettled[ours] = _SETTLE_FRAMES
        told = [row.heard for row in rows] if all_served else [rows[index].heard for index in served.tolist()]
        if not settling and set(map(len, told)) == {LOG_MEL_BANDS}:
            self._run(served, ours, b"".join(told), plans)  # the usual case
        else:
            by_student = self._tiers[slots] < RULES
            left = by_student & (plans.speaking <= 0.0) & (self._unsettled[slots] > 0)
            self._listen(served, told, np.flatnonzero(left), slots, plans)
        if self._compiled is not None:
            positions, sync, blinks, invited = self._compiled.heed(ours, self._answers, self._welcomed, _BLINK_EDGES)
            return Answers(served, positions, sync, served[blinks].tolist() if invited else [], swapped)
        answers = self._answers[ours]
        np.minimum(np.maximum(answers[:, : len(MOUTH)], 0.0), 1.0, out=answers[:, : len(MOUTH)])
        sync = np.minimum(np.maximum(answers[:, _SYNC], 0.0), 1.0)
        return Answers(served, answers[:, :EASED], sync, self._blinks(served, ours, answers[:, _BLINK]), swapped)

    def _serve(self, slots: NDArray[np.intp], plans: Plans) -> tuple[NDArray[np.intp], int, NDArray[np.bool_]]:
        """Rows that speak and are served, how many others still settle, rows whose mover is another."""
        if self._compiled is not None:
            return self._compiled.serve(slots, plans.speaking, self._tiers, RULES, self._swapped, self._unsettled)
        by_student = self._tiers[slots] < RULES
        speaking = by_student & (plans.speaking > 0.0)
        settling = by_student & ~speaking & (self._unsettled[slots] > 0)
        swapped = self._swapped[slots]
        self._swapped[slots] = False
        return np.flatnonzero(speaking), int(settling.sum()), swapped

    def _listen(
        self,
        served: NDArray[np.intp],
        told: list[bytes],
        settling: NDArray[np.intp],
        slots: NDArray[np.intp],
        plans: Plans,
    ) -> None:
        """Tell the student what is new: one frame of most, more of who begins to speak or sends longer packets.

        Args:
            served: rows that speak. told: their log-mel; anything but whole frames counts as none.
            settling: rows that hear silence.
        """
        heard = {row: log_mel for row, log_mel in zip(served.tolist(), told, strict=True) if _whole(log_mel)}
        heard.update(dict.fromkeys(settling.tolist(), _SILENCE))
        self._unsettled[slots[settling]] -= 1
        longest = min(max(map(len, heard.values()), default=0) // LOG_MEL_BANDS, STUDENT_CATCH_UP_FRAMES_MAX)
        for back in range(longest, 0, -1):
            now = {
                row: log_mel[len(log_mel) - back * LOG_MEL_BANDS :][:LOG_MEL_BANDS]
                for row, log_mel in heard.items()
                if len(log_mel) >= back * LOG_MEL_BANDS
            }
            which = np.fromiter(now, dtype=np.intp, count=len(now))
            self._run(which, slots[which], b"".join(now.values()), plans)

    def _run(self, which: NDArray[np.intp], ours: NDArray[np.intp], heard: bytes, plans: Plans) -> None:
        """One frame of some rows. Args: which, ours: intp[k], rows and their slots. heard: k frames of log-mel."""
        if not len(which):
            return
        inputs = self._inputs[: len(which)]
        bands = np.frombuffer(heard, dtype=np.uint8).reshape(len(which), LOG_MEL_BANDS)
        if self._compiled is not None:
            self._compiled.tell(which, ours, bands, plans.wishes, self._moods, inputs)
        else:
            np.multiply(bands, np.float32(1.0 / 255.0), out=inputs[:, :LOG_MEL_BANDS])
            inputs[:, _PLAN_FROM:_MOOD_FROM] = plans.wishes[which]
            inputs[:, _MOOD_FROM:] = self._moods[ours]
        self._answers[ours] = self._student.run(self._own[ours], inputs)

    def _blinks(self, served: NDArray[np.intp], ours: NDArray[np.intp], welcome: NDArray[np.float32]) -> list[int]:
        """Rows whose pause has just begun."""
        told = self._welcomed[ours]
        new = (welcome > _BLINK_FROM) & ~told
        self._welcomed[ours] = np.where(told, welcome > _BLINK_UNTIL, new)
        return served[new].tolist() if new.any() else []


def _whole(log_mel: bytes) -> bool:
    return len(log_mel) > 0 and len(log_mel) % LOG_MEL_BANDS == 0

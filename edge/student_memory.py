"""What a student remembers of many sessions.

A frame reads two past inputs of each block and adds one; the others only grow older. So a session's past lies in rings,
turned by its clock, and of thirteen rows nine are read and five written: moving them all would cost as much as the
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from core.limits import LOG_MEL_BANDS
from core.speech.student_layout import DILATIONS, KEPT, RECALLED, STATE_ROWS, TRUNK_WIDTH, state_row

if TYPE_CHECKING:  # what numba needs is a matter of who wants it
    from edge.compiled import CompiledFaces

__all__ = ["KEEP", "RECALL", "StudentMemory"]

RECALL: Final[tuple[str, ...]] = ("ear_mean", "ear_heard", *RECALLED)
KEEP: Final[tuple[str, ...]] = ("ear_after", "heard", *KEPT)
"""A graph's inputs and outputs that are memory."""

_CLOCKS: Final = 2 * max(DILATIONS)
"""After so many frames every ring is in order again."""
_BLOCKS: Final = range(len(DILATIONS))
_RECALLED: Final = np.array(
    [[state_row(block, row, clock) for block in _BLOCKS for row in (0, DILATIONS[block])] for clock in range(_CLOCKS)]
)
_OLDEST: Final = np.array([[state_row(block, 0, clock) for block in _BLOCKS] for clock in range(_CLOCKS)])
_IN_ORDER: Final = np.array(
    [
        [0, *(state_row(block, row, clock) for block in _BLOCKS for row in range(2 * DILATIONS[block]))]
        for clock in range(_CLOCKS)
    ]
)
"""Rows of a state by clock: those that a graph is given, those that give way, all of them, oldest first."""


class StudentMemory:
    """Slots 0 … capacity - 1, all silent.

    Args:
        compiled: moves the rows; None: numpy does.
    """

    def __init__(self, capacity: int, compiled: CompiledFaces | None) -> None:
        self._compiled = compiled
        self._states = np.zeros((capacity, STATE_ROWS, TRUNK_WIDTH), dtype=np.float32)
        self._clocks = np.zeros(capacity, dtype=np.int8)

    def grow(self, capacity: int) -> None:
        """Make room; sessions keep their slots."""
        extra = capacity - len(self._clocks)
        self._states = np.concatenate([self._states, np.zeros((extra, *self._states.shape[1:]), dtype=np.float32)])
        self._clocks = np.concatenate([self._clocks, np.zeros(extra, dtype=np.int8)])

    def forget(self, slots: NDArray[np.intp] | int) -> None:
        """Sessions that have heard nothing."""
        self._states[slots] = 0.0
        self._clocks[slots] = 0

    def state(self, slot: int) -> NDArray[np.float32]:
        """A copy of what is known of one session, float32[STATE_ROWS, TRUNK_WIDTH], see core.speech.student_layout."""
        state: NDArray[np.float32] = self._states[slot, _IN_ORDER[self._clocks[slot]]]
        return state

    def set_state(self, slot: int, state: NDArray[np.floating[Any]]) -> None:
        """Take the place of what is known of one session."""
        self._states[slot] = state
        self._clocks[slot] = 0

    def largest(self, slots: NDArray[np.intp]) -> NDArray[np.float32]:
        """The largest number of each session's state, float32[n]; NaN where there is one."""
        largest: NDArray[np.float32] = np.abs(self._states[slots]).max(axis=(1, 2))
        return largest

    def recall(self, slots: NDArray[np.intp]) -> dict[str, NDArray[np.float32]]:
        """What a graph is given: its inputs named RECALL."""
        if self._compiled is not None:
            past, ears, heard = self._compiled.recall(slots, self._states, self._clocks, _RECALLED)
        else:
            past = self._states[slots, _RECALLED[self._clocks[slots]].T]
            ears = self._states[slots, 0, :LOG_MEL_BANDS]
            heard = self._states[slots, 0, LOG_MEL_BANDS : LOG_MEL_BANDS + 1]
        return dict(zip(RECALL, (ears, heard, *past), strict=True))

    def keep(self, slots: NDArray[np.intp], given: Sequence[NDArray[np.float32]]) -> None:
        """What a graph has given back. Args: given: its outputs named KEEP."""
        ears, heard, *newest = given
        if self._compiled is not None:
            self._compiled.keep(slots, self._states, self._clocks, _OLDEST, ears, heard, newest)
            return
        clocks = self._clocks[slots]
        self._states[slots, 0, :LOG_MEL_BANDS] = ears
        self._states[slots, 0, LOG_MEL_BANDS] = heard[:, 0]
        for block, rows in enumerate(newest):
            self._states[slots, _OLDEST[clocks, block]] = rows
        self._clocks[slots] = (clocks + 1) % _CLOCKS

"""One critically damped ease for everything that hands a mouth over: what is shown glides to what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["EASE_HZ", "Easing"]

EASE_HZ: Final = 45.0
"""How fast the mouth leaves what it was doing when its speech starts, is cut or turns out otherwise, or when somebody
else moves it from now on: critically damped, a quarter of the way left after 60 ms (rad/s)."""


class Easing:
    """Positions of many sessions in slots 0 … capacity - 1.

    Args:
        width: numbers per session.
        prompt: columns that may go back slowly, but are never kept from rising.
    """

    def __init__(self, capacity: int, width: int, prompt: slice) -> None:
        self._prompt = prompt
        self._held = np.zeros((capacity, 3, width), dtype=np.float32)
        """What was shown last, how far that still is from what is wanted, and how fast it gets there."""

    def grow(self, capacity: int) -> None:
        """Make room; sessions keep their slots."""
        extra = capacity - len(self._held)
        self._held = np.concatenate([self._held, np.zeros((extra, *self._held.shape[1:]), dtype=np.float32)])

    def reset(self, slot: int) -> None:
        """A session that rests at 0."""
        self._held[slot] = 0.0

    def table(self) -> NDArray[np.float32]:
        """Everything it knows of its slots, float32[capacity, 3, width]."""
        return self._held

    def correct(self, slots: NDArray[np.intp], corrected: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        """What was wanted turned out to be wrong. Args: see `ease`."""
        for row, moved in corrected:
            self._held[slots[row], 1, : len(moved)] += moved

    def ease(
        self,
        slots: NDArray[np.intp],
        wanted: NDArray[np.float32],
        switched: NDArray[np.bool_],
        corrected: Sequence[tuple[int, NDArray[np.float32]]],
        elapsed: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """What to show.

        Args:
            slots: intp[n].
            wanted: float32[n, width].
            switched: bool[n]: what is wanted has nothing to do with what was wanted before.
            corrected: (row, float32[at most width]): by how much the first numbers of what was wanted turned out to be
                wrong, old less new.
            elapsed: float64[n], seconds since the last call.
        Returns: float32[n, width].
        """
        self.correct(slots, corrected)
        held = self._held[slots]
        apart, speed = held[:, 1], held[:, 2]
        if switched.any():
            apart[switched] = held[switched, 0] - wanted[switched]
        # Exact for any step.
        time_s = np.minimum(elapsed, 1.0).astype(np.float32)[:, None]
        fade = np.exp(time_s * np.float32(-EASE_HZ))
        swing = (speed + apart * np.float32(EASE_HZ)) * time_s
        speed -= swing * np.float32(EASE_HZ)
        speed *= fade
        apart += swing
        apart *= fade
        np.maximum(apart[:, self._prompt], 0.0, out=apart[:, self._prompt])
        shown = held[:, 0]
        np.add(wanted, apart, out=shown)
        self._held[slots] = held
        return shown

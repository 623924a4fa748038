"""Frames for all sessions of a phase in one batch.

The mouth follows the character's phonemes (tier "rules"); the rest of the face follows what the session is doing. One
`Animator` serves all sessions of a POP: each has a slot in arrays that grow by doubling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX, JOINT_INDEX
from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT, MEDIA_CLOCK_HZ
from core.session.state import FaceState
from core.speech.messages import PhonemeSpan

__all__ = ["AnimatedBatch", "Animator", "AnimatorRow"]

_JAW = BLENDSHAPE_INDEX["jawOpen"]
_BROW = BLENDSHAPE_INDEX["browInnerUp"]
_HEAD = JOINT_INDEX["head"]


@dataclass(slots=True)
class AnimatorRow:
    """What one session's frame needs.

    Attributes:
        slot: from `Animator.open`.
        media_time: unwrapped 48 kHz ticks of this frame.
        state: what the face is doing.
        utterance_id: the utterance whose sound this frame accompanies, 0 = silence.
        utterance_ticks: position of this frame within that utterance (may be negative just before it).
        log_mel: 40 bytes of `core.speech.features`, or b"".
        user_level: the user's speech energy, 0..1.
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


class Animator:
    """One per POP."""

    def __init__(self, *, capacity: int = 64) -> None:
        self._free = list(range(capacity - 1, -1, -1))
        self._capacity = capacity
        self._spans: dict[int, dict[int, list[PhonemeSpan]]] = {}
        self._seed: dict[int, int] = {}

    def open(self, *, seed: int) -> int:
        """A slot for one session."""
        if not self._free:
            self._free = list(range(2 * self._capacity - 1, self._capacity - 1, -1))
            self._capacity *= 2
        slot = self._free.pop()
        self._spans[slot] = {}
        self._seed[slot] = seed
        return slot

    def close(self, slot: int) -> None:
        """Free a slot."""
        del self._spans[slot], self._seed[slot]
        self._free.append(slot)

    def speech_start(self, slot: int, utterance_id: int) -> None:
        """An utterance begins."""
        self._spans[slot][utterance_id] = []

    def speech_phonemes(self, slot: int, utterance_id: int, spans: Sequence[PhonemeSpan]) -> None:
        """Phonemes of an utterance, any amount ahead."""
        self._spans[slot].setdefault(utterance_id, []).extend(spans)

    def speech_cut(self, slot: int) -> None:
        """The voice was cut."""
        self._spans[slot].clear()

    def set_mood(self, slot: int, valence: float, arousal: float) -> None:
        """How the character feels; both in [-1, 1]."""

    def animate(self, rows: Sequence[AnimatorRow]) -> AnimatedBatch:
        """One frame per row."""
        count = len(rows)
        weights = np.zeros((count, BLENDSHAPE_COUNT), dtype=np.float32)
        joints = np.zeros((count, JOINT_COUNT, 4), dtype=np.float32)
        sync = np.zeros(count, dtype=np.float32)
        joints[:, :, 3] = 1.0
        for index, row in enumerate(rows):
            t = row.media_time / MEDIA_CLOCK_HZ + self._seed[row.slot] % 97
            joints[index, _HEAD, 1] = 0.02 * np.sin(0.7 * t)
            joints[index, _HEAD, 2] = 0.02 * np.cos(0.7 * t)
            weights[index, _BROW] = 0.4 if row.state is FaceState.THINKING else 0.0
            for span in self._spans[row.slot].get(row.utterance_id, ()):
                if span.start <= row.utterance_ticks < span.end:
                    weights[index, _JAW] = 0.0 if span.symbol in ("p", "b", "m", "", "_") else 0.35
                    sync[index] = 1.0
        joints /= np.linalg.norm(joints, axis=2, keepdims=True)
        return AnimatedBatch(weights=weights, joints=joints, sync=sync)

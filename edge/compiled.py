"""The compiled arithmetic of a phase (`edge.kernels`) over the tables that the animator's parts keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.behaviour import LID_DOWN, LID_UP, LOOK_GAINS, LOOK_SOURCES, LOOKS, RATES, Behaviours
from core.avatar.blend import JAW_LEFT, MOUTH_SHOWN, PUFF_GAIN, SEALED, STEP_MAX
from core.avatar.expression import BASE, CHANNELS, EXPRESSION, GESTURES, PARAMETERS, YIELDS_TO_SPEECH, channel
from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT, LOG_MEL_BANDS, MEDIA_CLOCK_HZ, PTIME_MS
from core.speech.coarticulation import CURVE, OF_GROUP, PER_S, SoundTable
from core.speech.student_layout import MOUTH, OUTPUTS
from core.speech.visemes import ARTICULATORS, GROUP_OF
from edge import kernels
from edge.easing import EASE_HZ

__all__ = ["CompiledFaces"]

_NUMBERS: Final = np.array([EASE_HZ, LID_DOWN, LID_UP, PUFF_GAIN, *JAW_LEFT, 1_000.0 / PTIME_MS], dtype=np.float32)
_CHANNELS: Final = np.zeros((3, CHANNELS), dtype=np.float32)
_CHANNELS[0], _CHANNELS[1, :BLENDSHAPE_COUNT], _CHANNELS[2] = BASE, YIELDS_TO_SPEECH, STEP_MAX
_LOOKS: Final = np.array([*LOOKS, *LOOK_SOURCES.tolist()], dtype=np.int64)
_COLUMNS: Final = np.array(
    [
        *(PARAMETERS.index(name) for name in ("mouth", "attention", "listen", "speak")),
        len(PARAMETERS) + GESTURES.index("blink"),
        *(len(ARTICULATORS), len(MOUTH)),
        *(channel(name) for name in ("jawOpen", "mouthClose", "cheekPuff")),
        ARTICULATORS.index("puff"),
        *map(channel, (
            "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "head.pitch", "leftEye.yaw", "rightEye.yaw",
            "leftEye.pitch", "rightEye.pitch", "eyeBlinkLeft", "eyeBlinkRight", "eyeWideLeft", "eyeWideRight",
        )),
    ],
    dtype=np.int64,
)  # fmt: skip
_GROUPS: Final = GROUP_OF.astype(np.int64)

_ANSWERED: Final = np.array([len(MOUTH), OUTPUTS.index("blink"), OUTPUTS.index("sync")], dtype=np.int64)
"""The student's outputs: how many are the mouth's; positions end where the blink's is; the sync's."""


class CompiledFaces:
    """See the module docstring. Each method is what `edge.kernels` says of its function."""

    def ask(
        self, sounds: SoundTable, slots: NDArray[np.intp], ticks: NDArray[np.int64], asked: NDArray[np.float32]
    ) -> None:
        """What sounds ask of mouths.

        Args:
            ticks: int64[n], where in their utterances.
            asked: float32[n, len(PLAN)], written.
        """
        kernels.ask(slots, ticks / MEDIA_CLOCK_HZ, *sounds.tables(), PER_S, CURVE, OF_GROUP, _GROUPS, asked)

    def show(
        self,
        behaviours: Behaviours,
        held: NDArray[np.float32],
        poses: NDArray[np.float32],
        slots: NDArray[np.intp],
        times: NDArray[np.float64],
        elapsed: NDArray[np.float64],
        lived: NDArray[np.float64],
        levels: NDArray[np.float64],
        speaking: NDArray[np.float64],
        switched: NDArray[np.bool_],
        wanted: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights float32[n, 52] and joints float32[n, 7, 4]."""
        weights = np.empty((len(slots), BLENDSHAPE_COUNT), dtype=np.float32)
        joints = np.empty((len(slots), JOINT_COUNT, 4), dtype=np.float32)
        kernels.show(
            slots, times, elapsed, lived, levels, speaking, switched, wanted,
            held, *behaviours.moving(), poses,
            RATES, EXPRESSION, _CHANNELS, MOUTH_SHOWN, SEALED, _NUMBERS, _LOOKS, LOOK_GAINS, _COLUMNS,
            weights, joints,
        )  # fmt: skip
        return weights, joints

    def recall(
        self, slots: NDArray[np.intp], states: NDArray[np.float32], clocks: NDArray[np.int8], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """What a student is given of what it remembers: float32[recalled, n, width], [n, bands] and [n, 1]."""
        past = np.empty((places.shape[1], len(slots), states.shape[2]), dtype=np.float32)
        ears = np.empty((len(slots), LOG_MEL_BANDS), dtype=np.float32)
        heard = np.empty((len(slots), 1), dtype=np.float32)
        kernels.recall(slots, states, clocks, places, past, ears, heard)
        return past, ears, heard

    def keep(
        self, slots: NDArray[np.intp], states: NDArray[np.float32], clocks: NDArray[np.int8],
        places: NDArray[np.int64], ears: NDArray[np.float32], heard: NDArray[np.float32],
        newest: Sequence[NDArray[np.float32]],
    ) -> None:  # fmt: skip
        """What a student remembers from now on. Args: newest: float32[n, width], one per block."""
        kernels.keep(slots, states, clocks, places, ears, heard, *newest)

    def follow(
        self, slots: NDArray[np.intp], ticks: NDArray[np.int64], sources: NDArray[np.int64],
        opened: NDArray[np.bool_], cut_through: NDArray[np.int64], source: NDArray[np.int64],
        due_ticks: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_], tuple[int, int, int]]:  # fmt: skip
        """What mouths follow now: sources, which have switched, which are due, and `edge.kernels.follow`'s counts."""
        followed, (switched, due) = np.empty_like(sources), np.empty((2, len(slots)), dtype=np.bool_)
        counts = kernels.follow(
            slots, ticks, sources, opened, cut_through, source, due_ticks, followed, switched, due
        )  # fmt: skip
        return followed, switched, due, counts

    def notice(
        self, slots: NDArray[np.intp], times: NDArray[np.float64], speaking: NDArray[np.float64],
        last_times: NDArray[np.float64], activity: NDArray[np.float64], per_s: float,
    ) -> NDArray[np.float64]:  # fmt: skip
        """Seconds since the frame before; both tables are brought up to date."""
        elapsed = np.empty(len(slots))
        kernels.notice(slots, times, speaking, last_times, activity, per_s, elapsed)
        return elapsed

    def serve(
        self, slots: NDArray[np.intp], speaking: NDArray[np.float64], tiers: NDArray[np.int8], rules: int,
        swapped: NDArray[np.bool_], unsettled: NDArray[np.int16],
    ) -> tuple[NDArray[np.intp], int, NDArray[np.bool_]]:  # fmt: skip
        """Rows that a student serves, how many others still settle, rows whose mover is another."""
        swapped_rows, served = np.empty(len(slots), dtype=np.bool_), np.empty(len(slots), dtype=np.int64)
        count, settling = kernels.serve(slots, speaking, tiers, rules, swapped, unsettled, swapped_rows, served)
        return served[:count], settling, swapped_rows

    def tell(
        self, rows: NDArray[np.intp], slots: NDArray[np.intp], bands: NDArray[np.uint8], wishes: NDArray[np.float32],
        moods: NDArray[np.float32], inputs: NDArray[np.float32],
    ) -> None:  # fmt: skip
        """What a student is told."""
        kernels.tell(rows, slots, bands, wishes, moods, inputs)

    def heed(
        self, slots: NDArray[np.intp], answers: NDArray[np.float32], welcomed: NDArray[np.bool_],
        blink_edges: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], int]:  # fmt: skip
        """What a student's answers come to: positions, sync, which rows a blink is welcome in, and how many."""
        positions = np.empty((len(slots), _ANSWERED[1]), dtype=np.float32)
        sync, blinks = np.empty(len(slots), dtype=np.float32), np.empty(len(slots), dtype=np.bool_)
        invited = kernels.heed(slots, answers, welcomed, _ANSWERED, blink_edges, positions, sync, blinks)
        return positions, sync, blinks, invited

    def look_over(
        self, slots: NDArray[np.intp], inputs: NDArray[np.float32], fidelity: NDArray[np.int8],
        character: NDArray[np.int16], style_left: NDArray[np.int8],
    ) -> tuple[bool, bool, bool, bool]:  # fmt: skip
        """Whether sessions can run as one: finite, one fidelity, one character, some become another one."""
        finite, one_fidelity, one_character, moving = kernels.look_over(slots, inputs, fidelity, character, style_left)
        return finite, one_fidelity, one_character, moving

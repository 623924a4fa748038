"""What the student animator hears and says: the meaning, order and size of each of its numbers. One home for both ends.

A student takes one frame (20 ms) per call and answers for the frame `LOOKAHEAD_FRAMES` earlier, so it hears 60 ms of
future. Hearing is normalised inside the model by a slow mean that is part of the state.
"""

from __future__ import annotations

from typing import Final

from core.limits import LOG_MEL_BANDS
from core.speech.coarticulation import SEALS
from core.speech.visemes import ARTICULATORS

__all__ = [
    "DILATIONS", "FIDELITIES", "HEAD_WIDTH", "HIDDEN_WIDTHS", "INPUTS", "KEPT", "LAYOUT_VERSION", "LOOKAHEAD_FRAMES",
    "MOOD", "MOUTH", "OUTPUTS", "PLAN", "RECALLED", "STATE_ROWS", "STYLE_WIDTH", "TRUNK_WIDTH", "state_row",
]  # fmt: skip

LAYOUT_VERSION: Final = 1
"""Goes up when anything here means something else; a model carries the version it was made for."""

LOOKAHEAD_FRAMES: Final = 3
"""The answer to frame k comes with the sound of frame k + 3: 60 ms."""

MOUTH: Final[tuple[str, ...]] = ARTICULATORS + SEALS
"""As a resolved mouth curve (core.speech.coarticulation)."""

PLAN: Final[tuple[str, ...]] = (*(f"plan.{name}" for name in MOUTH), "planned", "beat")
"""What the phonemes ask of the neutral mouth at the answered frame, each in [0, 1]; "planned" is 1 where phonemes are
known, and all are 0 where they are not; "beat" is the strength of a stressed syllable near this frame."""

MOOD: Final[tuple[str, ...]] = ("valence", "arousal")
"""In [-1, 1]."""

INPUTS: Final = LOG_MEL_BANDS + len(PLAN) + len(MOOD)
"""Per frame: log-mel bytes / 255, the plan of the answered frame, the mood."""

OUTPUTS: Final[tuple[str, ...]] = (
    *MOUTH, "brow_inner", "brow_outer", "head_pitch", "blink", "sync",
)  # fmt: skip
"""The mouth in [0, 1] with the voice's loudness already in it (`core.avatar.blend.layer_mouth` with loudness 1 shows
it); brows as weights to add; the head's nod in radians; how welcome a blink is; how well sound and phonemes agree."""

FIDELITIES: Final[tuple[str, ...]] = ("high", "medium", "low")
HIDDEN_WIDTHS: Final[dict[str, int]] = {"high": 128, "medium": 64, "low": 24}
"""Hidden units per block: a lower fidelity uses the first ones of the higher. The trunk is equally wide in all of them,
and the state is the trunk's recent past, so that it means the same to each."""

TRUNK_WIDTH: Final = 96
HEAD_WIDTH: Final = 64
DILATIONS: Final[tuple[int, ...]] = (1, 1, 2, 2)
"""Of the blocks' temporal convolutions (kernel 3, causal): 13 frames, 260 ms."""
STATE_ROWS: Final = 2 * sum(DILATIONS) + 1
"""State of one session: float32[STATE_ROWS, TRUNK_WIDTH]; the first row is the slow mean of what is heard, then each
block's past inputs, oldest first. All zero is a session that has heard nothing."""

RECALLED: Final[tuple[str, ...]] = tuple(
    f"block{block}_row{row}" for block, dilation in enumerate(DILATIONS) for row in (0, dilation)
)
"""What a graph is given of the state, besides its first row ("ear_mean", "ear_heard"): the two past inputs that each
block's convolution reads, float32[batch, TRUNK_WIDTH] each. The others only grow older, and stay where they are."""

KEPT: Final[tuple[str, ...]] = ("stem", *(f"block{block}_trunk" for block in range(len(DILATIONS) - 1)))
"""What a graph gives back of the state, besides its first row ("ear_after", "heard"): each block's newest input."""


def state_row(block: int, row: int, frames: int = 0) -> int:
    """Where a past input is in a state.

    Args:
        block: whose input. row: 0 is the oldest that the block remembers, 2 * DILATIONS[block] - 1 the newest.
        frames: how many frames were taken in since the state was in order: each took the place of the oldest.
    """
    rows = 2 * DILATIONS[block]
    return 1 + 2 * sum(DILATIONS[:block]) + (row + frames) % rows


STYLE_WIDTH: Final = 2 * (HIDDEN_WIDTHS["high"] + HEAD_WIDTH + len(OUTPUTS))
"""A character: scale and shift (FiLM) of the last block's hidden units, of the head's and of the outputs; all zero is
the neutral character. Nothing before the last block knows the character, so the state is free of it."""

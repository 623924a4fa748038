"""Static INT8 of the student's matrix products.

Static, because dynamic quantization takes its scale from the whole batch: a loud neighbour would move everybody's face.
Weights use seven bits (`reduce_range`): on AVX2 the product of unsigned and signed bytes saturates otherwise. The first
and the last layer stay in floating point; they cost little and everything passes through them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from core.limits import LOG_MEL_BANDS
from core.speech.student_layout import INPUTS, LOOKAHEAD_FRAMES, PLAN, STATE_ROWS, STYLE_WIDTH, TRUNK_WIDTH
from origin.distill.corpus import Clip
from origin.distill.examine import OpenModel, open_model
from origin.distill.teacher import plan_of

__all__ = ["quantize", "quantize_four_bits"]

_KEPT: Final = ("stem_product", "out_product")
_CLIPS: Final = 48
_EVERY: Final = 7
"""Frames between two that are calibrated on: neighbours are nearly the same."""


class _Reader:
    """Frames with the states that the model itself came to, half of them with phonemes."""

    def __init__(self, model: Path, clips: Sequence[Clip]) -> None:
        self._feeds = iter(_feeds(open_model(model), clips))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """See onnxruntime.quantization.CalibrationDataReader."""
        return next(self._feeds, None)


def _feeds(model: OpenModel, clips: Sequence[Clip]) -> list[dict[str, NDArray[np.float32]]]:
    chosen = clips[:: max(1, len(clips) // _CLIPS)][:_CLIPS]
    sounds = [
        clip.heard[i % len(clip.heard)] if len(clip.heard) and i % 3 else clip.clean for i, clip in enumerate(chosen)
    ]
    frames = min(len(sound) for sound in sounds)
    inputs = np.zeros((frames, len(chosen), INPUTS), np.float32)
    for row, (clip, sound) in enumerate(zip(chosen, sounds, strict=True)):
        inputs[:, row, :LOG_MEL_BANDS] = sound[:frames] / np.float32(255.0)
        if row % 2:
            asked = plan_of(clip.spans, frames)[: frames - LOOKAHEAD_FRAMES]
            inputs[LOOKAHEAD_FRAMES:, row, LOG_MEL_BANDS : LOG_MEL_BANDS + len(PLAN)] = asked
    state = np.zeros((len(chosen), STATE_ROWS, TRUNK_WIDTH), np.float32)
    style = np.zeros((len(chosen), STYLE_WIDTH), np.float32)
    feeds = []
    for frame in range(frames):
        feed = {"inputs": inputs[frame], "state": state, "style": style}
        _, state = model.run(None, feed)
        if frame % _EVERY == 0:
            feeds.append(model.feed(feed))
    return feeds


def quantize(source: Path, target: Path, clips: Sequence[Clip]) -> None:
    """Write the INT8 model.

    Args:
        source: fp32 model from `origin.distill.export`.
        target: where to.
        clips: to calibrate on.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with _quiet():
        quantize_static(
            str(source), str(target), _Reader(source, clips), quant_format=QuantFormat.QDQ, per_channel=True,
            reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"], nodes_to_exclude=list(_KEPT), calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
    # The tool leaves its own name and version in the file; the bytes must be the same tomorrow.
    model = onnx.load(str(target))
    model.producer_name, model.producer_version = "visavis", ""
    target.write_bytes(model.SerializeToString(deterministic=True))


def quantize_four_bits(source: Path, target: Path) -> None:
    """Write a model with 4-bit weights in blocks of 32 (MatMulNBits); activations stay in floating point."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with _quiet():
        maker = MatMulNBitsQuantizer(onnx.load(str(source)), block_size=32, is_symmetric=True, nodes_to_exclude=_KEPT)
        maker.process()
    target.write_bytes(maker.model.model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Any:
    """The tool recommends a preparation that these graphs do not need."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)

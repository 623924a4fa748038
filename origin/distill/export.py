"""The trained student as ONNX graphs, one per fidelity, written node by node: no exporter's version decides its shape.

A graph takes one frame of every session and gives their answers and states. Everything is a function of one row alone
(matrix products, elementwise operations), so no session's output depends on who shares its batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from core.errors import ConfigError
from core.limits import LOG_MEL_BANDS
from core.speech.student_layout import (
    DILATIONS,
    HEAD_WIDTH,
    HIDDEN_WIDTHS,
    INPUTS,
    LAYOUT_VERSION,
    OUTPUTS,
    STATE_ROWS,
    STYLE_WIDTH,
    TRUNK_WIDTH,
)
from origin.distill.serving import refit

__all__ = ["OPSET", "Weights", "checksum", "export", "read_weights", "weights_of"]

OPSET: Final = 17
"""Understood by every onnxruntime since 1.12."""
_IR_VERSION: Final = 8
_EAR: Final = (75.0, 5.0, 0.20, 10.0, 4.0)
"""See origin/distill/student.py: EAR_SPAN, start, audible from, how steeply, contrast."""

Array = NDArray[np.float32]
Weights = Mapping[str, Array]


def weights_of(student: Any) -> dict[str, Array]:
    """A `origin.distill.student.Student`'s parameters by name, as numpy arrays."""
    return {name: value.detach().cpu().numpy().astype(np.float32) for name, value in student.state_dict().items()}


def read_weights(path: Path) -> dict[str, Array]:
    """The parameters in an fp32 model of the high fidelity, by the names of `weights_of`.

    Raises: ConfigError: it is no such model.
    """
    try:
        kept = {one.name: numpy_helper.to_array(one) for one in onnx.load(str(path)).graph.initializer}
        weights = {"usual": kept["usual"]}
        for ours, theirs in _names():
            weights[f"{ours}.weight"], weights[f"{ours}.bias"] = kept[f"{theirs}_weight"].T, kept[f"{theirs}_bias"]
        for index in range(len(DILATIONS)):
            # The taps' bias has gone into the next layer.
            taps = [kept[f"block{index}_tap{tap}"] for tap in range(3)]
            weights[f"taps.{index}"] = np.stack([*taps, np.zeros(TRUNK_WIDTH, np.float32)])
        if weights["widen.0.weight"].shape != (HIDDEN_WIDTHS["high"], TRUNK_WIDTH):
            raise ValueError(f"its blocks are {weights['widen.0.weight'].shape[0]} units wide")
    except (OSError, KeyError, ValueError, DecodeError) as error:
        raise ConfigError(f"{path} is no fp32 student of the high fidelity: {error}") from None
    return {name: np.array(value, np.float32) for name, value in weights.items()}


def _names() -> Iterator[tuple[str, str]]:
    """Layers: as PyTorch names them, as the graph does."""
    yield from ((name, name) for name in ("stem", "head", "out"))
    for index in range(len(DILATIONS)):
        yield f"widen.{index}", f"block{index}_wide"
        yield f"narrow.{index}", f"block{index}_narrow"


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Graph:
    """Nodes and constants in order."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array | NDArray[np.int64]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def split(self, source: str, sizes: list[int], outputs: list[str], axis: int) -> list[str]:
        lengths = self.constant(f"{outputs[0]}_sizes", np.array(sizes, dtype=np.int64))
        self.nodes.append(helper.make_node("Split", [source, lengths], outputs, name=f"{outputs[0]}_split", axis=axis))
        return outputs

    def linear(self, source: str, weight: Array, bias: Array, name: str) -> str:
        """weight: [out, in], as PyTorch keeps it."""
        product = self.node("MatMul", [source, self.constant(f"{name}_weight", weight.T)], f"{name}_product")
        return self.node("Add", [product, self.constant(f"{name}_bias", bias)], name)

    def film(self, source: str, scale: str, shift: str, name: str) -> str:
        """scale: already 1 + the style's."""
        return self.node("Add", [self.node("Mul", [source, scale], f"{name}_scaled"), shift], name)


def _hear(graph: _Graph, weights: Weights) -> list[str]:
    """Normalise by the slow mean; gives the stem's first inputs, the rest of the inputs, and the ear after."""
    span, start, audible, steep, contrast = (np.array([[value]], np.float32) for value in _EAR)
    mel, asked = graph.split("inputs", [LOG_MEL_BANDS, INPUTS - LOG_MEL_BANDS], ["mel", "asked"], axis=1)
    one = graph.constant("one", np.array([[1.0]], np.float32))
    zero = graph.constant("zero", np.array([[0.0]], np.float32))
    level = graph.node("ReduceMean", [mel], "level", axes=[1], keepdims=1)
    louder = graph.node("Sub", [level, graph.constant("audible_from", audible)], "louder")
    steeper = graph.node("Mul", [louder, graph.constant("audible_steep", steep)], "steeper")
    loud = graph.node("Min", [graph.node("Max", [steeper, zero], "steeper_positive"), one], "loud")
    former = graph.node("Add", ["ear_mean", graph.constant("usual", weights["usual"])], "ear_former")
    more = graph.node("Add", ["ear_heard", loud], "heard_more")
    heard = graph.node("Min", [more, graph.constant("ear_span", span)], "heard")
    rate = graph.node("Div", [loud, graph.node("Add", [heard, graph.constant("ear_start", start)], "heard_of")], "rate")
    step = graph.node("Mul", [rate, graph.node("Sub", [mel, former], "surprise")], "ear_step")
    mean = graph.node("Add", [former, step], "ear_now")
    apart = graph.node("Sub", [mel, mean], "apart")
    clear = graph.node("Mul", [apart, graph.constant("contrast", contrast)], "clear")
    slow = graph.node("ReduceMean", [mean], "slow_level", axes=[1], keepdims=1)
    after = graph.node("Sub", [mean, "usual"], "ear_after")
    return [clear, level, slow, asked, after, heard]


def _block(
    graph: _Graph, weights: Weights, index: int, hidden: int, trunk: str, rows: list[str], film: tuple[str, str] | None
) -> str:
    """One residual block, whose past is `rows`, oldest first: gives the trunk after it.

    Rows are pieces of a flat state, each taken and put back once: copying costs more here than the products do.
    """
    dilation, name, taps = DILATIONS[index], f"block{index}", weights[f"taps.{index}"]
    weighed = [
        graph.node("Mul", [source, graph.constant(f"{name}_tap{tap}", taps[tap])], f"{name}_weighed{tap}")
        for tap, source in enumerate((rows[0], rows[dilation], trunk))
    ]
    older = graph.node("Add", weighed[:2], f"{name}_older")
    mixed = graph.node("Add", [older, weighed[2]], f"{name}_mixed")
    # The taps' own bias goes through the next layer: one addition less per frame.
    widen = weights[f"widen.{index}.weight"][:hidden]
    bias = weights[f"widen.{index}.bias"][:hidden] + widen @ taps[3]
    units = graph.node("Relu", [graph.linear(mixed, widen, bias, f"{name}_wide")], f"{name}_units")
    if film is not None:
        units = graph.film(units, *film, f"{name}_styled")
    narrow = graph.linear(
        units, weights[f"narrow.{index}.weight"][:, :hidden], weights[f"narrow.{index}.bias"], f"{name}_narrow"
    )
    return graph.node("Add", [trunk, narrow], f"{name}_trunk")


def _style(graph: _Graph, hidden: int) -> list[str]:
    """The style's six parts; the hidden ones as wide as this fidelity, the scales with 1 added."""
    whole = HIDDEN_WIDTHS["high"]
    names = ["scale_hidden", "shift_hidden", "scale_head", "shift_head", "scale_out", "shift_out"]
    sizes = [hidden, whole - hidden] * 2 if hidden < whole else [whole] * 2
    parts = [names[0], "unused_scale", names[1], "unused_shift"] if hidden < whole else names[:2]
    graph.split("style", [*sizes, *[HEAD_WIDTH] * 2, *[len(OUTPUTS)] * 2], [*parts, *names[2:]], axis=1)
    for name in names[::2]:
        graph.node("Add", [name, "one"], f"{name}_plus")
    return [f"{name}_plus" if name.startswith("scale") else name for name in names]


def export(path: Path, weights: Weights, fidelity: str, widths: Sequence[int] | None = None) -> str:
    """Write one fidelity.

    Args:
        path: of the .onnx file; its folder must exist.
        weights: from `weights_of`.
        fidelity: of core.speech.student_layout.FIDELITIES.
        widths: hidden units of each block where they differ from the fidelity's (`origin.distill.prune`); the last
            block's may not.
    Returns: the file's SHA-256.
    """
    hidden = HIDDEN_WIDTHS[fidelity]
    graph = _Graph()
    past = [[f"block{index}_row{row}" for row in range(2 * dilation)] for index, dilation in enumerate(DILATIONS)]
    whole = graph.constant("state_flat_shape", np.array([-1, STATE_ROWS * TRUNK_WIDTH], np.int64))
    flat = graph.node("Reshape", ["state", whole], "state_flat")
    ear = [LOG_MEL_BANDS, 1, TRUNK_WIDTH - LOG_MEL_BANDS - 1]
    pieces = ["ear_mean", "ear_heard", "ear_rest", *(row for rows in past for row in rows)]
    graph.split(flat, [*ear, *[TRUNK_WIDTH] * (STATE_ROWS - 1)], pieces, axis=1)
    clear, level, slow, asked, after, heard = _hear(graph, weights)
    parts = _style(graph, hidden)
    heard_now = graph.node("Concat", [clear, level, slow, asked], "heard_now", axis=1)
    trunk = graph.linear(heard_now, weights["stem.weight"], weights["stem.bias"], "stem")
    kept = [after, heard, "ear_rest"]
    for index, rows in enumerate(past):
        kept += [*rows[1:], trunk]
        film = (parts[0], parts[1]) if index == len(DILATIONS) - 1 else None
        trunk = _block(graph, weights, index, hidden if widths is None else widths[index], trunk, rows, film)
    head = graph.linear(trunk, weights["head.weight"], weights["head.bias"], "head")
    seen = graph.node("Relu", [graph.film(head, parts[2], parts[3], "head_styled")], "head_units")
    out = graph.linear(seen, weights["out.weight"], weights["out.bias"], "out")
    graph.film(out, parts[4], parts[5], "answers")
    shape = graph.constant("state_shape", np.array([-1, STATE_ROWS, TRUNK_WIDTH], np.int64))
    graph.node("Reshape", [graph.node("Concat", kept, "state_kept", axis=1), shape], "state_after")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, f"visavis student {fidelity}",
            [_value("inputs", INPUTS), _value("state", STATE_ROWS, TRUNK_WIDTH), _value("style", STYLE_WIDTH)],
            [_value("answers", len(OUTPUTS)), _value("state_after", STATE_ROWS, TRUNK_WIDTH)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)], producer_name="visavis", ir_version=_IR_VERSION,
    )  # fmt: skip
    helper.set_model_props(model, {"fidelity": fidelity, "layout": str(LAYOUT_VERSION)})
    refit(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return checksum(path)


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

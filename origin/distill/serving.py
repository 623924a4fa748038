"""A student's graph as POPs serve it: of its past it is given what it reads, and gives back what is new.

`export` writes a graph whose state comes in and goes out whole. Its thirteen rows cost more to move than its products
take, and most of them only change places; so they stay with the POP (`edge.student_memory`). What is computed is the
same to the last bit.

    python -m origin.distill.serving FOLDER     refits models of an older training, with manifest, cards and record
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from onnx import helper

from core.errors import ConfigError
from core.limits import LOG_MEL_BANDS
from core.speech.student_layout import FIDELITIES, INPUTS, KEPT, OUTPUTS, RECALLED, STYLE_WIDTH, TRUNK_WIDTH
from origin.distill.cards import CARDS, card_name
from origin.distill.examine import open_model
from origin.distill.measure import cost_us
from origin.distill.ship import model_name, read_manifest, read_record, write_manifest, write_record

__all__ = ["refit", "refit_folder"]

_MOVING = frozenset(("state_flat", "ear_mean_split", "state_kept", "state_after"))
"""Nodes that take the state apart and put it together."""


def refit(model: onnx.ModelProto) -> bool:
    """Change a graph of `export`, whatever its precision, in place.

    Returns: whether there was anything to do.
    Raises: ConfigError: it is no student.
    """
    graph = model.graph
    if "state" not in {value.name for value in graph.input}:
        return False
    nodes = [node for node in graph.node if node.name not in _MOVING]
    if len(graph.node) - len(nodes) != len(_MOVING):
        raise ConfigError("a graph with a state that does not take it apart as `origin.distill.export` does")
    read = {name for node in nodes for name in node.input}
    constants = [one for one in graph.initializer if one.name in read]
    given = [_value("inputs", INPUTS), _value("style", STYLE_WIDTH, "styles"), _value("ear_mean", LOG_MEL_BANDS)]
    given += [_value("ear_heard", 1), *(_value(name, TRUNK_WIDTH) for name in RECALLED)]
    back = [_value("answers", len(OUTPUTS)), _value("ear_after", LOG_MEL_BANDS), _value("heard", 1)]
    back += [_value(name, TRUNK_WIDTH) for name in KEPT]
    for part, kept in (
        (graph.node, nodes), (graph.initializer, constants), (graph.input, given), (graph.output, back),
    ):  # fmt: skip
        copies = [type(one).FromString(one.SerializeToString(deterministic=True)) for one in kept]
        del part[:]
        part.extend(copies)
    onnx.checker.check_model(model)
    return True


def _value(name: str, width: int, rows: str = "batch") -> onnx.ValueInfoProto:
    """rows: of style there may be one for all."""
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [rows, width])


def refit_folder(folder: Path) -> list[str]:
    """Refit what a folder's manifest names, and say so in manifest, cards and record.

    Returns: the files that were changed.
    Raises: ConfigError: see `refit`; there is no manifest.
    """
    manifest, changed = read_manifest(folder), []
    sizes: dict[str, tuple[int, dict[str, float]]] = {}
    for precision, files in manifest["models"].items():
        for fidelity in FIDELITIES:
            path = folder / files[fidelity]
            model = onnx.load(str(path))
            if not refit(model):
                continue
            path.write_bytes(model.SerializeToString(deterministic=True))
            changed.append(path.name)
            costs = {f"b{batch}": cost_us(open_model(path), batch) for batch in (1, 64)}
            sizes[f"{precision} {fidelity}"] = path.stat().st_size, costs
    former, now = manifest["sha256"], write_manifest(folder)["sha256"]
    for step, (size_bytes, costs) in sizes.items():
        precision, fidelity = step.split()
        name = model_name(precision, fidelity)
        card = folder / CARDS / Path(card_name(name)).name
        text = card.read_text(encoding="utf-8").replace(former[name], now[name])  # type: ignore[index]
        lines = [_line(line, size_bytes, costs) for line in text.split("\n")]
        card.write_text("\n".join(lines), encoding="utf-8")
    record = read_record(folder)
    for row in record.get("compression", []):
        if row["step"] in sizes:
            size_bytes, costs = sizes[row["step"]]
            row["size_bytes"] = size_bytes
            row.update({f"us_per_frame_{batch}": round(cost, 2) for batch, cost in costs.items()})
    write_record(folder, record)
    return changed


def _line(line: str, size_bytes: int, costs: dict[str, float]) -> str:
    if line.startswith("| size |"):
        return f"| size | {size_bytes:,} bytes |"
    if line.startswith("| cost per frame |"):
        rest = line.split("batch 64", 1)[1]
        return f"| cost per frame | {costs['b1']:.1f} µs at batch 1, {costs['b64']:.1f} µs at batch 64{rest}"
    return line


if __name__ == "__main__":
    for name in refit_folder(Path(sys.argv[1])):
        print(name)  # noqa: T201

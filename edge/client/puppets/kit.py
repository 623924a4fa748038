"""Drawing tools for puppets: curves as points, keyforms by sampling a shape at each weight, and the file's layout.

A shape is a function of the weights. Its keyform for a weight is the difference between the shape at weight 1 and at
rest; a combination gets what is left when its parts are taken away. So a face is drawn once, as functions, and the
file still holds nothing but points and offsets.
"""

# ruff: noqa: A002, E501 - `id` is the name in the file
from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.rig import BLENDSHAPES, JOINTS, RIG_PROFILE

__all__ = [
    "Curve",
    "Curves",
    "Puppet",
    "Weights",
    "ellipse",
    "grow",
    "linear",
    "radial",
    "ribbon",
    "smooth",
    "smoothstep",
]

FORMAT: Final = "visavis-puppet/1"
Points = NDArray[np.float64]
Curve = Points
"""float64[3 n + 1, 2]: n cubic segments that share their ends."""
Curves = list[Curve]
AXES: Final = tuple(f"{joint}.{axis}{sign}" for joint in JOINTS for axis in ("pitch", "yaw", "roll") for sign in "+-")
DERIVED: Final = ("lips.open", "lips.shut")
"""Inputs that the renderer makes of `jawOpen` and `mouthClose`: the jaw's opening that parts the lips, and that behind
shut lips; together they are `jawOpen`."""
_EDGE_SHARE: Final = 0.8
"""Part of an outline's width that lies outside the shape."""
_VISIBLE: Final = 0.06
"""Offsets below this (design units) are left out."""


class Weights(dict[str, float]):
    """Weights by name; what is not named is 0."""

    def __missing__(self, key: str) -> float:
        return 0.0


Shape = Callable[[Weights], Curves]


def smoothstep(low: float, high: float, value: Any) -> Any:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((np.asarray(value, dtype=float) - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def smooth(points: Sequence[Sequence[float]] | Points, *, closed: bool = True, corners: Sequence[int] = ()) -> Curve:
    """Draw a smooth curve through points; at `corners` (indices) it breaks."""
    p = np.asarray(points, dtype=float)
    count = len(p)
    sharp = {index % count for index in corners}
    if not closed:
        sharp |= {0, count - 1}
    before, after = np.roll(p, 1, axis=0), np.roll(p, -1, axis=0)
    out = [p[0]]
    for i in range(count if closed else count - 1):
        j = (i + 1) % count
        length = float(np.hypot(*(p[j] - p[i]))) / 3
        out += [p[i] + _tangent(before[i], p[i], after[i], i in sharp, p[j] - p[i]) * length]
        out += [p[j] - _tangent(before[j], p[j], after[j], j in sharp, p[j] - p[i]) * length, p[j]]
    return np.array(out)


def _tangent(a: Points, b: Points, c: Points, sharp: bool, chord: Points) -> Points:
    if sharp:
        return np.asarray(chord / (np.hypot(*chord) + 1e-9))
    first, second = np.hypot(*(b - a)) + 1e-9, np.hypot(*(c - b)) + 1e-9
    direction = (b - a) / first * second + (c - b) / second * first
    return np.asarray(direction / (np.hypot(*direction) + 1e-9))


def _dense(points: Points, per: int) -> tuple[Points, Points]:
    """More points along a smooth open curve, and where each one is along it (0 to 1)."""
    curve = smooth(points, closed=False)
    out, along = [], []
    segments = (len(curve) - 1) // 3
    for s in range(segments):
        a, b, c, d = curve[3 * s : 3 * s + 4]
        for t in np.linspace(0, 1, per, endpoint=False):
            out.append(a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t * t * (1 - t) + d * t**3)
            along.append((s + t) / segments)
    return np.array([*out, curve[-1]]), np.array([*along, 1.0])


def ribbon(
    points: Sequence[Sequence[float]] | Points, widths: Sequence[float], *, per: int = 2, shift: float = 0.0
) -> Curve:
    """Draw a stroke of changing width as a closed shape with pointed ends.

    Args:
        points: the middle line.
        widths: full width at each point.
        per: curve points for each of them.
        shift: move the line sideways, in half widths of the ribbon.
    """
    line = np.asarray(points, dtype=float)
    middle, along = _dense(line, per)
    half = np.interp(along * (len(line) - 1), np.arange(len(line)), np.asarray(widths, dtype=float)) / 2
    slope = np.gradient(middle, axis=0)
    slope /= np.hypot(slope[:, 0], slope[:, 1])[:, None] + 1e-9
    normal = np.stack([-slope[:, 1], slope[:, 0]], axis=1)
    left, right = middle + normal * half[:, None], middle - normal * half[:, None]
    if shift:
        left, right = left + normal * (shift * half)[:, None], right + normal * (shift * half)[:, None]
    outline = np.concatenate([left, right[::-1]])
    return smooth(outline, corners=(0, len(left) - 1, len(left), len(outline) - 1))


def sideways(points: Sequence[Sequence[float]] | Points, widths: Sequence[float], share: float) -> Points:
    """The line at `share` (-1 to 1) across a ribbon."""
    line = np.asarray(points, dtype=float)
    slope = np.gradient(line, axis=0)
    slope /= np.hypot(slope[:, 0], slope[:, 1])[:, None] + 1e-9
    normal = np.stack([-slope[:, 1], slope[:, 0]], axis=1)
    return line + normal * (np.asarray(widths, dtype=float) / 2 * share)[:, None]


def grow(curve: Curve, by: float) -> Curve:
    """A closed curve moved outwards by some units; a tip gets longer, up to three times as much."""
    ring = curve[:-1]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    area = float(np.sum(ring[:, 0] * np.roll(ring[:, 1], -1) - np.roll(ring[:, 0], -1) * ring[:, 1]))
    normals = []
    for step, back in ((before, 1), (after, -1)):
        for _ in range(4):  # where points coincide, the side of the tip counts
            step = np.where(np.hypot(step[:, 0], step[:, 1])[:, None] > 1e-6, step, np.roll(step, back, axis=0))
        length = np.hypot(step[:, 0], step[:, 1])[:, None]
        normals.append(np.stack([step[:, 1], -step[:, 0]], axis=1) / np.maximum(length, 1e-9) * np.sign(area))
    both = normals[0] + normals[1]
    size = np.hypot(both[:, 0], both[:, 1])[:, None]
    # Along a tip's bisector an edge moved by 1 lies 1 / cos(half the angle) away.
    out = ring + both / np.maximum(size, 1e-9) * by * np.minimum(2 / np.maximum(size, 1e-9), 3)
    return np.concatenate([out, out[:1]])


def ellipse(x: float, y: float, rx: float, ry: float, *, tilt: float = 0.0) -> Curve:
    """An ellipse of four segments."""
    k = 0.5523
    unit = np.array(
        [
            (1, 0),
            (1, k),
            (k, 1),
            (0, 1),
            (-k, 1),
            (-1, k),
            (-1, 0),
            (-1, -k),
            (-k, -1),
            (0, -1),
            (k, -1),
            (1, -k),
            (1, 0),
        ]
    )
    turned = unit * (rx, ry)
    c, s = np.cos(tilt), np.sin(tilt)
    return np.asarray(turned @ np.array([[c, s], [-s, c]]) + (x, y))


def linear(x0: float, y0: float, x1: float, y1: float, *stops: tuple[float, str]) -> dict[str, Any]:
    """A gradient along a line."""
    return {"linear": [x0, y0, x1, y1], "stops": [list(stop) for stop in stops]}


def radial(x: float, y: float, radius: float, *stops: tuple[float, str], squash: float = 1.0) -> dict[str, Any]:
    """A gradient around a point; `squash` stretches it vertically."""
    return {"radial": [x, y, radius], "squash": squash, "stops": [list(stop) for stop in stops]}


def _numbers(values: Any) -> list[float | int]:
    """Rounded to a tenth; whole numbers without a point."""
    return [int(v) if v == int(v) else v for v in (round(float(v), 1) + 0.0 for v in np.asarray(values).ravel())]


class Puppet:
    """Collects bones and layers, and writes the file."""

    def __init__(self, *, id: str, name: str, size: tuple[int, int], safe_width: int, focal: int) -> None:
        self._head: dict[str, Any] = {
            "format": FORMAT, "rig": RIG_PROFILE, "id": id, "name": name, "size": list(size),
            "safeWidth": safe_width, "focal": focal,
        }  # fmt: skip
        self._bones: list[dict[str, Any]] = []
        self._layers: list[dict[str, Any]] = []
        self.combinations: list[tuple[str, ...]] = []
        """Inputs whose joint effect is more than the sum of their own."""
        self.depth_of: Callable[[Points], Points] = lambda points: np.zeros(len(points))

    def bone(self, name: str, parent: str | None, pivot: tuple[float, float, float], **options: Any) -> None:
        """Add a bone; its parent must be there already."""
        self._bones.append({"name": name, "parent": parent, "pivot": list(pivot), **options})

    def layer(
        self, id: str, shape: Shape | Curve | Curves, *, bone: str = "head", depth: float | Callable[[Points], Points] | None = None,
        lift: float = 0.0, mix: tuple[str, Callable[[Points], Points]] | None = None, closed: bool = True,
        fill: Any = None, stroke: tuple[Any, float] | None = None, edge: tuple[str, float] | None = None,
        fades: Sequence[tuple[str, float]] = (),
        **options: Any,
    ) -> None:  # fmt: skip
        """Add a layer on top of those before it.

        Args:
            depth: the same depth for all points, or a function of them; without it, `depth_of` plus `lift`.
            mix: a second bone and how much each point follows it.
            edge: colour and width of an outline as a larger shape behind: much cheaper to draw than a stroke.
            fades: what each input (or product, joined by "*") adds to the opacity.
            options: alpha, clip, blend, backdrop, twinkle, hidden as in the file.
        """
        draw = shape if callable(shape) else (lambda _weights: [shape] if isinstance(shape, np.ndarray) else shape)
        if edge is not None:
            color, width = edge
            self.layer(
                f"{id}.edge", lambda w: [grow(curve, width * _EDGE_SHARE) for curve in draw(w)], bone=bone, depth=depth,
                lift=lift, mix=mix, fill=color,
            )  # fmt: skip
        rest_curves = draw(Weights())
        rest = np.concatenate(rest_curves)
        entry: dict[str, Any] = {
            "id": id, "contours": [(len(curve) - 1) // 3 for curve in rest_curves], "closed": closed,
            "points": _numbers(rest), "bone": bone,
            "depth": depth if isinstance(depth, float | int) else [
                round(float(z)) for z in (self.depth_of(rest) if depth is None else depth(rest)) + lift
            ],
        }  # fmt: skip
        if mix is not None:
            entry["toward"] = {"bone": mix[0], "mix": [round(float(v), 2) for v in mix[1](rest)]}
        keys = self._keys(draw, rest) if callable(shape) else []
        if keys:
            entry["keys"] = keys
        if fades:
            entry["fades"] = [{"when": name.split("*"), "by": by} for name, by in fades]
        if fill is not None:
            entry["fill"] = fill
        if stroke is not None:
            entry["stroke"] = {"paint": stroke[0], "width": stroke[1]}
        self._layers.append({**entry, **options})

    def _keys(self, draw: Shape, rest: Points) -> list[dict[str, Any]]:
        found: dict[tuple[str, ...], Points] = {}
        for name in (*BLENDSHAPES, *AXES, *DERIVED):
            offset = np.concatenate(draw(Weights({name: 1.0}))) - rest
            if np.abs(offset).max() >= _VISIBLE:
                found[(name,)] = offset
        for names in sorted(self.combinations, key=len):
            if not all((name,) in found for name in names):
                continue
            offset = np.concatenate(draw(Weights(dict.fromkeys(names, 1.0)))) - rest
            for size in range(1, len(names)):
                for part in itertools.combinations(names, size):
                    offset = offset - found.get(part, 0.0)
            if np.abs(offset).max() >= 4 * _VISIBLE:
                found[names] = offset
        return [_key(names, offset) for names, offset in found.items()]

    def data(self) -> dict[str, Any]:
        """The whole file, with its version."""
        body = _plain({**self._head, "bones": self._bones, "layers": self._layers})
        bones, layers = body.pop("bones"), body.pop("layers")
        version = version_of({**body, "bones": bones, "layers": layers})
        return {**body, "version": version, "bones": bones, "layers": layers}

    def write(self, path: Path) -> None:
        """Write the file, one layer a line."""
        path.write_text(text_of(self.data()), encoding="utf-8")


def _plain(value: Any) -> Any:
    """Whole numbers without a point, so that every language writes, and hashes, the same text."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float | np.floating):
        rounded = round(float(value), 3)
        return int(rounded) if rounded == int(rounded) else rounded
    return value


def _key(names: tuple[str, ...], offset: Points) -> dict[str, Any]:
    at = np.flatnonzero(np.abs(offset).max(axis=1) >= _VISIBLE)
    return {"when": list(names), "at": [int(i) for i in at], "by": _numbers(offset[at])}


def version_of(body: dict[str, Any]) -> str:
    """Hash of everything but the version."""
    rest = {name: value for name, value in body.items() if name != "version"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def text_of(data: dict[str, Any]) -> str:
    """The file's text: one bone or layer a line, so that a change shows where it is."""
    lines = []
    for name, value in data.items():
        if name in ("bones", "layers"):
            rows = ",\n".join("  " + json.dumps(entry, separators=(",", ":")) for entry in value)
            lines.append(f"{json.dumps(name)}: [\n{rows}\n]")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"

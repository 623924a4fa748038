"""Pieces of a model: vertices as functions of the weights, triangles, colours.

A piece is drawn once at rest and once at each weight of 1; a morph target is the difference. So nothing but its rest
pose and its functions is written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Colours",
    "Mask",
    "Piece",
    "Points",
    "blend",
    "bump",
    "ellipsoid",
    "grid",
    "lock",
    "pick",
    "rgb",
    "step",
    "still",
    "without",
]

Points = NDArray[np.float64]
"""float64[n, 3]."""
Colours = NDArray[np.float64]
"""float64[n, 3], linear, 0 to 1."""
Weights = Mapping[str, float]
Shape = Callable[[Weights], Points]
Mask = NDArray[np.float64]

_DECODE_LINEAR: Final = 0.04045


def rgb(text: str) -> Colours:
    """A colour of the web, `#rrggbb`, as the linear numbers glTF wants: float64[3]."""
    value = np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0
    return np.where(value <= _DECODE_LINEAR, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def blend(a: Colours, b: Colours, share: Mask | float) -> Colours:
    """`a` where `share` is 0, `b` where it is 1."""
    part = np.clip(np.asarray(share, dtype=np.float64), 0.0, 1.0)[..., None]
    return np.asarray(a * (1.0 - part) + b * part)


def step(x: Mask | float, begin: float, end: float) -> Mask:
    """A smooth step from 0 at `begin` to 1 at `end`, which may be the smaller one."""
    t = np.clip((np.asarray(x, dtype=np.float64) - begin) / (end - begin), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def bump(points: Points, x: float, y: float, width: float) -> Mask:
    """A round hill of height 1 seen from the front: float64[n]."""
    return np.asarray(np.exp(-((points[..., 0] - x) ** 2 + (points[..., 1] - y) ** 2) / (2 * width * width)))


def pick(weights: Weights, name: str, side: int) -> float:
    """A sided channel: +1 is the character's left."""
    return weights.get(name + ("Left" if side > 0 else "Right"), 0.0)


def still(points: Points) -> Shape:
    """The shape of what no weight moves."""
    return lambda _: points


@dataclass(frozen=True, slots=True)
class Piece:
    """One surface.

    Attributes:
        shape: its vertices at given weights.
        triangles: int64[m, 3], counter-clockwise from outside.
        colours: of the vertices.
        material: name, see pip.py.
        lit: the pose whose normals it has: they do not move with the weights, and a lid is looked at when it is shut.
    """

    shape: Shape
    triangles: NDArray[np.int64]
    colours: Colours
    material: str = "matt"
    lit: Weights = field(default_factory=dict[str, float])


def grid(rows: int, columns: int, *, closed: bool = False) -> NDArray[np.int64]:
    """Triangles of a net of rows × columns points in row order; facing out if columns run to the right and rows down.

    Args:
        closed: the last column is joined to the first.
    """
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a = row * columns + column
    b = row * columns + (column + 1) % columns
    c, d = a + columns, b + columns
    return np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], -2).reshape(-1, 3)


def without(piece: Piece, hidden: NDArray[np.bool_]) -> Piece:
    """A piece less the triangles all of whose vertices are hidden, and less the vertices that nothing needs then."""
    kept = piece.triangles[~hidden[piece.triangles].all(axis=1)]
    used, places = np.unique(kept, return_inverse=True)
    return Piece(lambda w: piece.shape(w)[used], places.reshape(-1, 3), piece.colours[used], piece.material, piece.lit)


def ellipsoid(
    center: tuple[float, float, float], radii: tuple[float, float, float], rows: int = 8, columns: int = 12
) -> tuple[Points, NDArray[np.int64]]:
    """A ball, stretched; poles up and down."""
    polar, around = np.meshgrid(
        np.linspace(0.0, np.pi, rows), np.linspace(0.0, 2 * np.pi, columns, endpoint=False), indexing="ij"
    )
    ball = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1)
    return (ball * radii + center).reshape(-1, 3), grid(rows, columns, closed=True)


def lock(
    path: Points, widths: Mask, thickness: float, outward: Points, columns: int = 8
) -> tuple[Points, NDArray[np.int64]]:
    """A strand of hair: a flat tube along a path that lies on a surface.

    Args:
        path: float64[n, 3], from root to tip.
        widths: half its width at each point.
        thickness: half its height, as a share of the width.
        outward: normals of what it lies on.
    """
    along = np.gradient(path, axis=0)
    across = np.cross(outward, along)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    around = np.linspace(0.0, 2 * np.pi, columns, endpoint=False)
    ring = (
        np.cos(around)[None, :, None] * across[:, None] + thickness * np.sin(around)[None, :, None] * outward[:, None]
    )
    return (path[:, None] + widths[:, None, None] * ring).reshape(-1, 3), grid(len(path), columns, closed=True)

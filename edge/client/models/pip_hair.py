"""Pip's hair: a cap that follows the head, and locks that fall over it."""

from __future__ import annotations

from typing import Final

import numpy as np

from edge.client.models.pip_face import normal_at, surface
from edge.client.models.surfaces import Colours, Mask, Piece, Points, blend, grid, lock, rgb, step, still

__all__ = ["cap", "locks"]

_ROOT: Final = rgb("#5a3a94")
_HAIR: Final = rgb("#8f68d6")
_TIP: Final = rgb("#cdb0ff")
_ROWS: Final = 7
_COLUMNS: Final = 32
_RING: Final = 6
_POINTS: Final = 7


def _hairline(around: Mask) -> Mask:
    """Polar angle at which the hair ends, by direction: 0 is the front."""
    turned = np.abs((around + np.pi) % (2 * np.pi) - np.pi)
    front, side, back = 0.98, 1.62, 2.35
    line = front + (side - front) * step(turned, 0.55, 1.25)
    return np.asarray(line + (back - side) * step(turned, 1.65, 2.2))


def cap() -> Piece:
    """The mass of the hair, with shallow furrows."""
    around = np.linspace(0.0, 2 * np.pi, _COLUMNS, endpoint=False)
    end = _hairline(around)
    shares = np.append(np.linspace(0.0, 1.0, _ROWS), 0.985)
    polar = shares[:, None] * end[None, :]
    rays = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1)
    on_head = surface(rays.reshape(-1, 3)).reshape(*polar.shape, 3)
    furrow = 0.016 * np.cos(8 * around)[None, :] * np.sin(np.pi * np.minimum(shares, 1.0))[:, None] ** 0.5
    high = 0.1 + 0.055 * step(rays[..., 1], 0.2, 0.9) + 0.03 * step(-rays[..., 2], 0.0, 0.8)
    lift = (high + furrow) * np.where(np.arange(len(shares)) == _ROWS, 0.1, 1.0)[:, None]
    points = (on_head + lift[..., None] * normal_at(on_head)).reshape(-1, 3)
    shine = np.exp(-(((polar - 0.62) / 0.2) ** 2)) * (0.5 + 0.5 * np.cos(8 * around))[None, :]
    dark = np.clip(1.0 - 0.9 * (0.5 + 0.5 * np.cos(8 * around)), 0.0, 1.0)[None, :] * np.ones_like(polar)
    colours = blend(blend(np.broadcast_to(_HAIR, (*polar.shape, 3)), _ROOT, 0.5 * dark), _TIP, 0.6 * shine)
    return Piece(lambda _: points, grid(_ROWS + 1, _COLUMNS, closed=True), colours.reshape(-1, 3), "hair")


_LOCKS: Final = (
    # From where it grows to where it falls, as directions from the middle of the head; width; lift of the middle.
    ((-0.30, 0.86, 0.40), (0.05, 0.74, 0.78), (0.44, 0.50, 0.86), 0.135, 0.16),
    ((-0.34, 0.84, 0.36), (0.30, 0.78, 0.66), (0.74, 0.36, 0.66), 0.15, 0.17),
    ((-0.30, 0.86, 0.30), (0.48, 0.78, 0.40), (0.92, 0.14, 0.34), 0.16, 0.16),
    ((-0.26, 0.86, 0.42), (-0.20, 0.74, 0.80), (0.12, 0.52, 0.96), 0.11, 0.15),
    ((-0.36, 0.84, 0.36), (-0.56, 0.70, 0.62), (-0.60, 0.36, 0.78), 0.125, 0.15),
    ((-0.38, 0.84, 0.28), (-0.72, 0.62, 0.42), (-0.90, 0.12, 0.40), 0.15, 0.15),
    ((-0.24, 0.90, 0.10), (-0.10, 1.02, 0.22), (0.16, 1.08, 0.34), 0.075, 0.26),
)


def locks() -> list[Piece]:
    """The fringe, swept from a parting, and one lock that will not lie down."""
    pieces: list[Piece] = []
    t = np.linspace(0.0, 1.0, _POINTS)
    for begin, middle, end, width, rise in _LOCKS:
        a, b, c = (np.array(point) for point in (begin, middle, end))
        rays = (1 - t)[:, None] ** 2 * a + (2 * t * (1 - t))[:, None] * b + (t**2)[:, None] * c
        length = np.linalg.norm(rays, axis=1, keepdims=True)
        on_head = surface(rays / length)
        out = normal_at(on_head)
        free = np.clip(length - 1.02, 0.0, None)  # beyond the head it stands in the air
        path: Points = on_head + out * (0.07 + rise * np.sin(np.pi * (0.15 + 0.8 * t))[:, None] * 0.8 + free)
        widths = width * np.sin(np.pi * (0.12 + 0.86 * t)) ** 0.7
        points, triangles = lock(path, widths, 0.5, out, _RING)
        share = np.repeat(t, _RING)
        colours: Colours = blend(
            blend(np.tile(_HAIR, (_POINTS * _RING, 1)), _ROOT, 0.5 * (1 - step(share, 0.0, 0.35))),
            _TIP,
            0.55 * step(share, 0.35, 1.0),
        )
        pieces.append(Piece(still(points), triangles, colours, "hair"))
    return pieces

"""Pip's mouth: two lines, above and below; lips, teeth and tongue are all made of them, so nothing ever sticks out.

The lines lie on the face at rest and close the mouth; each weight bends them. Teeth and tongue fill fixed shares of
whatever opens between the lines.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edge.client.models.pip_face import SKIN, on_skin
from edge.client.models.surfaces import Colours, Mask, Piece, Points, Weights, blend, grid, pick, rgb, step

__all__ = ["inside", "lower_lip", "teeth", "tongue", "upper_lip"]

_MOUTH_Y: Final = -0.475
_HALF_WIDTH: Final = 0.29
_COLUMNS: Final = 13
_U: Final = np.sin(np.linspace(-np.pi / 2, np.pi / 2, _COLUMNS))
"""Places along a line, from the character's right corner to the left one; closer together at the corners."""
_MIDDLE: Final = 1.0 - _U * _U
_LIP: Final = rgb("#e07b70")
_LIP_DARK: Final = rgb("#a8404a")
_DEEP: Final = rgb("#3a0d18")
_THROAT: Final = rgb("#1c060d")
_TOOTH: Final = rgb("#fffaf0")
_TONGUE: Final = rgb("#d9686a")
_SIDES: Final = (1, -1)
_LIT: Final = {"jawOpen": 0.4}


def _corner(side: int) -> Mask:
    return np.asarray(np.clip(side * _U, 0.0, 1.0) ** 1.6)


def _half(side: int) -> Mask:
    """One half of the mouth's middle, with a soft end."""
    return np.asarray(_MIDDLE * step(side * _U, -0.35, 0.35))


def _lines(w: Weights) -> tuple[Points, Points]:
    """The upper and the lower line: float64[n, 2] each."""
    x = _HALF_WIDTH * _U
    y = _MOUTH_Y + 0.05 * _U * _U
    upper, lower = np.stack([x, y], -1), np.stack([x, y], -1)
    both = (upper, lower)
    opened, closed = w.get("jawOpen", 0.0), w.get("mouthClose", 0.0)
    funnel, pucker = w.get("mouthFunnel", 0.0), w.get("mouthPucker", 0.0)
    bow = _MIDDLE**0.7
    upper[:, 1] += bow * (0.03 * opened - 0.08 * closed + 0.05 * funnel + 0.012 * pucker)
    lower[:, 1] += bow * (-0.33 * opened + 0.28 * closed - 0.06 * funnel - 0.012 * pucker)
    for line in both:
        line[:, 0] += x * (-0.14 * opened - 0.36 * funnel - 0.5 * pucker)
        line[:, 1] -= 0.07 * opened * (1.0 - _MIDDLE)
        line[:, 0] += 0.09 * (w.get("mouthLeft", 0.0) - w.get("mouthRight", 0.0))
        line[:, 0] += 0.035 * (w.get("jawLeft", 0.0) - w.get("jawRight", 0.0))
        line[:, 1] += 0.035 * w.get("mouthShrugLower", 0.0) * _MIDDLE
    lower[:, 0] += 0.035 * _MIDDLE * (w.get("jawLeft", 0.0) - w.get("jawRight", 0.0))
    upper[:, 1] += 0.03 * w.get("mouthShrugUpper", 0.0) * _MIDDLE
    lower[:, 1] += 0.012 * w.get("mouthShrugUpper", 0.0) * _MIDDLE
    for side in _SIDES:
        corner = _corner(side)
        smile, frown = pick(w, "mouthSmile", side), pick(w, "mouthFrown", side)
        dimple, stretch = pick(w, "mouthDimple", side), pick(w, "mouthStretch", side)
        for line in both:
            line[:, 0] += side * corner * (0.075 * smile + 0.05 * dimple + 0.09 * stretch - 0.01 * frown)
            line[:, 1] += corner * (0.1 * smile + 0.02 * dimple - 0.03 * stretch - 0.09 * frown)
        lower[:, 1] -= 0.02 * smile * _half(side)
        upper[:, 1] += 0.075 * pick(w, "mouthUpperUp", side) * _half(side)
        lower[:, 1] -= 0.085 * pick(w, "mouthLowerDown", side) * _half(side)
    return upper, lower


def _forward(w: Weights) -> Mask:
    """How far the lips stand out."""
    push = 0.06 * w.get("mouthFunnel", 0.0) + 0.085 * w.get("mouthPucker", 0.0) + 0.03 * w.get("jawForward", 0.0)
    return np.asarray(push * _MIDDLE**0.5)


def _thickness(w: Weights, upper: bool) -> Mask:
    """Of a lip, along its line."""
    rolled = w.get("mouthRollUpper" if upper else "mouthRollLower", 0.0)
    thick = (0.042 if upper else 0.056) * (1.0 - 0.75 * rolled + 0.35 * w.get("mouthPucker", 0.0))
    pressed = sum(pick(w, "mouthPress", side) * step(side * _U, -0.35, 0.35) for side in _SIDES)
    profile = _MIDDLE**0.55 * (1.0 - (0.16 * np.exp(-((_U / 0.2) ** 2)) if upper else 0.0))
    return np.asarray(thick * profile * (1.0 - 0.45 * pressed) + 0.004)


def _lip(upper: bool) -> Piece:
    rows = np.array([0.0, 0.5, 1.0])
    heights = np.array([0.016, 0.044, 0.004])
    sign = 1.0 if upper else -1.0

    def shape(w: Weights) -> Points:
        line = _lines(w)[0 if upper else 1]
        thick = _thickness(w, upper)
        y = line[:, 1] + sign * rows[:, None] * thick
        plump = 0.5 + 0.5 * _MIDDLE**0.5
        height = heights[:, None] * plump + _forward(w) * np.array([1.0, 1.0, 0.25])[:, None]
        return on_skin(np.broadcast_to(line[:, 0], y.shape), y, height, w).reshape(-1, 3)

    share = np.repeat(np.array([0.75, 0.0, 1.0]), _COLUMNS)
    colours = blend(np.tile(_LIP, (3 * _COLUMNS, 1)), _LIP_DARK, np.where(share == 0.75, 0.8, 0.0))
    colours = blend(colours, SKIN, np.where(share == 1.0, 0.75, 0.0))
    triangles = grid(3, _COLUMNS)
    return Piece(shape, triangles[:, ::-1] if upper else triangles, colours, "skin", _LIT)


def upper_lip() -> Piece:
    """The upper lip."""
    return _lip(upper=True)


def lower_lip() -> Piece:
    """The lower lip."""
    return _lip(upper=False)


def _filled(shares: Points, height: Mask | float, inset: float, w: Weights) -> Points:
    """A net between the lines: row i lies at `shares[i]` of the way from the upper to the lower one."""
    upper, lower = _lines(w)
    line = upper + shares[..., None] * (lower - upper)
    middle = (upper + lower).mean(axis=0)
    x = middle[0] + (line[..., 0] - middle[0]) * inset
    return on_skin(x, line[..., 1], height + 0.4 * _forward(w), w).reshape(-1, 3)


def inside() -> Piece:
    """The dark behind the lips, darkest in the middle."""
    shares = np.repeat(np.array([0.0, 1.0])[:, None], _COLUMNS, axis=1)
    colours: Colours = np.repeat(np.stack([_THROAT, _DEEP]), _COLUMNS, axis=0)
    return Piece(lambda w: _filled(shares, 0.006, 1.0, w), grid(2, _COLUMNS), colours, "skin", _LIT)


def teeth() -> Piece:
    """The upper row; its edge is round, and it stays clear of the corners."""
    edge = 0.34 * _MIDDLE**0.35
    shares = np.stack([np.zeros(_COLUMNS), edge])
    return Piece(
        lambda w: _filled(shares, 0.012, 0.9, w), grid(2, _COLUMNS), np.tile(_TOOTH, (2 * _COLUMNS, 1)), "skin", _LIT
    )


def tongue() -> Piece:
    """A hill on the lower line; it comes out over the lip."""
    hill = _MIDDLE**1.5
    shares = np.stack([1.0 - 0.46 * hill, 1.0 - 0.2 * hill, np.ones(_COLUMNS)])
    heights = np.array([0.009, 0.011, 0.009])[:, None]

    def shape(w: Weights) -> Points:
        points = _filled(shares, heights, 0.72, w).reshape(3, _COLUMNS, 3)
        out = w.get("tongueOut", 0.0) * _MIDDLE**0.6
        points[1, :, 1] -= 0.03 * out
        points[1, :, 2] += 0.09 * out
        points[2, :, 1] -= 0.13 * out
        points[2, :, 2] += 0.085 * out
        return points.reshape(-1, 3)

    colours = np.repeat(np.stack([_TONGUE * 0.75, _TONGUE, _TONGUE * 0.85]), _COLUMNS, axis=0)
    return Piece(shape, grid(3, _COLUMNS), colours, "skin", _LIT)

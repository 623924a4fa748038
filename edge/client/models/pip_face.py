"""Pip's head: the skin, and what the weights do to it. Lengths in head units: a head is about two units high."""

from __future__ import annotations

from typing import Final

import numpy as np

from edge.client.models.surfaces import (
    Colours,
    Mask,
    Piece,
    Points,
    Weights,
    blend,
    bump,
    ellipsoid,
    grid,
    pick,
    rgb,
    step,
    without,
)

__all__ = ["BLUSH", "SKIN", "ear", "face_z", "head", "normal_at", "nose", "on_skin", "skin_move", "surface"]

SKIN: Final = rgb("#ffc9a3")
BLUSH: Final = rgb("#f27a6c")
_SHADE: Final = rgb("#dd9478")

_RADII: Final = np.array([0.85, 0.98, 0.82])
_ROUNDNESS: Final = 2.35
"""Exponent of the superellipsoid: 2 is an egg, more is a box."""
_ROWS: Final = 20
_COLUMNS: Final = 32
_SIDES: Final = (1, -1)


def surface(directions: Points) -> Points:
    """Where rays from the middle of the head leave it, at rest."""
    reach = (np.abs(directions / _RADII) ** _ROUNDNESS).sum(-1) ** (-1 / _ROUNDNESS)
    points = directions * reach[..., None]
    points[..., 0] *= 1.0 - 0.13 * step(points[..., 1], -0.35, -1.0)  # a chin
    points[..., 2] += _relief(points) * step(points[..., 2], 0.0, 0.45)
    return np.asarray(points)


def _relief(points: Points) -> Mask:
    """How far the features stand out of the egg."""
    cheeks = 0.045 * sum(bump(points, side * 0.47, -0.36, 0.2) for side in _SIDES)
    return np.asarray(cheeks + 0.05 * bump(points, 0.0, -0.82, 0.2) + 0.03 * bump(points, 0.0, -0.2, 0.16))


def face_z(x: Mask, y: Mask) -> Mask:
    """How far in front the skin lies at rest."""
    wide = np.asarray(x) / (1.0 - 0.13 * step(y, -0.35, -1.0))
    inside = 1.0 - np.abs(wide / _RADII[0]) ** _ROUNDNESS - np.abs(np.asarray(y) / _RADII[1]) ** _ROUNDNESS
    z = _RADII[2] * np.maximum(inside, 1e-3) ** (1 / _ROUNDNESS)
    points = np.stack([wide, np.asarray(y), z], -1)
    points[..., 0] = x
    return np.asarray(z + _relief(points) * step(z, 0.0, 0.45))


def normal_at(points: Points) -> Points:
    """The direction out of the head there."""
    slope = np.sign(points) * np.abs(points / _RADII) ** (_ROUNDNESS - 1) / _RADII
    return np.asarray(slope / np.linalg.norm(slope, axis=-1, keepdims=True))


def skin_move(points: Points, w: Weights) -> Points:
    """How the weights move the skin: float64[n, 3], linear in each weight."""
    front = step(points[..., 2], -0.25, 0.4)
    jaw = front * step(points[..., 1], -0.34, -0.8)
    move = np.zeros_like(points)
    opened = w.get("jawOpen", 0.0)
    move[..., 1] -= 0.15 * opened * jaw
    move[..., 2] -= 0.03 * opened * jaw
    move[..., 0] += 0.06 * (w.get("jawLeft", 0.0) - w.get("jawRight", 0.0)) * jaw
    move[..., 2] += 0.06 * w.get("jawForward", 0.0) * jaw
    move[..., 1] += 0.03 * w.get("mouthShrugLower", 0.0) * front * bump(points, 0.0, -0.8, 0.14)
    for side in _SIDES:
        smile, squint = pick(w, "mouthSmile", side), pick(w, "cheekSquint", side)
        apple = front * bump(points, side * 0.45, -0.3, 0.15)
        move[..., 1] += (0.04 * smile + 0.05 * squint) * apple
        move[..., 2] += (0.04 * smile + 0.04 * squint) * apple
        puffed = w.get("cheekPuff", 0.0) * front * bump(points, side * 0.5, -0.45, 0.19)
        move[..., 0] += 0.1 * side * puffed
        move[..., 2] += 0.09 * puffed
        move[..., 1] += 0.03 * pick(w, "noseSneer", side) * front * bump(points, side * 0.16, -0.16, 0.09)
        frown = front * bump(points, side * 0.4, -0.62, 0.13)
        move[..., 1] -= 0.02 * pick(w, "mouthFrown", side) * frown
        move[..., 0] += 0.03 * side * pick(w, "mouthDimple", side) * front * bump(points, side * 0.42, -0.46, 0.1)
    return move


def on_skin(x: Mask, y: Mask, height: Mask | float, w: Weights) -> Points:
    """Points of the face at x, y, this high above the skin as the weights have moved it."""
    target = np.stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)], -1)
    rest = target.copy()
    moved = np.zeros((*target.shape[:-1], 3))
    for _ in range(6):
        points = np.concatenate([rest, face_z(rest[..., 0], rest[..., 1])[..., None]], -1)
        moved = skin_move(points, w)
        rest = target - moved[..., :2]
    z = face_z(rest[..., 0], rest[..., 1]) + moved[..., 2] + height
    return np.concatenate([target, z[..., None]], -1)


def _skin_colours(points: Points) -> Colours:
    colours = np.tile(SKIN, (len(points), 1))
    front = step(points[:, 2], 0.1, 0.5)
    for side in _SIDES:
        colours = blend(colours, BLUSH, 0.55 * front * bump(points, side * 0.5, -0.3, 0.13))
        colours = blend(colours, _SHADE, 0.35 * front * bump(points, side * 0.33, 0.02, 0.17))
    colours = blend(colours, _SHADE, 0.75 * step(points[:, 1], -0.78, -1.0))
    # What lies under the hair is in its shadow.
    return blend(colours, _SHADE, 0.45 * step(points[:, 1], 0.42, 0.62))


def head() -> Piece:
    """The skin of the head."""
    polar, around = np.meshgrid(
        np.linspace(0.0, np.pi, _ROWS), np.linspace(0.0, 2 * np.pi, _COLUMNS, endpoint=False), indexing="ij"
    )
    rays = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1)
    rest = surface(rays.reshape(-1, 3))
    whole = Piece(lambda w: rest + skin_move(rest, w), grid(_ROWS, _COLUMNS, closed=True), _skin_colours(rest), "skin")
    under_hair = (rest[:, 2] < -0.05) & (rest[:, 1] > -0.55) | (rest[:, 1] > 0.72)
    return without(whole, under_hair)


def nose() -> Piece:
    """A button."""
    rest, triangles = ellipsoid(
        (0.0, -0.17, float(face_z(np.array(0.0), np.array(-0.17))) + 0.015), (0.085, 0.068, 0.1), rows=7, columns=12
    )
    colours = blend(np.tile(SKIN, (len(rest), 1)), BLUSH, 0.3 * step(rest[:, 2], 0.85, 0.97))

    def shape(w: Weights) -> Points:
        points = rest.copy()
        for side in _SIDES:
            share = pick(w, "noseSneer", side) * step(side * points[:, 0], -0.03, 0.07)
            points[:, 1] += 0.03 * share
            points[:, 0] += 0.02 * side * share
        return points

    return Piece(shape, triangles, colours, "skin")


def ear(side: int) -> Piece:
    """An ear."""
    rest, triangles = ellipsoid((side * 0.87, -0.1, -0.06), (0.09, 0.17, 0.12), rows=6, columns=8)
    colours = blend(np.tile(SKIN, (len(rest), 1)), BLUSH, 0.3 * step(rest[:, 2], 0.0, 0.05))
    return Piece(lambda _: rest, triangles, colours, "skin")

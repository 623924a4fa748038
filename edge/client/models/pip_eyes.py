"""Pip's eyes and brows. Balls turn with the joints; lids slide over them as parts of slightly larger balls."""

from __future__ import annotations

from typing import Final

import numpy as np

from edge.client.models.pip_face import SKIN, face_z, on_skin
from edge.client.models.surfaces import Mask, Piece, Points, Weights, blend, grid, pick, rgb, step

__all__ = ["EYE", "ball", "brow", "glint", "lids"]

EYE_X: Final = 0.325
EYE_Y: Final = 0.0
RADIUS: Final = 0.26
_STANDS_OUT: Final = 0.07
EYE: Final = (EYE_X, EYE_Y, float(face_z(np.array(EYE_X), np.array(EYE_Y))) + _STANDS_OUT - RADIUS)
"""The middle of the left eye; the right one mirrors it."""

_WHITE: Final = rgb("#fdfaf5")
_RIM: Final = rgb("#123f4a")
_IRIS: Final = rgb("#2c9a96")
_IRIS_LIGHT: Final = rgb("#8fe3cc")
_PUPIL: Final = rgb("#0a1418")
_LASH: Final = rgb("#2b1a2c")
_LID: Final = rgb("#f0b090")
_BROW: Final = rgb("#56307e")

_IRIS_REACH: Final = 0.54
_PUPIL_REACH: Final = 0.28
_BALL_REACH: Final = 1.2
_AROUND: Final = 18
_LID_OVER: Final = 0.036
_LID_COLUMNS: Final = 10


def ball() -> Piece:
    """An eyeball's front, about its own middle; its rings are the pupil, the iris and the white."""
    reaches = np.array(
        [
            0.0,
            _PUPIL_REACH,
            _PUPIL_REACH + 0.004,
            0.4,
            _IRIS_REACH - 0.05,
            _IRIS_REACH,
            _IRIS_REACH + 0.004,
            0.8,
            _BALL_REACH,
        ]
    )
    polar, around = np.meshgrid(reaches, np.linspace(0.0, 2 * np.pi, _AROUND, endpoint=False), indexing="ij")
    points = RADIUS * np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)
    low = step(-np.sin(around), -0.2, 1.0)
    iris = blend(np.broadcast_to(_IRIS, (*polar.shape, 3)), _IRIS_LIGHT, 0.85 * low)
    iris = blend(iris, _RIM, step(polar, 0.45, 0.53))
    colours = np.where((polar <= _PUPIL_REACH)[..., None], _PUPIL, iris)
    colours = np.where((polar > _IRIS_REACH)[..., None], _WHITE, colours)
    rest = points.reshape(-1, 3)
    return Piece(lambda _: rest, grid(len(reaches), _AROUND, closed=True), colours.reshape(-1, 3), "wet")


def _middle(side: int) -> Points:
    return np.array([side * EYE[0], EYE[1], EYE[2]])


def glint(side: int) -> Piece:
    """Two lights that stay where the lamp is while the eye turns."""
    parts: list[Points] = []
    triangles: list[list[list[int]]] = []
    for x, y, size in ((-0.052, 0.062, 0.03), (0.05, -0.05, 0.014)):
        around = np.linspace(0.0, 2 * np.pi, 10, endpoint=False)
        px, py = x + size * np.cos(around), y + size * np.sin(around)
        px, py = np.append(px, x), np.append(py, y)
        pz = np.sqrt((RADIUS + 0.006) ** 2 - px * px - py * py)
        first = 11 * len(parts)
        parts.append(np.stack([px, py, pz], -1) + _middle(side))
        triangles.append([[first + 10, first + i, first + (i + 1) % 10] for i in range(10)])
    rest = np.concatenate(parts)
    return Piece(lambda _: rest, np.array(triangles, dtype=np.int64).reshape(-1, 3), np.ones((len(rest), 3)), "light")


def _lid_points(side: int, radius: float, begin: float, end: Mask, edge: float) -> Points:
    """Part of a ball between two hinge angles, from the inner corner to the outer; the last rows are a raised edge.

    The right one mirrors the left one, vertex by vertex, so that the file holds what moves them only once.
    """
    across = np.linspace(-1.2, 1.2, _LID_COLUMNS)
    rows = [begin + (end - begin) * share for share in (0.0, 0.45, 0.8)]
    raised = np.cos(across) ** 0.5
    rows += [end - np.sign(end - begin) * 0.12 * raised, end - np.sign(end - begin) * 0.118 * raised, end]
    radii = np.array([radius, radius, radius, radius + 0.002, radius + edge, radius + edge * 0.8])
    hinge = np.stack([np.broadcast_to(row, across.shape) for row in rows])
    x = side * np.sin(across) * radii[:, None]
    ring = np.cos(across) * radii[:, None]
    points = np.stack([np.broadcast_to(x, hinge.shape), ring * np.sin(hinge), ring * np.cos(hinge)], -1)
    return np.asarray((points + _middle(side)).reshape(-1, 3))


def lids(side: int) -> tuple[Piece, Piece]:
    """The upper lid with its lashes, and the lower one."""
    outer = np.linspace(-1.0, 1.0, _LID_COLUMNS)  # 1 at the outer corner

    def upper(w: Weights) -> Points:
        blink, wide = pick(w, "eyeBlink", side), pick(w, "eyeWide", side)
        angle = 0.6 - 0.96 * blink + 0.34 * wide - 0.16 * pick(w, "eyeSquint", side)
        angle += (
            0.2 * pick(w, "eyeLookUp", side) - 0.34 * pick(w, "eyeLookDown", side) - 0.12 * pick(w, "browDown", side)
        )
        tilt = 0.05 * outer * (1.0 - blink)
        return _lid_points(side, RADIUS + _LID_OVER, 1.75, angle - tilt, 0.018)

    def lower(w: Weights) -> Points:
        angle = -0.94 + 0.56 * pick(w, "eyeBlink", side) + 0.5 * pick(w, "eyeSquint", side)
        angle += 0.2 * pick(w, "cheekSquint", side) + 0.14 * pick(w, "mouthSmile", side)
        angle -= 0.1 * pick(w, "eyeWide", side) + 0.12 * pick(w, "eyeLookDown", side)
        angle += 0.03 * (pick(w, "eyeLookOut", side) + pick(w, "eyeLookIn", side))
        return _lid_points(side, RADIUS + _LID_OVER - 0.01, -1.75, np.broadcast_to(angle, outer.shape), 0.002)

    columns = _LID_COLUMNS
    top = np.concatenate(
        [
            np.tile(SKIN, (columns, 1)),
            np.tile(blend(SKIN, _LID, 0.6), (columns, 1)),
            np.tile(_LID, (2 * columns, 1)),
            np.tile(_LASH, (2 * columns, 1)),
        ]
    )
    bottom = np.concatenate([np.tile(SKIN, (3 * columns, 1)), np.tile(_LID, (3 * columns, 1))])
    triangles = grid(6, columns)[:, ::side]
    lit = {f"eyeBlink{'Left' if side > 0 else 'Right'}": 0.7}
    return Piece(upper, triangles, top, "skin", lit), Piece(lower, triangles[:, ::-1], bottom, "skin", lit)


def brow(side: int) -> Piece:
    """A brow, thick inside and pointed outside."""
    along = np.linspace(0.0, 1.0, 8)
    around = np.linspace(0.0, 2 * np.pi, 6, endpoint=False)
    width = 0.036 * (np.sin(np.pi * (0.12 + 0.86 * along)) ** 0.5) * (1.0 - 0.35 * along)

    def shape(w: Weights) -> Points:
        inner, outer = (1.0 - along) ** 1.4, step(along, 0.25, 1.0)
        down = pick(w, "browDown", side)
        x = 0.15 + 0.36 * along - 0.035 * down * (1.0 - along)
        y = 0.36 + 0.07 * np.sin(np.pi * along**0.9) - 0.02 * along
        y = y + 0.075 * w.get("browInnerUp", 0.0) * inner + 0.07 * pick(w, "browOuterUp", side) * outer
        y = y - down * (0.075 * (1.0 - along) + 0.035) + 0.015 * pick(w, "eyeWide", side)
        spine = on_skin(side * x, y, 0.012, {})
        ring = np.stack([0.12 * np.cos(around), np.sin(around), 0.7 * np.cos(around)], -1)
        return np.asarray(spine[:, None] + width[:, None, None] * ring[None]).reshape(-1, 3)

    triangles = grid(8, 6, closed=True)
    # Whichever way the ring runs, it must face out.
    return Piece(shape, triangles if side > 0 else triangles[:, ::-1], np.tile(_BROW, (48, 1)), "matt")

"""Mira's eyes: whites, irises that turn on eyeballs, lids that close over them, lashes and their light."""

# Rows of coordinates read better unbroken; arrays add to pairs; a layer calls its shape at once, inside its loop.
# ruff: noqa: E501, RUF005
from __future__ import annotations

from typing import Any, Final

import numpy as np

from edge.client.puppets.kit import Curves, Points, Puppet, Weights, ellipse, linear, radial, ribbon, smooth
from edge.client.puppets.mira_face import CX, SIDES, flesh, mirror, pick

__all__ = ["EYE_GAIN", "EYE_X", "EYE_Y", "EYE_Z", "add_eyes"]

EYE_X: Final = 60.0
EYE_Y: Final = 424.0
EYE_Z: Final = 46.0
"""Depth of the middle of an eyeball."""

_UPPER = np.array([(-33, 9), (-24, -6), (-7, -18.5), (13, -20.5), (29, -13), (39, -3)], dtype=float)
_LOWER = np.array([(39, -3), (30, 9.5), (11, 16.8), (-9, 16.6), (-25, 13.2), (-33, 9)], dtype=float)
_SHUT = np.array([(-32, 10), (-22, 15), (-7, 18.5), (12, 18.5), (28, 12), (40, 1)], dtype=float)
_BELLY = np.array([0, 0.55, 0.95, 1, 0.7, 0.1])
LASH = "#2a0f16"
REACH: Final = 13.0
"""How far a weight of 1, or the joint at 30 degrees, moves the iris."""
_IRIS_BEFORE: Final = 40.0
"""How far the iris lies before the middle of the eyeball."""
EYE_GAIN: Final = round(float(np.arcsin(REACH / _IRIS_BEFORE)) / 0.5236, 3)
"""Makes the joints reach as far as the weights."""
_AXIS_SHARE: Final = 0.5 / 0.5236
"""A joint axis counts as 1 at half a radian, a weight at 30 degrees."""


def _down(w: Weights, side: int) -> float:
    joint = "leftEye" if side > 0 else "rightEye"
    return pick(w, "eyeLookDown", side) + w[f"{joint}.pitch+"] * _AXIS_SHARE


def _up(w: Weights, side: int) -> float:
    joint = "leftEye" if side > 0 else "rightEye"
    return pick(w, "eyeLookUp", side) + w[f"{joint}.pitch-"] * _AXIS_SHARE


def _upper(w: Weights, side: int) -> Points:
    p = _UPPER.copy()
    p[:, 1] += _BELLY * (7 * _down(w, side) - 4 * _up(w, side) - 7 * pick(w, "eyeWide", side))
    p[:, 1] += _BELLY * (7 * pick(w, "eyeSquint", side) + 2.5 * pick(w, "browDown", side))
    return np.asarray(p + (_shut(w, side) - p) * min(pick(w, "eyeBlink", side), 1.0))


def _shut(w: Weights, side: int) -> Points:
    """Shut lids hang in an arc; a raised cheek turns it over: the eyes of a laugh."""
    p = _SHUT.copy()
    p[:, 1] -= _BELLY * 21 * pick(w, "cheekSquint", side) - 3 * pick(w, "cheekSquint", side)
    return p


def _lower(w: Weights, side: int) -> Points:
    p = _LOWER.copy()
    lift = 8 * pick(w, "eyeSquint", side) + 6 * pick(w, "cheekSquint", side) + 2 * pick(w, "mouthSmile", side)
    p[:, 1] -= _BELLY[::-1] * (lift - 3 * pick(w, "eyeWide", side) - 3 * _down(w, side))
    shut = _shut(w, side)[::-1] + (0, 0.6)
    return np.asarray(p + (shut - p) * min(pick(w, "eyeBlink", side), 1.0))


def _place(p: Points, side: int) -> Points:
    return mirror(p + (EYE_X, EYE_Y), side)


def _opening(w: Weights, side: int) -> Curves:
    both = np.concatenate([_upper(w, side), _lower(w, side)[1:-1]])
    return [smooth(_place(both, side), corners=(0, 5))]


def _gaze(w: Weights, side: int, reach: float = 1.0) -> Points:
    """How far the weights move the iris, where they exceed the turn of the eye's joint."""
    x = (pick(w, "eyeLookOut", side) - pick(w, "eyeLookIn", side)) * side
    y = pick(w, "eyeLookDown", side) - pick(w, "eyeLookUp", side)
    return np.array([x, y]) * (REACH * reach)


def add_eyes(puppet: Puppet) -> None:
    """Both eyes."""
    for side, name in SIDES:
        _ball(puppet, side, name)
        _iris(puppet, side, name)
        _lids(puppet, side, name)


def _ball(puppet: Puppet, side: int, name: str) -> None:
    x = CX + side * EYE_X
    puppet.layer(
        f"eye.{name}",
        lambda w: _opening(w, side),
        lift=4,
        fill=radial(x, EYE_Y + 6, 42, (0, "#fffaf2"), (0.6, "#f6ebe2"), (1, "#d9bfb6")),
    )


def _iris(puppet: Puppet, side: int, name: str) -> None:
    x, y = CX + side * (EYE_X + 1), EYE_Y - 1.0
    bone, clip = f"eye{name}", [f"eye.{name}"]
    common: dict[str, Any] = {"bone": bone, "depth": EYE_Z + _IRIS_BEFORE, "clip": clip}

    def disc(dx: float, dy: float, rx: float, ry: float, reach: float = 1.0, tilt: float = 0.0) -> Any:
        return lambda w: [ellipse(x + dx, y + dy, rx, ry, tilt=tilt) + _gaze(w, side, reach)]

    puppet.layer(
        f"iris.{name}",
        disc(0, 0, 19.8, 21.8),
        **common,
        stroke=("#0d2a33", 2.6),
        fill=linear(x, y - 22, x, y + 22, (0, "#0c2f3c"), (0.35, "#17616a"), (0.68, "#2ba191"), (1, "#a8efc0")),
    )
    puppet.layer(
        f"iris.glow.{name}",
        disc(0, 10, 14.5, 11),
        **common,
        fill=radial(x, y + 13, 15, (0, "#f4ffd0e6"), (0.5, "#b8f3c088"), (1, "#7fe0c000"), squash=0.75),
    )
    rays = []
    for k in range(12):
        a = 2 * np.pi * k / 12 + 0.1
        inner, outer = np.array([np.cos(a), np.sin(a)]) * 9, np.array([np.cos(a), np.sin(a)]) * (17 + (k % 3))
        rays.append(ribbon(np.array([inner, (inner + outer) / 2, outer]) + (x, y), [0.2, 1.5, 0.2], per=1))
    puppet.layer(
        f"iris.rays.{name}", lambda w: [ray + _gaze(w, side) for ray in rays], **common, fill="#0b3b45", alpha=0.4
    )
    puppet.layer(f"pupil.{name}", disc(0, -1, 9, 10.5), **common, fill=radial(x, y - 1, 10.5, (0, "#04090f"), (0.8, "#071722"),
                 (1, "#0b2630")))  # fmt: skip

    def shadow(w: Weights) -> Curves:
        u = _upper(w, side)
        both = np.concatenate([u + (0, -6), (u * (0.94, 1) + (0, 9))[::-1]])
        return [smooth(_place(both, side), corners=(0, 5, 6, 11))]

    puppet.layer(f"eye.shadow.{name}", shadow, lift=6, clip=clip, blend="multiply", fill="#7d5a78", alpha=0.5)
    puppet.layer(f"glint.{name}", disc(-7.5, -8.5, 6.3, 7.2, 0.8, 0.35), **common, fill="#ffffff", alpha=0.96)
    puppet.layer(f"glint.small.{name}", disc(8.5, 9.5, 3, 3.2, 0.8), **common, fill="#fff6dc", alpha=0.85)


def _lids(puppet: Puppet, side: int, name: str) -> None:
    def crease(w: Weights) -> Points:
        u = _upper(w, side)
        open_line: Points = _UPPER + (0, -9.5)
        p: Points = open_line + 0.38 * (u - _UPPER)
        p[0] += (5, 4)
        p[-1] += (4, 2)
        return p

    def lid(w: Weights) -> Curves:
        both = np.concatenate([crease(w), _upper(w, side)[::-1]])
        return [smooth(_place(both, side), corners=(0, 5, 6, 11))]

    puppet.layer(
        f"lid.{name}",
        lid,
        lift=6,
        fill=linear(CX, EYE_Y - 34, CX, EYE_Y + 20, (0, "#d08a6c66"), (0.35, "#d9936fcc"), (1, "#efb38f")),
    )
    puppet.layer(
        f"crease.{name}",
        lambda w: [ribbon(_place(crease(w), side), [0, 1.4, 2.2, 2.4, 2, 0])],
        lift=8,
        fill="#8a4238",
        alpha=0.85,
    )

    def lash(w: Weights) -> Curves:
        u = _upper(w, side)
        wing = u[-1] + np.array([8, -5 + 5 * pick(w, "eyeBlink", side)])
        line = np.concatenate([u, [wing]])
        return [ribbon(_place(line - (0, 1.2), side), [1.2, 4.2, 6.4, 7.2, 7.4, 5.6, 0], per=2)]

    puppet.layer(f"lash.{name}", lash, lift=10, fill=LASH)

    def flicks(w: Weights) -> Curves:
        u, shut = _upper(w, side), pick(w, "eyeBlink", side)
        out = []
        for k, (share, dx, dy) in enumerate(((0.45, 4, -10), (0.95, 9, -9), (0.55, 7, -11))):
            a = u[3 if k == 0 else 4] + (u[4 if k == 0 else 5] - u[3 if k == 0 else 4]) * share
            tip = a + np.array([dx, dy + (6 + 8) * shut])
            out.append(ribbon(_place(np.array([a, (a + tip) / 2 + (1.5, 1.5 - 1.5 * shut), tip]), side), [4.6, 3, 0]))
        return out

    puppet.layer(f"lash.flicks.{name}", flicks, lift=11, fill=LASH)

    def under(w: Weights) -> Curves:
        low = _lower(w, side)
        line = _place(low[:5] + (0, 0.8), side)
        out = [ribbon(line, [1.6, 2.6, 1.8, 1.2, 0])]
        for share, dx, dy in ((0.35, 4, 5), (0.85, 3, 6)):
            a = low[0] + (low[1] - low[0]) * share + (0, 1)
            out.append(ribbon(_place(np.array([a, a + (dx * 0.6, dy * 0.4), a + (dx, dy)]), side), [2, 1.4, 0]))
        return out

    puppet.layer(f"lash.lower.{name}", under, lift=8, fill="#5d2626")
    bag = np.array([(EYE_X - 22, EYE_Y + 27), (EYE_X - 2, EYE_Y + 32), (EYE_X + 20, EYE_Y + 29)])
    puppet.layer(
        f"bag.{name}",
        lambda w: [ribbon(flesh(mirror(bag, side), w), [0, 2.2, 0])],
        lift=8,
        fill="#b5654f",
        alpha=0.06,
        fades=[(f"eyeSquint{name}", 0.5), (f"cheekSquint{name}", 0.5), (f"mouthSmile{name}", 0.15)],
    )

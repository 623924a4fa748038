"""Mira's mouth: two lips around an opening, with teeth, a tongue and the dark behind them."""

# Rows of coordinates read better unbroken; arrays add to pairs; a layer calls its shape at once, inside its loop.
# ruff: noqa: E501, RUF005
from __future__ import annotations

from typing import Any, Final

import numpy as np

from edge.client.puppets.kit import Curves, Points, Puppet, Weights, ellipse, linear, radial, ribbon, smooth
from edge.client.puppets.mira_face import CX, SIDES, flesh, pick

__all__ = ["MOUTH_Y", "add_mouth"]

MOUTH_Y: Final = 526.0
_AT: Final = np.array([-1, -0.72, -0.36, 0, 0.36, 0.72, 1.0])
"""Where the points of each lip line lie between the corners."""
_ROUND: Final = (1 - np.abs(_AT) ** 2.1) ** 0.54
"""How an opening bulges between the corners."""
_ARC: Final = 1 - np.abs(_AT) ** 2.7
"""How a curved line bulges."""
_MIDDLE: Final = np.exp(-((_AT / 0.5) ** 2))


def _both(w: Weights, name: str, at: Points) -> Points:
    """A weight with two sides, blended across the mouth."""
    share = np.clip(0.5 + at, 0, 1)
    return np.asarray(w[name + "Right"] * (1 - share) + w[name + "Left"] * share)


def _corner(w: Weights, side: int) -> Points:
    smile, frown = pick(w, "mouthSmile", side), pick(w, "mouthFrown", side)
    stretch, dimple, press = pick(w, "mouthStretch", side), pick(w, "mouthDimple", side), pick(w, "mouthPress", side)
    jaw = w["lips.open"]
    x = 38 + 16 * smile - 2 * frown + 20 * stretch + 7 * dimple + 2 * press
    x += -22 * w["mouthPucker"] - 13 * w["mouthFunnel"] - 4 * jaw - 4 * jaw * (w["mouthFunnel"] + w["mouthPucker"])
    x += 2 * w["mouthRollLower"] + 2 * w["mouthRollUpper"]
    y = -9.5 - 14 * smile + 13 * frown + 3.5 * stretch - 2 * dimple + 14 * jaw + 14 * w["lips.shut"]
    y += 6 * w["mouthPucker"] + 5 * w["mouthFunnel"]
    x = x + side * 17 * (w["mouthLeft"] - w["mouthRight"]) + side * 3 * (w["jawLeft"] - w["jawRight"])
    return np.array([CX + side * x, MOUTH_Y + y])


def _lips(w: Weights) -> tuple[Points, Points, Points, Points]:
    """Upper outer, upper inner, lower inner and lower outer line, from the picture's left to its right."""
    left, right = _corner(w, -1), _corner(w, 1)
    base = left + (right - left) * ((_AT + 1) / 2)[:, None]
    shift = 12 * (w["mouthLeft"] - w["mouthRight"]) * (1 - np.abs(_AT))
    smile, frown = _both(w, "mouthSmile", _AT), _both(w, "mouthFrown", _AT)
    raised, lowered, press = (_both(w, name, _AT) for name in ("mouthUpperUp", "mouthLowerDown", "mouthPress"))
    close, funnel, pucker, roll = w["mouthClose"], w["mouthFunnel"], w["mouthPucker"], w["mouthRollLower"]
    open_jaw = w["lips.open"] * (1 - 0.35 * w["mouthPressLeft"]) * (1 - 0.35 * w["mouthPressRight"])
    # The line between the lips: corners that rise leave the middle where it is.
    line = base[:, 1] + _ARC * (
        9 + 16 * smile - 17 * frown - 3 * _both(w, "mouthStretch", _AT) - 8 * pucker - 6 * funnel
    )
    line = line + _ROUND * (14 * w["lips.shut"] - 14 * open_jaw - 9 * w["mouthShrugLower"] * 0.55)
    top = line + _ROUND * (
        -2 * open_jaw
        - (9.5 + 24 * roll) * raised
        - 6.5 * funnel
        - 4.5 * pucker
        - 4.5 * w["mouthShrugUpper"]
        + 3.0 * w["mouthRollUpper"]
        + 1.2 * _MIDDLE
    )
    low = line + _ROUND * (
        56 * open_jaw
        + 11 * lowered
        + 8 * funnel
        + 4.5 * pucker
        - 2.5 * w["mouthShrugLower"]
        - 7.0 * roll
        + 1.2 * _MIDDLE
        + 3 * w["jawForward"]
    )
    low = np.maximum(low, top)
    thick_up = np.array([0, 6.2, 11.0, 9.6, 11.0, 6.2, 0]) * (1 - 0.12 * smile - 0.1 * _both(w, "mouthStretch", _AT))
    thick_up = thick_up * (1 + 0.28 * funnel + 0.42 * pucker - 0.2 * open_jaw) * (1 - 0.8 * w["mouthRollUpper"])
    thick_low = np.array([0, 9.6, 14.6, 15.6, 14.6, 9.6, 0]) * (1 - 0.16 * smile - 0.12 * _both(w, "mouthStretch", _AT))
    thick_low = thick_low * (1 + 0.25 * funnel + 0.38 * pucker - 0.12 * open_jaw + 0.15 * w["jawForward"])
    thick_low = thick_low + np.array([0, 4.5, 1.5, 0, 1.5, 4.5, 0]) * (funnel + pucker + 0.4 * open_jaw)
    thick_up = thick_up + np.array([0, 3, 0.5, 0, 0.5, 3, 0]) * (funnel + pucker)
    thick_low = thick_low * (1 - 0.86 * roll)
    thick_up, thick_low = thick_up * (1 - 0.4 * press), thick_low * (1 - 0.4 * press)
    thick_up, thick_low = thick_up - 1.6 * close * _ROUND, thick_low - 3 * close * _ROUND
    thick_up = thick_up + 2.0 * w["mouthShrugUpper"] * _ROUND + 1.5 * w["cheekPuff"] * _ROUND
    thick_low = thick_low + 3.0 * w["mouthShrugLower"] * _ROUND
    x_up = base[:, 0] + shift
    x_low = base[:, 0] + shift + 9 * (w["jawLeft"] - w["jawRight"]) * _ROUND
    return (np.stack([x_up, top - thick_up], 1), np.stack([x_up, top], 1), np.stack([x_low, low], 1),
            np.stack([x_low, low + thick_low], 1))  # fmt: skip


def _ring(a: Points, b: Points) -> Curves:
    return [smooth(np.concatenate([a, b[::-1][1:-1]]), corners=(0, 6))]


def _jaw(w: Weights) -> Points:
    """How the lower teeth and the tongue travel."""
    open_jaw = w["jawOpen"]
    return np.array([11 * (w["jawLeft"] - w["jawRight"]), 38 * open_jaw + 1.5 * w["jawForward"]])


def add_mouth(puppet: Puppet) -> None:
    """Everything between nose and chin."""
    dip = ellipse(270, 552, 27, 12)
    puppet.layer(
        "lip.under",
        lambda w: [flesh(dip, w) + (0, _lips(w)[3][3, 1] - MOUTH_Y - 17 - 10 * w["jawOpen"])],
        lift=8,
        blend="multiply",
        fill=radial(271, 551, 25, (0, "#b4605488"), (0.5, "#b4605440"), (1, "#b4605400"), squash=0.4),
    )
    philtrum = ellipse(271, 506, 8, 11)
    puppet.layer(
        "philtrum",
        lambda w: [philtrum + (0, 0.4 * (_lips(w)[0][3, 1] - MOUTH_Y + 9.6))],
        lift=12,
        blend="multiply",
        fill=radial(272, 506, 7, (0, "#c4786450"), (1, "#c4786400"), squash=1.5),
    )
    puppet.layer(
        "mouth.inside",
        lambda w: _ring(_lips(w)[1], _lips(w)[2]),
        lift=2,
        fill=linear(270, 515, 270, 570, (0, "#22070f"), (0.5, "#4a111b"), (1, "#6d1f28")),
    )
    _inside(puppet)
    _outside(puppet)


def _inside(puppet: Puppet) -> None:
    clip = ["mouth.inside"]
    back = smooth([(236, 548), (250, 536), (270, 533), (290, 536), (304, 548), (308, 580), (232, 580)])

    def tongue(w: Weights) -> Curves:
        p = back + _jaw(w) * (1, 0.62) + (0, 4 * w["mouthPucker"])
        p[:, 0] = CX + (p[:, 0] - CX) * (1 - 0.2 * w["mouthPucker"] - 0.15 * w["mouthFunnel"])
        p[:, 1] -= 16 * w["tongueOut"] * np.exp(-(((back[:, 0] - CX) / 26) ** 2))
        return [p]

    puppet.layer(
        "tongue",
        tongue,
        lift=-6,
        clip=clip,
        fill=linear(270, 534, 270, 575, (0, "#d8636a"), (0.5, "#c04b58"), (1, "#8a2f42")),
    )
    groove = [(270, 540), (270.5, 552), (270, 566)]
    puppet.layer(
        "tongue.groove",
        lambda w: [ribbon(np.array(groove) + _jaw(w) * (1, 0.62) - (0, 14 * w["tongueOut"]), [0, 3, 0])],
        lift=-6,
        clip=clip,
        fill="#8a2f42",
        alpha=0.7,
    )
    lower = smooth(
        [(240, 536), (252, 531.5), (270, 530.5), (288, 531.5), (300, 536), (298, 548), (242, 548)], corners=(0, 4)
    )

    def low_teeth(w: Weights) -> Curves:
        return [lower + _jaw(w) * (1, 1.2) + (0, 8 * w["mouthPucker"] + 8 * w["mouthFunnel"])]

    puppet.layer("teeth.lower", low_teeth, lift=-2, clip=clip, fill=linear(238, 540, 302, 540, (0, "#a58c84"), (0.3, "#eadfd2"),
                 (0.7, "#e2d5c8"), (1, "#94786f")))  # fmt: skip
    upper = smooth(
        [
            (228, 508),
            (312, 508),
            (309, 528),
            (298, 531),
            (284, 533.5),
            (270, 534.2),
            (256, 533.5),
            (242, 531),
            (231, 528),
        ],
        corners=(0, 1),
    )

    def top_teeth(w: Weights) -> Curves:
        p = upper.copy()
        p[:, 0] = CX + (p[:, 0] - CX) * (1 + 0.12 * (w["mouthStretchLeft"] + w["mouthStretchRight"]) / 2)
        p[:, 1] += 1.5 + 1.5 * (w["mouthSmileLeft"] + w["mouthSmileRight"])
        p[:, 1] -= 25 * w["mouthPucker"] + 10 * w["mouthFunnel"]
        return [p]

    puppet.layer("teeth.upper", top_teeth, lift=2, clip=clip, fill=linear(228, 520, 312, 520, (0, "#a88f88"), (0.25, "#f4ece0"),
                 (0.6, "#fffaf0"), (0.8, "#e9dccf"), (1, "#9a8078")))  # fmt: skip
    _teeth(puppet, clip)


def _teeth(puppet: Puppet, clip: Any) -> None:
    gaps = [
        ribbon([(x, 514), (x, 524), (x + (270 - x) * 0.02, 532.5)], [0.2, 0.8, 1.6], per=1)
        for x in (246, 257, 270, 283, 294)
    ]
    puppet.layer(
        "teeth.gaps",
        lambda w: [g - (0, 25 * w["mouthPucker"] + 10 * w["mouthFunnel"]) for g in gaps],
        lift=2,
        clip=clip,
        fill="#b99c90",
        alpha=0.55,
    )

    def lip_shadow(w: Weights) -> Curves:
        top = _lips(w)[1]
        return _ring(top - (0, 4), top + np.stack([np.zeros(7), 3.2 * _ROUND], 1))

    puppet.layer("mouth.shadow", lip_shadow, lift=4, clip=clip, blend="multiply", fill="#7a3038", alpha=0.36)


def _outside(puppet: Puppet) -> None:
    puppet.layer(
        "lip.lower",
        lambda w: _ring(_lips(w)[2], _lips(w)[3]),
        lift=10,
        fill=linear(262, 524, 274, 546, (0, "#b64a4c"), (0.45, "#d4706a"), (1, "#bf5c55")),
    )
    puppet.layer(
        "lip.upper",
        lambda w: _ring(_lips(w)[0], _lips(w)[1]),
        lift=12,
        fill=linear(250, 512, 290, 528, (0, "#c9635c"), (0.5, "#b14f4d"), (1, "#963d42")),
    )

    def shine(w: Weights) -> Curves:
        _, _, inner, outer = _lips(w)
        middle = inner * 0.52 + outer * 0.48
        p = np.stack([middle[2], middle[3] - (4, 0), middle[4] - (6, 0)])
        return [ribbon(p, [0, 4.4 * (1 - 0.8 * w["mouthRollLower"]), 0])]

    puppet.layer("lip.shine", shine, lift=12, fill="#ffd2c0", alpha=0.6)

    def bow(w: Weights) -> Curves:
        outer = _lips(w)[0]
        p = np.stack([outer[1] + (4, 1), outer[2], outer[3] + (0, 0.6)])
        return [ribbon(p - (0, 1), [0, 2, 0])]

    puppet.layer("lip.bow", bow, lift=12, fill="#ffdcc4", alpha=0.6)

    _corners(puppet)


def _corners(puppet: Puppet) -> None:
    def line(w: Weights) -> Curves:
        upper = _lips(w)[1]
        out = upper.copy()
        out[0] += (-4, -1.6)
        out[-1] += (4, -1.6)
        return [ribbon(out, [0, 2.6, 2.0, 2.6, 2.0, 2.6, 0], per=2)]

    puppet.layer("mouth.line", line, lift=13, fill="#55161f")

    def rim(w: Weights) -> Curves:
        low = _lips(w)[3]
        return [ribbon(np.stack([low[2], low[3], low[4]]) + (0, 0.8), [0, 1.8, 0])]

    puppet.layer("lip.rim", rim, lift=10, fill="#8a3d3a", alpha=0.7)
    for side, name in SIDES:

        def nick(w: Weights, side: int = side) -> Curves:
            c = _corner(w, side)
            return [ellipse(c[0] + side * 3, c[1] + 1, 8, 8)]

        puppet.layer(
            f"mouth.corner.{name}",
            nick,
            lift=6,
            blend="multiply",
            fill=radial(CX + side * 40, MOUTH_Y + 1, 8, (0, "#a8554c77"), (1, "#a8554c00")),
            alpha=0.6,
        )

        def dimple(w: Weights, side: int = side) -> Curves:
            c = _corner(w, side)
            return [ribbon(np.array([c + (side * 10, -5), c + (side * 13, -0.5), c + (side * 11.5, 4.5)]), [0, 2.6, 0])]

        puppet.layer(
            f"dimple.{name}",
            dimple,
            lift=6,
            fill="#a8554c",
            alpha=0.0,
            fades=[(f"mouthDimple{name}", 0.8), (f"mouthSmile{name}", 0.3), (f"mouthPress{name}", 0.3)],
        )

    out = np.array(
        [(253, 528), (270, 525), (287, 528), (289, 540), (281, 551), (270, 554), (259, 551), (251, 540)], dtype=float
    )

    _tongue_out(puppet, out)


def _tongue_out(puppet: Puppet, out: Points) -> None:
    def tip(w: Weights) -> Curves:
        p = out.copy()
        grow = 0.25 + 0.75 * w["tongueOut"]
        p[:, 1] = 527 + (p[:, 1] - 527) * grow + 20 * w["jawOpen"]
        p[:, 0] = CX + (p[:, 0] - CX) * (0.8 + 0.2 * w["tongueOut"]) + 7 * (w["jawLeft"] - w["jawRight"])
        return [smooth(p)]

    puppet.layer(
        "tongue.out",
        tip,
        lift=18,
        alpha=-1.2,
        fades=[("tongueOut", 2.6)],
        stroke=("#7a2535", 1.6),
        fill=linear(262, 526, 276, 556, (0, "#a83c4c"), (0.5, "#dc6a70"), (1, "#e8868a")),
    )
    puppet.layer(
        "tongue.crease",
        lambda w: [ribbon(np.array([(270, 530), (270.5, 538), (270, 546)]) + (0, 20 * w["jawOpen"]), [0, 2.4, 0])],
        lift=19,
        alpha=-1.4,
        fades=[("tongueOut", 2.2)],
        fill="#9a3547",
    )

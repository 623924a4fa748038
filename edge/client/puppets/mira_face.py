"""Mira's skin: the head, its soft shading, nose, cheeks, ears, brows; and how flesh moves under a weight."""

# Rows of coordinates read better unbroken; a layer calls its shape at once, inside its loop.
# ruff: noqa: B023
from __future__ import annotations

from typing import Any, Final

import numpy as np

from edge.client.puppets.kit import Curves, Points, Puppet, Weights, ellipse, linear, radial, ribbon, smooth, smoothstep

__all__ = ["CX", "add_brows", "add_head", "add_nose", "add_rim", "face_depth", "flesh", "mirror", "pick"]

CX: Final = 270.0
"""The middle of the face."""

SKIN_LIGHT, SKIN, SKIN_SHADE, SKIN_DEEP = "#fbdcbf", "#f3c19c", "#d99572", "#b06a52"
LINE = "#6d2f2c"
SIDES: Final = ((1, "Left"), (-1, "Right"))
"""The character's left is on the right of the picture."""


def face_depth(points: Points) -> Points:
    """The face is an ellipsoid, flatter than deep."""
    u, v = (points[:, 0] - CX) / 150, (points[:, 1] - 410) / 225
    return np.asarray(76 * np.sqrt(np.clip(1 - u * u - v * v, 0.0, 1)))


def pick(w: Weights, name: str, side: int) -> float:
    """A weight of the side of the picture."""
    return w[name + ("Left" if side > 0 else "Right")]


def mirror(points: object, side: int) -> Points:
    """Points given for the picture's right half, on the side asked for."""
    p = np.array(points, dtype=float)
    p[:, 0] = CX + side * p[:, 0]
    return p


def _bump(p: Points, x: float, y: float, rx: float, ry: float) -> Points:
    return np.asarray(np.exp(-(((p[:, 0] - x) / rx) ** 2) - ((p[:, 1] - y) / ry) ** 2))


def flesh(points: object, w: Weights) -> Points:
    """Where points of the skin go: the jaw swings, cheeks rise and puff, the nose wrinkles."""
    p = np.array(points, dtype=float)
    q = p.copy()
    jaw = smoothstep(500, 572, p[:, 1])
    q[:, 1] += jaw * (34 * w["jawOpen"] + 6 * w["jawForward"] - 3 * w["mouthShrugLower"])
    q[:, 0] += jaw * 13 * (w["jawLeft"] - w["jawRight"])
    q[:, 0] -= jaw * (p[:, 0] - CX) * (0.07 * w["jawOpen"] - 0.06 * w["jawForward"])
    for side, _ in SIDES:
        smile, frown = pick(w, "mouthSmile", side), pick(w, "mouthFrown", side)
        stretch, squint = pick(w, "mouthStretch", side), pick(w, "cheekSquint", side)
        cheek = _bump(p, CX + side * 84, 492, 40, 36)
        q[:, 1] -= cheek * (6 * smile - 4 * frown)
        q[:, 0] += side * cheek * (5 * smile + 4 * stretch + 3 * pick(w, "mouthDimple", side))
        q[:, 0] += side * _bump(p, CX + side * 90, 516, 46, 42) * (17 * w["cheekPuff"] - 4 * w["mouthPucker"])
        q[:, 1] -= _bump(p, CX + side * 66, 462, 44, 26) * 8 * squint
        sneer = _bump(p, CX + side * 17, 476, 18, 26)
        q[:, 1] -= sneer * 7 * pick(w, "noseSneer", side)
        q[:, 0] += side * sneer * 3 * pick(w, "noseSneer", side)
    return q


_HALF = np.array([
    (0, 205), (62, 212), (96, 246), (112, 300), (116, 360), (114, 420), (106, 466), (91, 508), (68, 545), (40, 571),
    (14, 583),
], dtype=float)  # fmt: skip
OUTLINE: Final = np.concatenate([mirror(_HALF, 1), mirror(_HALF[::-1], -1)])


def _rim_points(w: Weights) -> Points:
    p = flesh(OUTLINE, w)
    # A turned head shows its own profile: the far cheek flattens, the near jaw fills.
    yaw = w["head.yaw+"] - w["head.yaw-"]
    low = smoothstep(430, 560, OUTLINE[:, 1])
    p[:, 0] += 9 * yaw * low + 12 * (w["head.yaw+"] * (OUTLINE[:, 0] > CX) - w["head.yaw-"] * (OUTLINE[:, 0] < CX))
    p[:, 1] -= 5 * low * (w["head.pitch-"] - w["head.pitch+"])
    return p


def _outline(w: Weights) -> Curves:
    return [smooth(_rim_points(w))]


def _along(w: Weights, first: int, last: int, inner: Points) -> Curves:
    """Between the outline's points `first` … `last` and a line inside: shading that needs no clip."""
    outer = _rim_points(w)[first : last + 1]
    both = np.concatenate([outer, flesh(inner, w)])
    return [smooth(both, corners=(0, len(outer) - 1, len(outer), len(both) - 1))]


def _spot(x: float, y: float, r: float, color: str, strength: str, squash: float = 1.0) -> Any:
    return radial(x, y, r, (0, color + strength), (1, color + "00"), squash=squash)


def add_head(puppet: Puppet) -> None:
    """Neck, ear, face and all soft light on it."""
    _neck(puppet)
    _ear(puppet)
    puppet.layer(
        "face",
        _outline,
        lift=-34,
        edge=(LINE, 2.2),
        fill=linear(150, 250, 400, 590, (0, SKIN_LIGHT), (1, "#e3a07a")),
    )
    shade = np.array(
        [(286, 577), (318, 562), (342, 540), (363, 498), (372, 440), (366, 380), (350, 330), (352, 262)], float
    )
    puppet.layer(
        "face.shade",
        lambda w: _along(w, 2, 10, shade),
        lift=-34,
        blend="multiply",
        fill=linear(324, 400, 392, 400, (0, "#c8705800"), (1, "#a75a58b0")),
    )
    jaw = np.array([(166, 505), (190, 536), (226, 562), (270, 570), (316, 560), (352, 530), (374, 500)], float)
    puppet.layer(
        "face.jaw",
        lambda w: _along(w, 7, 14, jaw),
        lift=-34,
        blend="multiply",
        fill=linear(262, 540, 276, 592, (0, "#cf876800"), (1, "#b5645caa")),
    )
    temple = np.array([(172, 250), (168, 330), (162, 420), (178, 505)], float)
    puppet.layer(
        "face.temple",
        lambda w: _along(w, 14, 19, temple),
        lift=-34,
        blend="multiply",
        fill=linear(150, 400, 182, 400, (0, "#c9786099"), (1, "#c9786000")),
    )
    _glow(puppet)


def _glow(puppet: Puppet) -> None:
    for side, name in SIDES:
        x = CX + side * 70
        puppet.layer(
            f"blush.{name}",
            lambda w: [flesh(ellipse(x, 474, 42, 28), w)],
            lift=6,
            fill=_spot(x, 474, 42, "#ee6a58", "78", 0.66),
            alpha=0.85,
            fades=[(f"mouthSmile{name}", 0.25), (f"cheekSquint{name}", 0.3), ("cheekPuff", 0.2)],
        )
        socket = CX + side * 50
        puppet.layer(
            f"socket.{name}",
            ellipse(socket, 398, 48, 26),
            lift=0,
            blend="multiply",
            fill=_spot(socket, 398, 48, "#c27a62", "68", 0.55),
        )
        fold = mirror([(29, 488), (40, 500), (47, 512), (50, 521)], side)
        puppet.layer(
            f"fold.{name}",
            lambda w: [ribbon(flesh(fold, w), [0, 2.2, 2.6, 0])],
            lift=8,
            alpha=0.0,
            fill="#b5654f",
            fades=[
                (f"mouthSmile{name}", 0.3),
                (f"noseSneer{name}", 0.6),
                (f"mouthDimple{name}", 0.25),
                (f"mouthStretch{name}", 0.3),
            ],
        )
        wrinkle = mirror([(10, 440), (15, 446), (17, 455)], side)
        puppet.layer(
            f"sneer.{name}",
            ribbon(wrinkle, [0, 2.4, 0]),
            lift=20,
            alpha=0.0,
            fill="#b5654f",
            fades=[(f"noseSneer{name}", 0.8)],
        )
    puppet.layer("light.brow", ellipse(238, 330, 70, 46), lift=6, fill=_spot(238, 330, 70, "#fff3dc", "80", 0.66))
    puppet.layer(
        "light.cheek",
        lambda w: [flesh(ellipse(196, 458, 26, 17), w)],
        lift=8,
        fill=_spot(196, 458, 26, "#fff0da", "90", 0.66),
    )
    puppet.layer(
        "light.chin",
        lambda w: [flesh(ellipse(263, 563, 20, 12), w)],
        lift=8,
        fill=_spot(263, 563, 20, "#ffeeda", "88", 0.6),
    )
    _freckles(puppet)


def add_rim(puppet: Puppet) -> None:
    """The sunset along the cheek: over the shadows, so that it stays warm."""
    rim = np.array([(306, 574), (336, 550), (362, 512), (377, 470), (384, 420), (384, 370)], float)
    puppet.layer(
        "light.rim",
        lambda w: _along(w, 4, 10, rim),
        lift=-34,
        fill=linear(366, 440, 389, 440, (0, "#ffb98a00"), (1, "#ffd09ad0")),
    )


def _freckles(puppet: Puppet) -> None:
    spots = [
        (205, 466, 1.6),
        (214, 474, 1.2),
        (196, 475, 1.3),
        (222, 464, 1.1),
        (229, 475, 1.3),
        (208, 483, 1.0),
        (333, 466, 1.5),
        (324, 474, 1.2),
        (342, 476, 1.2),
        (316, 465, 1.1),
        (310, 475, 1.2),
        (331, 484, 1.0),
        (262, 462, 0.9),
        (279, 466, 1.0),
        (188, 466, 1.0),
        (351, 467, 1.0),
    ]
    puppet.layer(
        "freckles",
        lambda w: [flesh(ellipse(x, y, r, r * 0.9), w) for x, y, r in spots],
        lift=8,
        fill="#b4664a",
        alpha=0.5,
    )


def _neck(puppet: Puppet) -> None:
    neck = smooth(
        [
            (232, 520),
            (308, 520),
            (309, 585),
            (314, 632),
            (340, 668),
            (352, 730),
            (188, 730),
            (200, 668),
            (226, 632),
            (231, 585),
        ],
        corners=(0, 1, 6, 7),
    )
    follow = ("head", lambda p: 0.85 * (1 - smoothstep(545, 668, p[:, 1])))
    puppet.layer(
        "neck",
        neck,
        bone="spine",
        depth=-30,
        mix=follow,
        edge=(LINE, 2.0),
        fill=linear(226, 560, 330, 640, (0, "#ecb38d"), (1, "#c07a60")),
    )
    cast = smooth([(190, 500), (350, 500), (352, 590), (328, 622), (296, 628), (262, 634), (230, 612), (200, 590)])

    def shadow(w: Weights) -> Curves:
        p = cast.copy()
        p[:, 1] += smoothstep(560, 600, cast[:, 1]) * (20 * w["jawOpen"] + 4 * w["jawForward"])
        p[:, 0] += 6 * (w["jawLeft"] - w["jawRight"])
        return [p]

    puppet.layer(
        "neck.shadow",
        shadow,
        bone="spine",
        depth=-24,
        mix=("head", lambda p: np.full(len(p), 0.8)),
        clip=["neck"],
        blend="multiply",
        fill=linear(270, 570, 276, 634, (0, "#9a5054e6"), (1, "#b0646499")),
    )
    for name, line in (("a", [(244, 622), (252, 646), (262, 668)]), ("b", [(300, 618), (292, 644), (281, 670)])):
        puppet.layer(
            f"neck.cord.{name}",
            ribbon(line, [0, 3, 0]),
            bone="spine",
            depth=-26,
            mix=follow,
            fill="#a9604f",
            alpha=0.5,
        )


def _ear(puppet: Puppet) -> None:
    puppet.layer(
        "ear",
        smooth([(380, 408), (394, 396), (408, 402), (410, 424), (401, 450), (390, 466), (380, 462)]),
        depth=-6,
        stroke=(LINE, 2.0),
        fill=linear(378, 400, 410, 460, (0, "#eeb08b"), (1, "#cf8468")),
    )
    puppet.layer(
        "ear.inner",
        ribbon([(386, 412), (399, 410), (402, 426), (394, 444), (389, 440)], [0, 3.4, 4, 3, 0]),
        depth=-4,
        fill="#a85a4a",
        alpha=0.75,
    )


def add_nose(puppet: Puppet) -> None:
    """A nose of light and shadow, two nostrils and one line."""
    side = smooth([(281, 410), (287, 434), (291, 458), (297, 474), (294, 484), (280, 486), (277, 470), (275, 440)])
    puppet.layer(
        "nose.side",
        lambda w: [flesh(side, w)],
        lift=24,
        blend="multiply",
        fill=linear(278, 450, 298, 455, (0, "#cf866a00"), (0.5, "#c87c6684"), (1, "#c87c6600")),
    )
    under = smooth(
        [(240, 482), (256, 488), (270, 492), (286, 488), (300, 480), (306, 492), (292, 508), (268, 511), (240, 502)]
    )
    puppet.layer(
        "nose.under",
        lambda w: [flesh(under, w)],
        lift=16,
        blend="multiply",
        fill=radial(274, 490, 25, (0, "#b8675a99"), (0.5, "#b8675a4c"), (1, "#b8675a00"), squash=0.6),
    )
    puppet.layer(
        "nose.light",
        lambda w: [flesh(ellipse(266, 471, 8.5, 9.5), w)],
        lift=34,
        fill=radial(266, 471, 9.5, (0, "#fff6e8e0"), (0.4, "#ffeedb90"), (1, "#fff0dc00")),
    )
    puppet.layer(
        "nose.bridge",
        lambda w: [flesh(ellipse(266, 434, 5, 28), w)],
        lift=26,
        fill=radial(266, 434, 5, (0, "#fff0dc90"), (1, "#fff0dc00"), squash=5.6),
    )
    for s, name in SIDES:
        hole = mirror([(5.5, 486.5), (10, 483.8), (15, 485.2)], s)
        puppet.layer(
            f"nostril.{name}",
            lambda w: [ribbon(flesh(hole, w), [0.6, 4.4, 0.4])],
            lift=20,
            fill="#7c3531",
            alpha=0.85,
        )
        wing = mirror([(19.5, 472), (22, 479), (18, 487)], s)
        puppet.layer(
            f"wing.{name}", lambda w: [ribbon(flesh(wing, w), [0, 2.2, 0])], lift=14, fill="#a6574a", alpha=0.75
        )


def add_brows(puppet: Puppet) -> None:
    """Brows with a few hairs at their inner end."""
    for side, name in SIDES:

        def points(w: Weights, side: int = side) -> Points:
            down, outer, inner = pick(w, "browDown", side), pick(w, "browOuterUp", side), w["browInnerUp"]
            p = np.array([(26, 365), (42, 358.5), (62, 354.5), (82, 358.5), (101, 373)], dtype=float)
            weight_in = np.array([1.0, 0.72, 0.3, 0.05, 0.0])
            weight_out = np.array([0.0, 0.25, 0.75, 1.0, 0.9])
            p[:, 1] += down * (7 + 9 * weight_in) - inner * (3 + 14 * weight_in) - outer * (1 + 14 * weight_out)
            p[:, 0] += -5 * down * weight_in + 2 * inner * weight_in
            p[:, 1] -= 2.5 * pick(w, "eyeWide", side) - 2 * pick(w, "eyeSquint", side)
            return mirror(p, side)

        widths = [3.5, 9.6, 9.2, 6.6, 0.5]
        puppet.layer(
            f"brow.{name}",
            lambda w: [ribbon(points(w), widths)],
            lift=10,
            fill=linear(CX + side * 22, 365, CX + side * 104, 365, (0, "#6f3227"), (0.25, "#5f261f"), (1, "#4a1a1a")),
        )

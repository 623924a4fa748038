"""Mira's hair: a bob in locks. Behind the head, over the forehead, beside the face; each with strands and light."""

# Rows of coordinates read better unbroken; a layer calls its shape at once, inside its loop.
# ruff: noqa: PERF401
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from edge.client.puppets.kit import (
    Curve,
    Points,
    Puppet,
    Weights,
    ellipse,
    linear,
    ribbon,
    sideways,
    smooth,
    smoothstep,
)

__all__ = ["add_back_hair", "add_bones", "add_fringe_shadow", "add_front_hair"]

DEEP, DARK, MID, WARM, LIGHT = "#2a0d1c", "#4a1826", "#7e2c30", "#b24f38", "#f2a468"
LINE: Final = "#230a16"
Mix = tuple[str, Callable[[Points], Points]]

Line = tuple[list[tuple[float, float]], list[float]]
FRINGE: Final[list[Line]] = [
    ([(314, 170), (226, 206), (168, 276), (144, 356), (150, 428)], [2, 58, 58, 36, 0]),
    ([(315, 174), (246, 220), (204, 284), (184, 342), (190, 398)], [2, 50, 50, 30, 0]),
    ([(316, 178), (268, 228), (238, 284), (222, 330), (228, 370)], [2, 44, 46, 28, 0]),
    ([(317, 182), (292, 232), (274, 280), (262, 314), (264, 344)], [2, 30, 34, 20, 0]),
    ([(314, 176), (350, 212), (378, 276), (390, 350), (402, 404)], [2, 34, 36, 24, 0]),
    ([(316, 180), (312, 232), (320, 286), (342, 330)], [2, 20, 18, 0]),
]
"""The middle line and the widths of each lock over the forehead."""
SIDE: Final[Line] = ([(176, 240), (146, 360), (148, 450), (164, 530), (150, 606), (176, 664)], [2, 40, 42, 38, 26, 0])


def crown_depth(points: Points) -> Points:
    """The outside of the hair: at the crown over the skull, lower down behind the ears."""
    return np.asarray(-14 - 40 * smoothstep(230, 470, points[:, 1]))


def spread(curve: Curve, w: Weights) -> Curve:
    """On the far side of a turned head the hair goes round it instead of across the eye."""
    q = curve.copy()
    q[:, 0] += 30 * w["head.yaw+"] * smoothstep(345, 392, curve[:, 0])
    q[:, 0] -= 30 * w["head.yaw-"] * (1 - smoothstep(148, 195, curve[:, 0]))
    return q


def add_bones(puppet: Puppet) -> None:
    """Locks swing in gusts and hang while the head tilts."""

    def sway(amplitude: float, period: float, phase: float) -> dict[str, float]:
        return {"amplitude": amplitude, "period": period, "damping": 0.9, "gust": 5.0, "phase": phase}

    puppet.bone("hairBack", "head", (270, 400, -60), hang=0.55, sway=sway(0.012, 2.3, 0.0))
    puppet.bone("hairLeft", "head", (392, 330, 20), hang=0.6, sway=sway(0.022, 1.7, 1.3))
    puppet.bone("hairRight", "head", (150, 330, 20), hang=0.6, sway=sway(0.022, 1.9, 2.9))
    puppet.bone("fringe", "head", (300, 215, 100), hang=0.12, sway=sway(0.010, 1.4, 4.1))
    puppet.bone("earring", "head", (402, 462, 0), hang=0.9, sway=sway(0.09, 0.9, 0.7))


def _lock(
    puppet: Puppet, name: str, line: Sequence[tuple[float, float]], widths: Sequence[float], *, fill: Any, mix: Mix,
    depth: float | None = None, lift: float = 0.0, strands: Sequence[float] = (-0.45, 0.1, 0.5),
    lights: Sequence[float] = (-0.15,), light_at: tuple[int, int] = (1, 3),
    outline: tuple[str, float] = (LINE, 1.8),
) -> None:  # fmt: skip
    """A lock: its body with an outline, dark strands along it, and streaks of light."""
    where: dict[str, Any] = {"depth": depth, "lift": lift, "mix": mix}
    puppet.layer(name, lambda w: [spread(ribbon(line, widths, per=2), w)], fill=fill, edge=outline, **where)
    if strands:
        curves = []
        for share in strands:
            path = sideways(line, widths, share)
            thin = [0.3, *([2.0] * (len(path) - 2)), 0.0]
            curves.append(ribbon(path[:], thin, per=1))
        puppet.layer(
            f"{name}.strands", lambda w: [spread(curve, w) for curve in curves], fill="#3a1020", alpha=0.6, **where
        )
    if lights:
        first, last = light_at
        curves = []
        for k, share in enumerate(lights):
            path = sideways(line, widths, share)[first : last + 1]
            thin = [0.0, *([4.2 - 1.6 * (k % 2)] * (len(path) - 2)), 0.0]
            curves.append(ribbon(path, thin, per=2))
        puppet.layer(f"{name}.light", lambda w: [spread(curve, w) for curve in curves], fill=LIGHT, alpha=0.58, **where)


def _tip_mix(bone: str, top: float, bottom: float) -> Mix:
    return bone, lambda p: smoothstep(top, bottom, p[:, 1])


def add_back_hair(puppet: Puppet) -> None:
    """What is seen behind the neck and the face."""
    mix = _tip_mix("hairBack", 380, 650)
    puppet.layer(
        "hair.back",
        smooth(
            [
                (270, 144),
                (194, 156),
                (134, 206),
                (104, 290),
                (94, 390),
                (84, 470),
                (88, 550),
                (104, 612),
                (136, 668),
                (146, 650),
                (182, 686),
                (200, 662),
                (270, 676),
                (340, 662),
                (352, 688),
                (388, 652),
                (400, 672),
                (434, 618),
                (454, 552),
                (456, 470),
                (444, 390),
                (436, 290),
                (408, 206),
                (346, 156),
            ],
            corners=(8, 10, 14, 16),
        ),
        mix=mix,
        depth=crown_depth,
        edge=("#2b0c1b", 1.6),
        fill="#3c1322",
    )
    inner = [
        ([(124, 380), (106, 470), (108, 560), (136, 664)], [16, 30, 32, 0]),
        ([(156, 430), (140, 530), (146, 610), (182, 682)], [20, 40, 36, 0]),
        ([(196, 470), (180, 560), (186, 630), (212, 672)], [20, 36, 26, 0]),
        ([(418, 380), (436, 470), (432, 560), (402, 668)], [16, 30, 32, 0]),
        ([(386, 430), (402, 530), (394, 610), (354, 684)], [20, 40, 36, 0]),
        ([(346, 470), (360, 560), (354, 630), (328, 674)], [20, 36, 26, 0]),
    ]
    for k, (line, widths) in enumerate(inner):
        warm = "#6a2530" if k < 3 else "#541b2b"
        _lock(
            puppet,
            f"hair.back.{k}",
            line,
            widths,
            fill=warm,
            mix=mix,
            depth=-52,
            lights=(-0.25,) if k < 3 else (),
            outline=("#2f0e1d", 1.3),
        )
    _back_depths(puppet, mix)


def _back_depths(puppet: Puppet, mix: Mix) -> None:
    puppet.layer(
        "hair.back.rim",
        [
            ribbon([(438, 320), (447, 410), (453, 480), (449, 554), (430, 616)], [0, 4, 5, 5, 0]),
            ribbon([(436, 420), (443, 480), (440, 545)], [0, 2.6, 0]),
        ],
        depth=-58,
        mix=mix,
        fill=linear(0, 340, 0, 520, (0, "#ff9a6a00"), (1, "#ff9a6ad0")),
    )
    puppet.layer(
        "hair.back.dark",
        smooth([(196, 480), (344, 480), (356, 640), (330, 690), (210, 690), (184, 640)]),
        depth=-50,
        mix=mix,
        fill="#18070f",
    )


def add_fringe_shadow(puppet: Puppet) -> None:
    """What the hair casts on the forehead and the cheek."""
    down = np.array([7.0, 17.0])
    locks = [ribbon(np.array(line[1:], dtype=float) + down, widths[1:], per=1) for line, widths in FRINGE]
    side = ribbon(np.array(SIDE[0][1:4], dtype=float) + np.array([13.0, 6.0]), [*SIDE[1][1:3], 0], per=1)
    puppet.layer("face.hairshadow", [*locks, side], lift=-6, fill="#a33b2c", alpha=0.42)


def _cap(puppet: Puppet, mix: Mix) -> None:
    cap = smooth(
        [
            (100, 590),
            (88, 500),
            (94, 392),
            (104, 292),
            (134, 210),
            (194, 160),
            (270, 147),
            (346, 160),
            (406, 210),
            (434, 292),
            (446, 392),
            (453, 480),
            (444, 580),
            (432, 500),
            (412, 440),
            (392, 404),
            (386, 350),
            (368, 296),
            (342, 256),
            (314, 232),
            (280, 258),
            (220, 300),
            (172, 350),
            (150, 420),
            (120, 500),
        ],
        corners=(0, 12, 19),
    )
    puppet.layer(
        "hair.cap",
        lambda w: [spread(cap, w)],
        depth=crown_depth,
        mix=("hairBack", lambda p: smoothstep(380, 650, p[:, 1])),
        edge=(LINE, 2.0),
        fill=linear(170, 190, 410, 470, (0, "#9c3e2f"), (1, "#451523")),
    )
    _cap_strands(puppet)


def _cap_strands(puppet: Puppet) -> None:
    lines = []
    for k in range(4):
        s = k / 3
        lines.append(
            ribbon(
                [
                    (308 - 6 * s, 172 + 10 * s),
                    (340 + 24 * s, 190 + 8 * s),
                    (378 + 20 * s, 244 + 12 * s),
                    (394 + 14 * s - 4, 330 + 10 * s),
                ],
                [0.4, 2.2, 2.2, 0],
                per=2,
            )
        )
    for x, y in ((-12, 0), (8, 22)):
        lines.append(
            ribbon(
                [
                    (300 + x * 0.3, 156),
                    (196 + x, 182 + y * 0.6),
                    (132 + x, 262 + y),
                    (110 + x, 380 + y),
                    (104 + x, 500),
                ],
                [0.4, 2, 2.2, 2, 0],
                per=2,
            )
        )
    for x in (0,):
        lines.append(
            ribbon([(420 + x, 300), (432 + x * 0.9, 390), (438 + x * 0.8, 470), (442, 550)], [0, 2, 2, 0], per=2)
        )
    puppet.layer("hair.cap.strands", lines, lift=-4, fill="#32101d", alpha=0.55)
    puppet.layer(
        "hair.cap.light",
        [
            ribbon([(132, 300), (150, 250), (186, 204)], [0, 9, 0]),
            ribbon([(118, 330), (130, 270), (162, 216)], [0, 5, 0]),
            ribbon([(334, 204), (356, 222), (376, 252)], [0, 7, 0]),
            ribbon([(350, 200), (372, 222), (388, 250)], [0, 5, 0]),
            ribbon([(322, 212), (342, 230), (358, 258)], [0, 4.6, 0]),
        ],
        lift=-2,
        fill="#ef9b62",
        alpha=0.55,
    )


def add_front_hair(puppet: Puppet) -> None:
    """The cap, side locks, fringe and an earring."""
    fringe: Mix = ("fringe", lambda p: smoothstep(230, 410, p[:, 1]))
    _cap(puppet, fringe)
    left = _tip_mix("hairLeft", 360, 560)
    right = _tip_mix("hairRight", 380, 640)
    dark = linear(0, 300, 0, 640, (0, "#571d2a"), (1, "#a0452f"))
    _lock(
        puppet,
        "hair.side.left",
        [(394, 310), (401, 400), (398, 460), (387, 520), (396, 566)],
        [2, 15, 12, 8, 0],
        fill=linear(0, 330, 0, 560, (0, "#4a1726"), (1, "#6f2730")),
        mix=left,
        depth=26,
        lights=(),
        strands=(0.1,),
    )
    body = linear(130, 380, 190, 660, (0, "#9a4032"), (1, "#571d2b"))
    _lock(
        puppet,
        "hair.side.right.back",
        [(150, 250), (124, 380), (120, 480), (134, 570), (118, 632)],
        [2, 40, 40, 34, 0],
        fill=dark,
        mix=right,
        depth=10,
        lights=(),
        strands=(-0.5, 0.0, 0.5),
    )
    _lock(
        puppet,
        "hair.side.right",
        *SIDE,
        fill=body,
        mix=right,
        depth=36,
        strands=(-0.6, -0.2, 0.3, 0.65),
        lights=(-0.42, 0.05),
        light_at=(1, 3),
    )
    _fringe(puppet, fringe)


def _fringe(puppet: Puppet, fringe: Mix) -> None:
    sweep = linear(280, 240, 165, 430, (0, "#b8563c"), (1, "#64222c"))
    _lock(
        puppet,
        "hair.fringe.1",
        *FRINGE[0],
        fill=sweep,
        mix=fringe,
        lift=-2,
        lights=(-0.35, 0.0, 0.3),
        light_at=(1, 2),
    )
    _lock(
        puppet,
        "hair.fringe.2",
        *FRINGE[1],
        fill=sweep,
        mix=fringe,
        lift=4,
        lights=(-0.3, 0.2),
        light_at=(1, 3),
        strands=(-0.55, -0.1, 0.45),
    )
    _lock(
        puppet,
        "hair.fringe.3",
        *FRINGE[2],
        fill=sweep,
        mix=fringe,
        lift=10,
        lights=(-0.2, 0.3),
        light_at=(1, 3),
        strands=(-0.5, 0.1, 0.6),
    )
    _lock(
        puppet,
        "hair.fringe.4",
        *FRINGE[3],
        fill=sweep,
        mix=fringe,
        lift=14,
        lights=(-0.1,),
        light_at=(1, 3),
        strands=(-0.4, 0.4),
    )
    _lock(
        puppet,
        "hair.fringe.5",
        *FRINGE[4],
        fill=linear(310, 190, 400, 400, (0, "#8c3630"), (1, "#48172a")),
        mix=fringe,
        lift=6,
        lights=(-0.1, 0.35),
        light_at=(1, 2),
        strands=(-0.5, 0.0, 0.5),
    )
    _jewellery(puppet, fringe, sweep)


def _jewellery(puppet: Puppet, fringe: Mix, sweep: Any) -> None:
    _lock(
        puppet,
        "hair.fringe.6",
        *FRINGE[5],
        fill=sweep,
        mix=fringe,
        lift=12,
        lights=(0.1,),
        light_at=(1, 3),
        strands=(-0.3,),
    )
    puppet.layer(
        "hair.flyaway",
        [
            ribbon([(262, 160), (232, 150), (196, 166)], [0, 1.8, 0]),
            ribbon([(330, 166), (366, 168), (398, 204)], [0, 1.8, 0]),
            ribbon([(128, 420), (118, 470), (124, 520)], [0, 1.8, 0]),
        ],
        lift=4,
        mix=fringe,
        fill="#5f2028",
    )
    hang: Mix = ("earring", lambda p: np.ones(len(p)))
    gold = linear(394, 468, 412, 512, (0, "#ffe9a8"), (0.5, "#e8b24a"), (1, "#a06a22"))
    puppet.layer(
        "earring.chain",
        ribbon([(399, 462), (400, 470), (400, 482)], [1.4, 1.4, 1.4]),
        depth=4,
        mix=hang,
        fill="#e3b152",
    )
    puppet.layer(
        "earring.moon",
        smooth(
            [(404, 480), (392, 484), (388, 496), (394, 507), (406, 509), (399, 502), (397, 494), (399, 486)],
            corners=(0, 4),
        ),
        depth=4,
        mix=hang,
        fill=gold,
        stroke=("#6b3f14", 1.2),
    )
    puppet.layer("earring.star", ellipse(407, 495, 2.6, 2.6), depth=4, mix=hang, fill="#fff2c4")

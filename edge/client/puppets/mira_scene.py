"""Mira's planetarium: the night sky of the dome, its warm horizon, and what she wears."""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np

from edge.client.puppets.kit import Curve, Points, Puppet, ellipse, linear, radial, ribbon, smooth, smoothstep

__all__ = ["add_clothes", "add_sky", "star"]

LINE: Final = "#0b0d24"


def star(x: float, y: float, r: float, inner: float = 0.42, points: int = 5, tilt: float = 0.0) -> Curve:
    """A star with straight edges."""
    a = np.arange(2 * points) * np.pi / points - np.pi / 2 + tilt
    radius = np.where(np.arange(2 * points) % 2 == 0, r, r * inner)
    return smooth(np.stack([x + radius * np.cos(a), y + radius * np.sin(a)], 1), corners=range(2 * points))


def _box(x0: float, y0: float, x1: float, y1: float) -> Curve:
    return smooth([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], corners=(0, 1, 2, 3))


def add_sky(puppet: Puppet) -> None:
    """The backdrop, from the zenith down."""
    back: dict[str, Any] = {"bone": "root", "depth": 0.0, "backdrop": True}
    puppet.layer(
        "sky",
        _box(-20, -20, 560, 980),
        **back,
        fill=linear(
            270,
            0,
            270,
            960,
            (0, "#090b26"),
            (0.3, "#15174a"),
            (0.55, "#2e2468"),
            (0.74, "#6a3a7a"),
            (0.88, "#c9636b"),
            (1, "#f2a45f"),
        ),
    )
    _constellations(puppet, back)


def _constellations(puppet: Puppet, back: dict[str, Any]) -> None:
    for k, (x, y, r, color) in enumerate(
        ((120, 250, 260, "#4c5fd6"), (330, 130, 240, "#3a4fc0"), (470, 330, 220, "#7a4fc8"), (60, 470, 200, "#5a3fb8"))
    ):
        puppet.layer(
            f"sky.cloud.{k}",
            ellipse(x, y, r, r * 0.6),
            **back,
            fill=radial(x, y, r, (0, color + "55"), (0.5, color + "22"), (1, color + "00"), squash=0.6),
        )
    puppet.layer(
        "sky.glow",
        ellipse(270, 900, 420, 330),
        **back,
        fill=radial(270, 900, 420, (0, "#ffc987aa"), (0.45, "#f08a6a55"), (1, "#f08a6a00"), squash=0.78),
    )
    halo = ellipse(270, 390, 300, 330)
    puppet.layer(
        "sky.halo",
        halo,
        **back,
        fill=radial(270, 390, 300, (0, "#8f9bff4a"), (0.6, "#8f9bff1a"), (1, "#8f9bff00"), squash=1.1),
    )
    chance = np.random.default_rng(20261121)
    band = []
    for _ in range(170):
        t, spread = chance.uniform(-0.1, 1.1), chance.normal(0, 46)
        across, down = 30 + 520 * t + spread * 0.6, 470 - 430 * t + spread
        band.append(ellipse(float(across), float(down), *([float(chance.uniform(0.35, 0.95))] * 2)))
    puppet.layer("sky.band", [c for c in band if c[:, 1].max() < 640], **back, fill="#dfe4ff", alpha=0.7)
    field = [ellipse(float(chance.uniform(4, 536)), float(700 * chance.uniform(0.005, 1) ** 1.3),
                     *([float(chance.uniform(0.5, 1.5))] * 2)) for _ in range(120)]  # fmt: skip
    puppet.layer("sky.stars", field, **back, fill="#f3f1ff", alpha=0.85)
    for k in range(9):
        angle = np.pi * (0.04 + 0.115 * k)
        foot = (270 - 470 * np.cos(angle), 800 - 60 * np.sin(angle))
        middle = (270 - 330 * np.cos(angle), 360 - 120 * np.sin(angle))
        puppet.layer(
            f"dome.rib.{k}", ribbon([foot, middle, (270, -60)], [1.6, 1.3, 0.3]), **back, fill="#aab4ff", alpha=0.075
        )
    for k, y in enumerate((130, 330, 540)):
        sag = 60 - 22 * k
        puppet.layer(
            f"dome.ring.{k}",
            ribbon([(-30, y + sag), (120, y + 12), (270, y), (420, y + 12), (570, y + sag)], [1.3] * 5),
            **back,
            fill="#aab4ff",
            alpha=0.07,
        )
    _skyline(puppet, back)


def _skyline(puppet: Puppet, back: dict[str, Any]) -> None:
    lyre = [(66, 92), (104, 132), (92, 178), (136, 196), (150, 150), (104, 132)]
    for k, (a, b) in enumerate(itertools.pairwise(lyre)):
        puppet.layer(
            f"lines.{k}",
            ribbon([a, ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2), b], [1.1] * 3),
            **back,
            fill="#cfd6ff",
            alpha=0.5,
        )
    puppet.layer(
        "lines.stars",
        [star(x, y, 5.2 if k == 0 else 3.6, 0.3, 4) for k, (x, y) in enumerate(lyre[:5])],
        **back,
        fill="#fff8e0",
    )
    _planet(puppet, back)
    skyline = [
        (-20, 800),
        (40, 792),
        (90, 800),
        (140, 786),
        (200, 794),
        (270, 788),
        (330, 796),
        (400, 784),
        (460, 798),
        (510, 790),
        (560, 798),
        (560, 980),
        (-20, 980),
    ]
    puppet.layer(
        "skyline",
        smooth(skyline, corners=(0, 10, 11, 12)),
        **back,
        fill=linear(0, 786, 0, 960, (0, "#3a1f52"), (1, "#1a1138")),
        alpha=0.85,
    )
    for k, (tx, ty, size) in enumerate(
        ((446, 76, 6), (398, 236, 4.5), (40, 330, 5), (505, 420, 4.5), (214, 60, 4.5), (24, 180, 4))
    ):
        puppet.layer(
            f"twinkle.{k}",
            star(tx, ty, size, 0.22, 4),
            bone="root",
            depth=0.0,
            fill="#fffbe8",
            twinkle={"period": 3.1 + 0.7 * k, "phase": 0.37 * k, "depth": 0.75},
        )


def _planet(puppet: Puppet, back: dict[str, Any]) -> None:
    puppet.layer(
        "planet.glow", ellipse(468, 150, 62, 62), **back, fill=radial(468, 150, 62, (0, "#ffd59a66"), (1, "#ffd59a00"))
    )
    puppet.layer(
        "planet.ring.far",
        ribbon([(424, 168), (438, 146), (478, 131), (512, 132)], [0, 3.5, 3.5, 0]),
        **back,
        fill="#caa07a",
    )
    puppet.layer(
        "planet",
        ellipse(468, 150, 24, 24),
        **back,
        stroke=("#3a2350", 1.2),
        fill=radial(459, 141, 38, (0, "#ffe6b8"), (0.45, "#eda96c"), (0.8, "#a85a5e"), (1, "#5a2f5c")),
    )
    puppet.layer(
        "planet.ring",
        ribbon([(424, 168), (446, 172), (490, 154), (512, 132)], [0, 4.5, 4.5, 0]),
        **back,
        fill="#ffe0ad",
    )


def _shoulders(p: Points) -> Points:
    return np.asarray(smoothstep(60, 150, np.abs(p[:, 0] - 270)) * (1 - 0.55 * smoothstep(800, 960, p[:, 1])))


def add_clothes(puppet: Puppet) -> None:
    """A knitted roll neck, a jacket with piping, and a star on its lapel."""
    body: dict[str, Any] = {"bone": "spine"}
    puppet.layer(
        "knit",
        smooth(
            [(206, 660), (270, 676), (334, 660), (352, 720), (380, 980), (160, 980), (188, 720)], corners=(0, 2, 4, 5)
        ),
        **body,
        depth=10,
        stroke=("#5a3230", 2.0),
        fill=linear(190, 670, 350, 900, (0, "#f6e3c2"), (0.5, "#e2bd92"), (1, "#b58468")),
    )
    ribs = [
        ribbon([(x, 700), (270 + (x - 270) * 1.1, 800), (270 + (x - 270) * 1.2, 970)], [1.6, 1.6, 1.6])
        for x in range(206, 336, 13)
    ]
    puppet.layer("knit.ribs", ribs, **body, depth=12, fill="#a87858", alpha=0.4, clip=["knit"])
    puppet.layer(
        "knit.collar",
        smooth(
            [
                (219, 623),
                (240, 637),
                (270, 643),
                (300, 637),
                (321, 623),
                (334, 654),
                (336, 694),
                (304, 710),
                (270, 715),
                (236, 710),
                (204, 694),
                (206, 654),
            ],
            corners=(0, 4),
        ),
        **body,
        depth=16,
        stroke=("#5a3230", 2.0),
        fill=linear(204, 640, 336, 700, (0, "#fff2d6"), (0.5, "#ecca9f"), (1, "#c0906f")),
    )
    collar = [
        ribbon(
            [
                (270 + (x - 270) * 0.94, 629 + 14 * (1 - ((x - 270) / 62) ** 2)),
                (x, 676 + 14 * (1 - ((x - 270) / 66) ** 2)),
                (x, 692 + 18 * (1 - ((x - 270) / 66) ** 2)),
            ],
            [1.4, 1.8, 1.2],
        )
        for x in range(211, 335, 9)
    ]
    puppet.layer("knit.collar.ribs", collar, **body, depth=17, fill="#b08660", alpha=0.5, clip=["knit.collar"])
    _shade_and_lapels(puppet, body)


def _shade_and_lapels(puppet: Puppet, body: dict[str, Any]) -> None:
    puppet.layer(
        "knit.shadow",
        smooth([(196, 616), (344, 616), (344, 656), (300, 672), (250, 670), (198, 648)]),
        **body,
        depth=18,
        clip=["knit.collar"],
        blend="multiply",
        fill=linear(0, 618, 0, 674, (0, "#9a5a5acc"), (1, "#9a5a5a00")),
    )
    for side, name in ((1, "Left"), (-1, "Right")):
        _jacket(puppet, side, name)
    _embroidery(puppet)
    _pin(puppet)


def _side(points: list[tuple[float, float]], side: int) -> Points:
    return np.array([(270 + side * x, y) for x, y in points], dtype=float)


def _jacket(puppet: Puppet, side: int, name: str) -> None:
    mix = (f"shoulder{name}", _shoulders)
    lit = side < 0
    common: dict[str, Any] = {"bone": "spine", "mix": mix}
    cloth = (
        linear(60, 700, 230, 960, (0, "#4a5fa8"), (0.25, "#35468a"), (0.7, "#232c66"), (1, "#181d49"))
        if lit
        else linear(310, 700, 500, 960, (0, "#2d3a7a"), (0.5, "#20275c"), (1, "#141739"))
    )
    arm = _side(
        [
            (66, 672),
            (104, 694),
            (152, 714),
            (192, 742),
            (216, 790),
            (230, 860),
            (238, 980),
            (60, 980),
            (40, 840),
            (58, 740),
        ],
        side,
    )
    puppet.layer(f"jacket.{name}", smooth(arm, corners=(0, 6, 7)), **common, depth=20, stroke=(LINE, 2.4), fill=cloth)
    puppet.layer(
        f"jacket.fold.{name}",
        [
            ribbon(_side([(170, 780), (160, 850), (164, 980)], side), [0, 4, 5]),
            ribbon(_side([(196, 800), (180, 830), (152, 850)], side), [0, 3.5, 0]),
            ribbon(_side([(120, 730), (150, 744), (176, 768)], side), [0, 2.6, 0]),
        ],
        **common,
        depth=22,
        fill="#0f1233",
        alpha=0.55,
    )
    if lit:
        puppet.layer(
            f"jacket.light.{name}",
            ribbon(_side([(112, 704), (158, 724), (192, 752), (212, 800)], side), [0, 9, 8, 0]),
            **common,
            depth=22,
            fill="#8fa2e8",
            alpha=0.55,
        )
    else:
        puppet.layer(
            f"jacket.light.{name}",
            ribbon(_side([(150, 716), (190, 743), (214, 792), (228, 862), (234, 940)], side), [0, 6, 6, 5, 0]),
            **common,
            depth=22,
            fill="#ffab78",
            alpha=0.75,
        )
    _lapel(puppet, side, name, common, lit)


def _lapel(puppet: Puppet, side: int, name: str, common: dict[str, Any], lit: bool) -> None:
    puppet.layer(
        f"jacket.seam.{name}",
        ribbon(_side([(150, 716), (166, 764), (170, 812)], side), [0.6, 2, 0.6]),
        **common,
        depth=22,
        fill="#c99a48",
        alpha=0.55,
    )
    lapel = _side(
        [
            (54, 640),
            (76, 644),
            (110, 688),
            (128, 742),
            (104, 768),
            (116, 790),
            (70, 900),
            (34, 980),
            (26, 980),
            (36, 860),
            (52, 760),
        ],
        side,
    )
    puppet.layer(
        f"lapel.{name}",
        smooth(lapel, corners=(0, 3, 4, 5, 7, 8)),
        **common,
        depth=30,
        stroke=(LINE, 2.2),
        fill=linear(
            270 + side * 40,
            670,
            270 + side * 120,
            880,
            *(((0, "#5266b4"), (0.6, "#2f3c80"), (1, "#1d2456")) if lit else ((0, "#35438a"), (1, "#191d4a"))),
        ),
    )
    puppet.layer(
        f"piping.{name}",
        ribbon(
            _side([(76, 650), (107, 690), (123.5, 741), (100, 768), (111, 790), (67, 898), (32, 976)], side),
            [2.6, 2.8, 2.8, 2.8, 2.8, 2.8, 2.6],
            per=1,
        ),
        **common,
        depth=31,
        fill=linear(0, 664, 0, 960, (0, "#ffe3a0"), (0.5, "#dca846"), (1, "#9a6a28")),
    )


def _embroidery(puppet: Puppet) -> None:
    """A constellation stitched in gold on the lapel opposite the star."""
    stars = [(163, 706), (182, 722), (172, 748), (198, 756), (190, 786)]
    mix: tuple[str, Any] = ("shoulderRight", _shoulders)
    threads = [ribbon([a, ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2), b], [0.9] * 3) for a, b in itertools.pairwise(stars)]
    puppet.layer("embroidery.thread", threads, bone="spine", mix=mix, depth=31, fill="#e9c77a", alpha=0.6)
    dots = [star(x, y, 4.6 if k == 3 else 3.4, 0.4, 4) for k, (x, y) in enumerate(stars)]
    puppet.layer("embroidery.stars", dots, bone="spine", mix=mix, depth=31, fill="#ffe6a6")


def _pin(puppet: Puppet) -> None:
    where: dict[str, Any] = {"bone": "spine", "mix": ("shoulderLeft", lambda p: np.full(len(p), 0.35)), "depth": 34}
    x, y = 352, 744
    puppet.layer("pin.shadow", star(x + 2, y + 3, 14, 0.45, 5, 0.12), **where, fill="#0b0d24", alpha=0.5)
    puppet.layer(
        "pin",
        star(x, y, 14, 0.45, 5, 0.12),
        **where,
        stroke=("#7a4c14", 1.4),
        fill=linear(x - 10, y - 12, x + 10, y + 12, (0, "#fff6cc"), (0.45, "#f4c552"), (1, "#b87a22")),
    )
    puppet.layer("pin.light", star(x - 2, y - 2, 6, 0.4, 5, 0.12), **where, fill="#fffbe6", alpha=0.8)
    puppet.layer(
        "pin.glow",
        ellipse(x, y, 30, 30),
        **where,
        blend="screen",
        fill=radial(x, y, 30, (0, "#ffd98055"), (1, "#ffd98000")),
    )

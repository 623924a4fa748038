"""Pip, a head of our own: `python -m edge.client.models.pip` writes pip.glb and pip.vrm, the same bytes every time.

The GLB has all 52 ARKit shapes. The VRM has only a few expressions, as most VRMs do, and so shows the fallbacks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from core.avatar.rig import BLENDSHAPES
from edge.client.models import pip_eyes, pip_face, pip_hair, pip_mouth
from edge.client.models.glb import GlbWriter
from edge.client.models.surfaces import Piece, Weights, blend, grid, rgb, step

__all__ = ["FOLDER", "glb", "main", "vrm"]

FOLDER: Final = Path(__file__).parents[1] / "public" / "models"
TITLE: Final = "Visavis contributors, Apache-2.0"

_METRES: Final = 0.11
"""Of one head unit."""
_HEAD_AT: Final = 1.5
"""Metres above the floor."""
_SIDES: Final = (("Left", 1), ("Right", -1))


def _material(roughness: float, **more: Any) -> dict[str, Any]:
    return {"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": roughness}, "doubleSided": True, **more}


_MATERIALS: Final = {
    "skin": _material(0.62),
    "hair": _material(0.42),
    "matt": _material(0.85),
    "plain": _material(1.0),
    "wet": _material(0.12),
    "light": _material(1.0, emissiveFactor=[1, 1, 1]),
}


def _body() -> list[Piece]:
    """Shoulders in a jumper, with a collar; it goes on below any picture."""
    jumper, stripe = rgb("#5f70e6"), rgb("#ffc266")
    heights = np.array([-1.1, -1.2, -1.32, -1.46, -1.66, -1.95, -3.6])
    widths = np.array([0.34, 0.5, 0.75, 0.96, 1.09, 1.14, 1.1])
    around = np.linspace(0.0, 2 * np.pi, 20, endpoint=False)
    y, turn = np.meshgrid(heights, around, indexing="ij")
    flat = 0.95 - 0.45 * step(y, -1.1, -1.7)
    points = np.stack([widths[:, None] * np.sin(turn), y, widths[:, None] * flat * np.cos(turn) - 0.09], -1)
    colours = blend(
        np.tile(jumper, (points.size // 3, 1)), rgb("#34409e"), step(points.reshape(-1, 3)[:, 1], -1.5, -2.6)
    )
    rest = points.reshape(-1, 3)
    collar_points, collar_triangles = _torus((0.0, -1.13, -0.09), 0.345, 0.09)
    collar = np.tile(stripe, (len(collar_points), 1))
    return [
        Piece(lambda _: rest, grid(7, 20, closed=True), colours, "matt"),
        Piece(lambda _: collar_points, collar_triangles, collar, "matt"),
    ]


def _torus(center: tuple[float, float, float], radius: float, thickness: float) -> tuple[Any, Any]:
    rows, columns = 6, 16
    tube, around = np.meshgrid(
        np.linspace(0, 2 * np.pi, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False), indexing="ij"
    )
    ring = radius + thickness * np.cos(tube)
    points = np.stack([ring * np.sin(around), thickness * np.sin(tube), ring * np.cos(around)], -1) + center
    return points.reshape(-1, 3), grid(rows, columns, closed=True)[:, ::-1]


def _neck() -> Piece:
    heights = np.linspace(-0.72, -1.3, 4)
    around = np.linspace(0.0, 2 * np.pi, 14, endpoint=False)
    y, turn = np.meshgrid(heights, around, indexing="ij")
    width = 0.3 + 0.03 * step(y, -1.0, -1.3)
    points = np.stack([width * np.sin(turn), y, width * np.cos(turn) - 0.09], -1).reshape(-1, 3)
    shade = rgb("#c47c66")
    colours = blend(np.tile(pip_face.SKIN, (len(points), 1)), shade, 0.85 * step(points[:, 1], -1.2, -0.85))
    return Piece(lambda _: points, grid(4, 14, closed=True), colours, "skin")


def _assemble(poses: dict[str, Weights]) -> tuple[GlbWriter, int, dict[str, int]]:
    """All nodes and meshes; the writer, the root, and the joints by name."""
    writer = GlbWriter(_MATERIALS)
    root = writer.node("Pip", scale=[_METRES] * 3, translation=[0, _HEAD_AT, 0])
    joints: dict[str, int] = {}
    at: dict[str, tuple[float, float, float]] = {"": (0.0, 0.0, 0.0)}

    def joint(name: str, parent: str, place: tuple[float, float, float]) -> None:
        before = at[parent]
        offset = [round(a - b, 6) for a, b in zip(place, before, strict=True)]
        joints[name] = writer.node(name, joints.get(parent, root), translation=offset)
        at[name] = place

    def mesh(name: str, parent: str, pieces: list[Piece]) -> None:
        writer.mesh(f"{parent}.{name}", joints[parent], pieces, poses, np.array(at[parent]))

    joint("Spine", "", (0.0, -2.4, -0.1))
    joint("Neck", "Spine", (0.0, -1.15, -0.12))
    joint("Head", "Neck", (0.0, -0.72, -0.12))
    mesh("body", "Spine", _body())
    mesh("skin", "Neck", [_neck()])
    left_lids, right_lids = pip_eyes.lids(1), pip_eyes.lids(-1)
    mesh("skin", "Head", [pip_face.head(), pip_face.nose(), pip_face.ear(1), pip_face.ear(-1)])
    mesh(
        "mouth",
        "Head",
        [pip_mouth.upper_lip(), pip_mouth.lower_lip(), pip_mouth.inside(), pip_mouth.teeth(), pip_mouth.tongue()],
    )
    mesh("lids.left", "Head", [*left_lids])
    mesh("lids.right", "Head", [*right_lids])
    mesh("brows", "Head", [pip_eyes.brow(1), pip_eyes.brow(-1)])
    mesh("hair", "Head", [pip_hair.cap(), *pip_hair.locks()])
    mesh("glints", "Head", [pip_eyes.glint(1), pip_eyes.glint(-1)])
    for name, side in _SIDES:
        x, y, z = pip_eyes.EYE
        joint(f"{name}Eye", "Head", (side * x, y, z))
        writer.mesh(f"{name}Eye.ball", joints[f"{name}Eye"], [pip_eyes.ball()], {})
    return writer, root, joints


def glb() -> bytes:
    """The head with all 52 shapes."""
    writer, root, _ = _assemble({name: {name: 1.0} for name in BLENDSHAPES})
    return writer.write([root], TITLE)


def _both(**weights: float) -> Weights:
    return {f"{name}{side}": value for name, value in weights.items() for side in ("Left", "Right")}


_EXPRESSIONS: Final[dict[str, Weights]] = {
    "aa": {"jawOpen": 0.75, **_both(mouthLowerDown=0.3)},
    "ih": {"jawOpen": 0.25, **_both(mouthStretch=0.4, mouthUpperUp=0.2)},
    "ou": {"jawOpen": 0.2, "mouthPucker": 0.75, "mouthFunnel": 0.2},
    "ee": {"jawOpen": 0.18, **_both(mouthSmile=0.35, mouthLowerDown=0.3)},
    "oh": {"jawOpen": 0.5, "mouthFunnel": 0.5, "mouthPucker": 0.25},
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "happy": _both(mouthSmile=1.0, cheekSquint=0.5),
}

_LIMBS: Final = (
    ("UpperLeg", 0.09, 0.85), ("LowerLeg", 0.09, 0.45), ("Foot", 0.09, 0.08),
    ("UpperArm", 0.16, 1.32), ("LowerArm", 0.4, 1.32), ("Hand", 0.62, 1.32),
)  # fmt: skip


def vrm() -> bytes:
    """The same head as a VRM 1.0 with eight expressions and the bones that the format asks for."""
    shapes = {f"Pip_{name}": pose for name, pose in _EXPRESSIONS.items()}
    writer, root, joints = _assemble(shapes)
    bones = {"head": joints["Head"], "neck": joints["Neck"], "spine": joints["Spine"]}
    hips = writer.node("Hips", translation=[0, 0.95, 0])
    # VRM wants the spine below the hips; the head keeps its place in the world.
    writer.nodes[root]["translation"] = [0, round(_HEAD_AT - 0.95, 6), 0]
    writer.nodes[hips]["children"] = [root]
    bones["hips"] = hips
    for side, sign in _SIDES:
        above = {"Leg": (hips, (0.0, 0.95)), "Arm": (hips, (0.0, 0.95))}
        for name, x, y in _LIMBS:
            kind = "Leg" if name.endswith("Leg") or name == "Foot" else "Arm"
            parent, (px, py) = above[kind]
            node = writer.node(f"{side}{name}", parent, translation=[round(sign * (x - px), 6), round(y - py, 6), 0])
            bones[f"{side.lower()}{name}"] = node
            above[kind] = (node, (x, y))
        bones[f"{side.lower()}Eye"] = joints[f"{side}Eye"]
    return writer.write([hips], TITLE, {"VRMC_vrm": _vrm_extension(writer, bones)})


def _vrm_extension(writer: GlbWriter, bones: dict[str, int]) -> dict[str, Any]:
    preset = {}
    for name in _EXPRESSIONS:
        binds = [
            {"node": index, "index": names.index(f"Pip_{name}"), "weight": 1.0}
            for index, node in enumerate(writer.nodes)
            if "mesh" in node and f"Pip_{name}" in (names := writer.target_names(node["mesh"]))
        ]
        preset[name] = {"morphTargetBinds": binds}
    reach = {"inputMaxValue": 30.0, "outputScale": 30.0}
    return {
        "specVersion": "1.0",
        "meta": {
            "name": "Pip",
            "version": "1",
            "authors": ["Visavis contributors"],
            "licenseUrl": "https://vrm.dev/licenses/1.0/",
            "avatarPermission": "everyone",
            "allowRedistribution": True,
            "modification": "allowModificationRedistribution",
            "otherLicenseUrl": "https://www.apache.org/licenses/LICENSE-2.0",
        },
        "humanoid": {"humanBones": {name: {"node": node} for name, node in bones.items()}},
        "expressions": {"preset": preset},
        "lookAt": {
            "offsetFromHeadBone": [0, 0.08, 0.06],
            "type": "bone",
            **{
                f"rangeMap{name}": reach
                for name in ("HorizontalInner", "HorizontalOuter", "VerticalDown", "VerticalUp")
            },
        },
    }


def main() -> None:
    """Write both files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in (("pip.glb", glb()), ("pip.vrm", vrm())):
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()

"""Mira, the guide at a small planetarium: `python -m edge.client.puppets.mira` writes her puppet.json."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge.client.puppets.kit import Puppet
from edge.client.puppets.mira_eyes import EYE_GAIN, EYE_X, EYE_Y, EYE_Z, add_eyes
from edge.client.puppets.mira_face import CX, add_brows, add_head, add_nose, add_rim, face_depth
from edge.client.puppets.mira_hair import add_back_hair, add_bones, add_fringe_shadow, add_front_hair
from edge.client.puppets.mira_mouth import add_mouth
from edge.client.puppets.mira_scene import add_clothes, add_sky

__all__ = ["PATH", "build"]

PATH: Final = Path(__file__).parents[1] / "public" / "characters" / "mira" / "puppet.json"

_COMBINATIONS: Final[list[tuple[str, ...]]] = [
    *[(a, b) for side in ("Left", "Right") for a, b in (
        (f"eyeBlink{side}", f"eyeLookDown{side}"), (f"eyeBlink{side}", f"eyeLookUp{side}"),
        (f"eyeBlink{side}", f"eyeSquint{side}"), (f"eyeBlink{side}", f"eyeWide{side}"),
        (f"eyeBlink{side}", f"cheekSquint{side}"), (f"eyeBlink{side}", f"mouthSmile{side}"),
        (f"eyeBlink{side}", f"browDown{side}"),
        (f"eyeBlink{side}", f"{side.lower()}Eye.pitch+"), (f"eyeBlink{side}", f"{side.lower()}Eye.pitch-"),
        ("lips.open", f"mouthSmile{side}"), ("lips.open", f"mouthStretch{side}"), ("lips.open", f"mouthPress{side}"),
        ("mouthPucker", f"mouthSmile{side}"),
        ("mouthRollLower", f"mouthPress{side}"), ("mouthRollLower", f"mouthUpperUp{side}"),
        ("mouthRollLower", f"mouthLowerDown{side}"),
    )],
    ("lips.open", "mouthFunnel"), ("lips.open", "mouthPucker"), ("jawOpen", "tongueOut"),
    ("mouthFunnel", "mouthPucker"), ("lips.open", "mouthRollLower"), ("lips.open", "mouthRollUpper"),
    ("mouthClose", "mouthFunnel"), ("mouthClose", "mouthPucker"),
    ("lips.open", "mouthFunnel", "mouthPucker"), ("mouthRollLower", "mouthRollUpper"),
]  # fmt: skip


def build() -> Puppet:
    """Draw her: bones, then layers from the back to the front."""
    puppet = Puppet(id="mira", name="Mira", size=(540, 960), safe_width=430, focal=1500)
    puppet.depth_of = face_depth
    puppet.combinations = _COMBINATIONS
    puppet.bone("root", None, (CX, 960, 0))
    puppet.bone("spine", "root", (CX, 1080, 0), joint="spine")
    puppet.bone("shoulderLeft", "spine", (CX + 60, 720, 0), joint="leftShoulder")
    puppet.bone("shoulderRight", "spine", (CX - 60, 720, 0), joint="rightShoulder")
    puppet.bone("neck", "spine", (CX, 660, -30), joint="neck")
    puppet.bone("head", "neck", (CX, 545, -30), joint="head")
    puppet.bone("eyeLeft", "head", (CX + EYE_X, EYE_Y, EYE_Z), joint="leftEye", gain=EYE_GAIN)
    puppet.bone("eyeRight", "head", (CX - EYE_X, EYE_Y, EYE_Z), joint="rightEye", gain=EYE_GAIN)
    add_bones(puppet)
    add_sky(puppet)
    add_back_hair(puppet)
    add_head(puppet)
    add_fringe_shadow(puppet)
    add_rim(puppet)
    add_nose(puppet)
    add_mouth(puppet)
    add_eyes(puppet)
    add_brows(puppet)
    add_clothes(puppet)
    add_front_hair(puppet)
    return puppet


if __name__ == "__main__":
    PATH.parent.mkdir(parents=True, exist_ok=True)
    build().write(PATH)

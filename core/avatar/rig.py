"""The rig: names, order and ranges of everything a frame can move. One home for these names.

The 52 weights are Apple ARKit's `ARFaceAnchor.BlendShapeLocation`, each in [0, 1]. Joints are unit quaternions
(x, y, z, w) relative to the rest pose, right-handed: +y up, +z out of the face towards the viewer, +x towards the
character's left. "Left" and "right" are always the character's.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BLENDSHAPES", "BLENDSHAPE_INDEX", "JOINTS", "JOINT_INDEX", "RIG_PROFILE"]

RIG_PROFILE: Final = "visavis-52-7"

BLENDSHAPES: Final[tuple[str, ...]] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight",
    "eyeWideRight",
    "jawForward", "jawLeft", "jawRight", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight",
    "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""Weight names in wire order."""

BLENDSHAPE_INDEX: Final[dict[str, int]] = {name: index for index, name in enumerate(BLENDSHAPES)}

JOINTS: Final[tuple[str, ...]] = ("neck", "head", "leftEye", "rightEye", "spine", "leftShoulder", "rightShoulder")
"""Joint names in wire order."""

JOINT_INDEX: Final[dict[str, int]] = {name: index for index, name in enumerate(JOINTS)}

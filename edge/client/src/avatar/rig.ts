/** The rig: names and order. Mirrors core/avatar/rig.py; a test compares the two. */
export const RIG_PROFILE = "visavis-52-7";

export const BLENDSHAPES = [
  "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
  "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
  "eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose",
  "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight",
  "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft",
  "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
  "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
  "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
  "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
] as const;

export const JOINTS = [
  "neck", "head", "leftEye", "rightEye", "spine", "leftShoulder", "rightShoulder",
] as const;

export type Blendshape = (typeof BLENDSHAPES)[number];
export type Joint = (typeof JOINTS)[number];

export const BLENDSHAPE_INDEX = Object.fromEntries(BLENDSHAPES.map((name, index) => [name, index])) as Record<
  Blendshape,
  number
>;
export const JOINT_INDEX = Object.fromEntries(JOINTS.map((name, index) => [name, index])) as Record<Joint, number>;

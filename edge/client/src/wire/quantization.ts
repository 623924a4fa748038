import { BLENDSHAPE_INDEX, BLENDSHAPES, JOINTS, type Blendshape } from "../avatar/rig";
import type { AnimationFrame } from "../avatar/frame";
import { dequantizeQuaternion } from "./quaternion";

/** The integers a frame is made of, and how channels are grouped. Mirrors core/wire/quantization.py; SPEC.md 4.2. */
export const JOINT_BASE = BLENDSHAPES.length;
export const STATE_SIZE = JOINT_BASE + 4 * JOINTS.length + 1;
export const SCORE = STATE_SIZE - 1;
const SCORE_MAX = 255;

const isFine = (name: string): boolean => name.startsWith("jaw") || name.startsWith("mouth");

/** Greatest quantised value of each weight. */
export const WEIGHT_MAX: Int16Array = Int16Array.from(BLENDSHAPES, (name) => (isFine(name) ? 1023 : 255));

const STEP_TABLE = [
  [0, 0],
  [2, 0],
  [3, 1],
  [4, 2],
] as const;
/** By how many bits each weight's delta is shifted left, for each of the four step codes of a frame. */
export const STEP_SHIFTS: readonly Uint8Array[] = STEP_TABLE.map(([fine, coarse]) =>
  Uint8Array.from(BLENDSHAPES, (name) => (isFine(name) ? fine : coarse)),
);

/** One channel (second is -1), or two that usually move alike. */
export interface Unit {
  readonly first: number;
  readonly second: number;
}

const one = (name: Blendshape): Unit => ({ first: BLENDSHAPE_INDEX[name], second: -1 });
const two = (first: Blendshape, second: Blendshape): Unit => ({
  first: BLENDSHAPE_INDEX[first],
  second: BLENDSHAPE_INDEX[second],
});
type Sided = { [Name in Blendshape]: Name extends `${infer Stem}Left` ? Stem : never }[Blendshape];
const both = (stem: Exclude<Sided, "jaw" | "mouth">): Unit => two(`${stem}Left`, `${stem}Right`);

/** Change-mask groups. */
export const GROUPS: readonly (readonly Unit[])[] = [
  [
    one("jawOpen"),
    one("mouthClose"),
    one("mouthFunnel"),
    one("mouthPucker"),
    both("mouthLowerDown"),
    both("mouthUpperUp"),
    both("mouthStretch"),
    both("mouthSmile"),
  ],
  [
    one("mouthRollLower"),
    one("mouthRollUpper"),
    both("mouthPress"),
    one("mouthShrugLower"),
    one("mouthShrugUpper"),
    both("mouthDimple"),
    one("tongueOut"),
    one("cheekPuff"),
  ],
  [
    both("eyeBlink"),
    both("eyeSquint"),
    both("eyeWide"),
    both("eyeLookDown"),
    both("eyeLookUp"),
    two("eyeLookInLeft", "eyeLookOutRight"),
    two("eyeLookOutLeft", "eyeLookInRight"),
  ],
  [
    both("browDown"),
    one("browInnerUp"),
    both("browOuterUp"),
    both("cheekSquint"),
    both("mouthFrown"),
    both("noseSneer"),
  ],
  [one("jawForward"), one("jawLeft"), one("jawRight"), one("mouthLeft"), one("mouthRight")],
];

/** rightEye, whose delta may be stated to be leftEye's. */
export const SAME_JOINT = 3;
/** rightShoulder, whose delta may be stated to be leftShoulder's mirror image. */
export const MIRRORED_JOINT = 6;

/** State of the rig's rest pose: 52 weights, 7 joints of four integers, score. */
export function restState(): Int16Array {
  const state = new Int16Array(STATE_SIZE);
  for (let joint = 0; joint < JOINTS.length; joint++) state[JOINT_BASE + 4 * joint] = 3;
  return state;
}

/** The frame of a state. */
export function dequantize(state: Int16Array): AnimationFrame {
  const weights = new Float32Array(JOINT_BASE);
  for (let index = 0; index < JOINT_BASE; index++) weights[index] = state[index]! / WEIGHT_MAX[index]!;
  const joints = new Float32Array(4 * JOINTS.length);
  for (let at = 0; at < joints.length; at += 4) {
    const here = JOINT_BASE + at;
    dequantizeQuaternion(state[here]!, state[here + 1]!, state[here + 2]!, state[here + 3]!, joints, at);
  }
  return { weights, joints, syncScore: state[SCORE]! / SCORE_MAX };
}

const CRC_TABLE = Uint16Array.from({ length: 256 }, (_, index) => {
  let value = index << 8;
  for (let bit = 0; bit < 8; bit++) value = (value & 0x8000) !== 0 ? (value << 1) ^ 0x1021 : value << 1;
  return value;
});

/** CRC-16 (polynomial 0x1021, initial value 0xFFFF) over the state as little-endian 16-bit words. */
export function checksum(state: Int16Array): number {
  let crc = 0xffff;
  for (const value of state) {
    crc = ((crc << 8) & 0xffff) ^ CRC_TABLE[(crc >> 8) ^ (value & 255)]!;
    crc = ((crc << 8) & 0xffff) ^ CRC_TABLE[(crc >> 8) ^ ((value >> 8) & 255)]!;
  }
  return crc;
}

import { BLENDSHAPE_INDEX, JOINT_INDEX } from "../avatar/rig";
import { rotateJoint, smoothstep, type Pose } from "./pose";

const BLINK_CLOSE_MS = 70;
const BLINK_HOLD_MS = 30;
const BLINK_OPEN_MS = 140;
const BLINK_INTERVAL_MS = 3_900;
const BREATH_MS = 4_300;
const GAZE_HOLD_MS = 2_300;
/** A face without any smile looks sad. */
const REST_SMILE = 0.16;

/** A repeatable pseudo-random number in [0, 1) per integer (an integer hash after Mueller). */
function noise(index: number): number {
  let x = (index | 0) ^ 0x9e3779b9;
  x = Math.imul((x >>> 16) ^ x, 0x45d9f3b);
  x = Math.imul((x >>> 16) ^ x, 0x45d9f3b);
  return (((x >>> 16) ^ x) >>> 0) / 2 ** 32;
}

/** How far the lids are closed at an instant, 0 open to 1 closed: one blink per slot, at an uneven place in it. */
export function blinkAt(timeMs: number): number {
  const slot = Math.floor(timeMs / BLINK_INTERVAL_MS);
  const start = (slot + 0.15 + 0.6 * noise(slot)) * BLINK_INTERVAL_MS;
  const since = timeMs - start;
  if (since < 0 || since > BLINK_CLOSE_MS + BLINK_HOLD_MS + BLINK_OPEN_MS) return 0;
  if (since < BLINK_CLOSE_MS) return smoothstep(since / BLINK_CLOSE_MS);
  return 1 - smoothstep((since - BLINK_CLOSE_MS - BLINK_HOLD_MS) / BLINK_OPEN_MS);
}

/** Where the eyes rest, −1…1 per axis: short jumps between places near the viewer, as real eyes do. */
function gazeAt(timeMs: number): [number, number] {
  const slot = Math.floor(timeMs / GAZE_HOLD_MS);
  const progress = smoothstep((timeMs / GAZE_HOLD_MS - slot) / 0.03);
  const place = (index: number): [number, number] =>
    noise(index * 3) < 0.45 ? [0, 0] : [noise(index * 3 + 1) * 2 - 1, noise(index * 3 + 2) * 2 - 1];
  const [fromX, fromY] = place(slot - 1);
  const [toX, toY] = place(slot);
  return [fromX + (toX - fromX) * progress, fromY + (toY - fromY) * progress];
}

/**
 * Adds life to a resting pose: blinks, breath, a drifting head, small glances. A pure function of time, so the same
 * instant gives the same face.
 *
 * @param amount 0 adds nothing, 1 everything; people who asked for reduced motion get less drift and the same blinks.
 */
export function addIdle(pose: Pose, timeMs: number, amount: number): void {
  const blink = blinkAt(timeMs) * Math.min(1, amount * 3);
  for (const name of ["eyeBlinkLeft", "eyeBlinkRight"] as const) {
    const index = BLENDSHAPE_INDEX[name];
    pose.weights[index] = Math.max(pose.weights[index]!, blink);
  }
  for (const name of ["mouthSmileLeft", "mouthSmileRight"] as const) {
    const index = BLENDSHAPE_INDEX[name];
    pose.weights[index] = Math.max(pose.weights[index]!, REST_SMILE);
  }
  const breath = (0.5 - 0.5 * Math.cos((2 * Math.PI * timeMs) / BREATH_MS)) * amount;
  rotateJoint(pose, JOINT_INDEX.spine, -0.012 * breath, 0, 0);
  rotateJoint(pose, JOINT_INDEX.leftShoulder, 0, 0, 0.022 * breath);
  rotateJoint(pose, JOINT_INDEX.rightShoulder, 0, 0, -0.022 * breath);
  const seconds = timeMs / 1_000;
  const nod = (Math.sin(seconds * 0.71) + 0.6 * Math.sin(seconds * 1.31 + 1)) * 0.012 * amount;
  const turn = (Math.sin(seconds * 0.53 + 2) + 0.5 * Math.sin(seconds * 1.07)) * 0.024 * amount;
  const tilt = Math.sin(seconds * 0.37 + 4) * 0.014 * amount;
  rotateJoint(pose, JOINT_INDEX.head, nod, turn, tilt);
  const [gazeX, gazeY] = gazeAt(timeMs);
  addGaze(pose, gazeX * 0.16 * amount, gazeY * 0.1 * amount);
}

function addGaze(pose: Pose, x: number, y: number): void {
  const add = (name: keyof typeof BLENDSHAPE_INDEX, value: number): void => {
    const index = BLENDSHAPE_INDEX[name];
    pose.weights[index] = Math.min(1, pose.weights[index]! + Math.max(0, value));
  };
  add("eyeLookOutLeft", x);
  add("eyeLookInRight", x);
  add("eyeLookInLeft", -x);
  add("eyeLookOutRight", -x);
  add("eyeLookUpLeft", y);
  add("eyeLookUpRight", y);
  add("eyeLookDownLeft", -y);
  add("eyeLookDownRight", -y);
}

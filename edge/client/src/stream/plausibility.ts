import { BLENDSHAPES, JOINTS } from "../avatar/rig";
import type { AnimationFrame } from "../avatar/frame";
import { mixJoint, type Pose } from "./pose";

/** Quickest plausible changes per 20 ms; mirrors core/limits.py and core/avatar/blend.py, which know the reasons. */
const STEP_MS = 20;
const WEIGHT_STEP_MAX = 0.28;
const LID_STEP_MAX = 0.5;
const JOINT_STEP_RAD_MAX = 0.05;
const EYE_STEP_RAD_MAX = 0.2;
const LIDS = /^eye(Blink|Wide|LookDown|LookIn|LookOut|LookUp)/;
const TINY = 1e-9;

const WEIGHT_STEPS = Float64Array.from(BLENDSHAPES, (name) => (LIDS.test(name) ? LID_STEP_MAX : WEIGHT_STEP_MAX));
const JOINT_STEPS = Float64Array.from(JOINTS, (name) => (name.endsWith("Eye") ? EYE_STEP_RAD_MAX : JOINT_STEP_RAD_MAX));

/**
 * Pull `pose` back to what a face can reach from `former` in this time, in place: truth that arrives after a guess is
 * joined, not jumped to. Mirrors `limit_motion` of core/stream/pose.py.
 */
export function limitMotion(pose: Pose, former: AnimationFrame, elapsedMs: number): void {
  const factor = elapsedMs / STEP_MS;
  for (let index = 0; index < pose.weights.length; index += 1) {
    const step = WEIGHT_STEPS[index]! * factor;
    const from = former.weights[index]!;
    const change = pose.weights[index]! - from;
    if (Math.abs(change) > step) pose.weights[index] = from + Math.sign(change) * step;
  }
  for (let joint = 0; joint < JOINT_STEPS.length; joint += 1) {
    const allowed = JOINT_STEPS[joint]! * factor;
    const turn = turnOf(former, pose, joint * 4);
    if (turn > allowed) mixJoint(pose.joints, former, pose, joint * 4, allowed / Math.max(turn, TINY));
  }
}

/** Largest turn about one axis, as 2·tan(angle / 2) in radians. */
function turnOf(from: AnimationFrame, to: AnimationFrame, start: number): number {
  const [ax, ay, az, aw] = four(from.joints, start);
  const [bx, by, bz, bw] = four(to.joints, start);
  const x = aw * bx - bw * ax - (by * az - bz * ay);
  const y = aw * by - bw * ay - (bz * ax - bx * az);
  const z = aw * bz - bw * az - (bx * ay - by * ax);
  const cosine = Math.abs(ax * bx + ay * by + az * bz + aw * bw);
  return (2 * Math.max(Math.abs(x), Math.abs(y), Math.abs(z))) / Math.max(cosine, TINY);
}

function four(joints: Float32Array, start: number): [number, number, number, number] {
  return [joints[start]!, joints[start + 1]!, joints[start + 2]!, joints[start + 3]!];
}

import { BLENDSHAPES, JOINTS } from "../avatar/rig";
import type { AnimationFrame } from "../avatar/frame";

/** A frame that may be written to: the stream code reuses a few of these, so that drawing allocates nothing. */
export interface Pose extends AnimationFrame {
  syncScore: number;
}

/** The rig's rest pose: all weights 0, all joints identity. */
export function restPose(): Pose {
  const joints = new Float32Array(JOINTS.length * 4);
  for (let joint = 0; joint < JOINTS.length; joint += 1) joints[joint * 4 + 3] = 1;
  return { weights: new Float32Array(BLENDSHAPES.length), joints, syncScore: 0 };
}

export function copyPose(target: Pose, source: AnimationFrame): void {
  target.weights.set(source.weights);
  target.joints.set(source.joints);
  target.syncScore = source.syncScore;
}

/**
 * target = from + (to − from) · t. Weights are linear and stay in [0, 1]; joints are normalised linear interpolations
 * along the shorter arc, which for the small steps between frames equals slerp to within a rounding error.
 *
 * @param t 0 gives `from`, 1 gives `to`; a little beyond 1 extrapolates.
 */
export function mixPoses(target: Pose, from: AnimationFrame, to: AnimationFrame, t: number): void {
  for (let index = 0; index < target.weights.length; index += 1) {
    const a = from.weights[index]!;
    target.weights[index] = Math.min(1, Math.max(0, a + (to.weights[index]! - a) * t));
  }
  for (let start = 0; start < target.joints.length; start += 4) mixJoint(target.joints, from, to, start, t);
  target.syncScore = Math.min(1, Math.max(0, from.syncScore + (to.syncScore - from.syncScore) * t));
}

/** One joint of `mixPoses`, at `start` of the flat array; `target` may be one of the two. */
export function mixJoint(
  target: Float32Array,
  from: AnimationFrame,
  to: AnimationFrame,
  start: number,
  t: number,
): void {
  let dot = 0;
  for (let axis = start; axis < start + 4; axis += 1) dot += from.joints[axis]! * to.joints[axis]!;
  const sign = dot < 0 ? -1 : 1;
  let length = 0;
  for (let axis = start; axis < start + 4; axis += 1) {
    const a = from.joints[axis]!;
    const value = a + (to.joints[axis]! * sign - a) * t;
    target[axis] = value;
    length += value * value;
  }
  const scale = length > 1e-12 ? 1 / Math.sqrt(length) : 0;
  if (scale === 0) {
    target[start] = target[start + 1] = target[start + 2] = 0;
    target[start + 3] = 1;
    return;
  }
  const flip = target[start + 3]! < 0 ? -scale : scale;
  for (let axis = start; axis < start + 4; axis += 1) target[axis] = target[axis]! * flip;
}

/** Turn a joint of `pose` further by small Euler angles in radians (x = nod, y = turn, z = tilt), after what it does. */
export function rotateJoint(pose: Pose, joint: number, x: number, y: number, z: number): void {
  const start = joint * 4;
  const bx = x / 2;
  const by = y / 2;
  const bz = z / 2;
  const scale = 1 / Math.sqrt(1 + bx * bx + by * by + bz * bz);
  const [ax, ay, az, aw] = [
    pose.joints[start]!,
    pose.joints[start + 1]!,
    pose.joints[start + 2]!,
    pose.joints[start + 3]!,
  ];
  const sign = aw - (ax * bx + ay * by + az * bz) < 0 ? -scale : scale;
  pose.joints[start] = (aw * bx + ax + ay * bz - az * by) * sign;
  pose.joints[start + 1] = (aw * by - ax * bz + ay + az * bx) * sign;
  pose.joints[start + 2] = (aw * bz + ax * by - ay * bx + az) * sign;
  pose.joints[start + 3] = (aw - ax * bx - ay * by - az * bz) * sign;
}

/** Classic ease in and out on [0, 1]. */
export function smoothstep(x: number): number {
  const t = Math.min(1, Math.max(0, x));
  return t * t * (3 - 2 * t);
}

import type { AnimationFrame } from "../../avatar/frame";
import { BLENDSHAPE_INDEX, BLENDSHAPES, JOINT_INDEX, JOINTS, type Blendshape, type Joint } from "../../avatar/rig";

/** A frame from names: weights as "jawOpen", joint angles in radians as "head.yaw" (applied roll, pitch, yaw). */
export function frameOf(pose: Readonly<Record<string, number>>): AnimationFrame {
  const weights = new Float32Array(BLENDSHAPES.length);
  const angles = new Float64Array(JOINTS.length * 3);
  for (const [name, value] of Object.entries(pose)) {
    const [joint, axis] = name.split(".");
    if (axis === undefined) weights[BLENDSHAPE_INDEX[name as Blendshape]] = value;
    else angles[JOINT_INDEX[joint as Joint] * 3 + ["pitch", "yaw", "roll"].indexOf(axis)] = value;
  }
  const joints = new Float32Array(JOINTS.length * 4);
  for (let joint = 0; joint < JOINTS.length; joint += 1) {
    const [a, b, c] = [0, 1, 2].map((axis) => angles[joint * 3 + axis]! / 2) as [number, number, number];
    const [sp, cp, sy, cy, sr, cr] = [Math.sin(a), Math.cos(a), Math.sin(b), Math.cos(b), Math.sin(c), Math.cos(c)];
    joints[joint * 4] = cy * sp * cr + sy * cp * sr;
    joints[joint * 4 + 1] = sy * cp * cr - cy * sp * sr;
    joints[joint * 4 + 2] = cy * cp * sr - sy * sp * cr;
    joints[joint * 4 + 3] = cy * cp * cr + sy * sp * sr;
  }
  return { weights, joints, syncScore: 1 };
}

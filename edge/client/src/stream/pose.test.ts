import { describe, expect, it } from "vitest";
import { JOINT_INDEX } from "../avatar/rig";
import { copyPose, mixPoses, restPose, rotateJoint, smoothstep } from "./pose";

function length(pose: ReturnType<typeof restPose>, joint: number): number {
  return Math.hypot(...pose.joints.slice(joint * 4, joint * 4 + 4));
}

describe("mixPoses", () => {
  it("gives the ends at 0 and 1 and the middle between", () => {
    const from = restPose();
    const to = restPose();
    to.weights[17] = 0.8;
    to.syncScore = 1;
    const out = restPose();
    mixPoses(out, from, to, 0);
    expect(out.weights[17]).toBe(0);
    mixPoses(out, from, to, 1);
    expect(out.weights[17]).toBeCloseTo(0.8, 6);
    mixPoses(out, from, to, 0.5);
    expect(out.weights[17]).toBeCloseTo(0.4, 6);
    expect(out.syncScore).toBeCloseTo(0.5, 6);
  });

  it("keeps extrapolated weights inside [0, 1] and quaternions at unit length", () => {
    const from = restPose();
    const to = restPose();
    to.weights[0] = 0.9;
    to.weights[1] = 0;
    from.weights[1] = 0.5;
    rotateJoint(to, JOINT_INDEX.head, 0.3, -0.2, 0.1);
    const out = restPose();
    mixPoses(out, from, to, 1.5);
    expect(out.weights[0]).toBe(1);
    expect(out.weights[1]).toBe(0);
    expect(length(out, JOINT_INDEX.head)).toBeCloseTo(1, 6);
  });

  it("takes the shorter arc when the signs differ", () => {
    const from = restPose();
    const to = restPose();
    rotateJoint(to, JOINT_INDEX.head, 0, 0.4, 0);
    const flipped = restPose();
    copyPose(flipped, to);
    for (let axis = 4; axis < 8; axis += 1) flipped.joints[axis] = -flipped.joints[axis]!;
    const a = restPose();
    const b = restPose();
    mixPoses(a, from, to, 0.5);
    mixPoses(b, from, flipped, 0.5);
    expect([...b.joints]).toEqual([...a.joints].map((value) => expect.closeTo(value, 6) as number));
  });

  it("may write into one of its inputs", () => {
    const from = restPose();
    const to = restPose();
    from.weights[3] = 1;
    mixPoses(to, from, to, 0.25);
    expect(to.weights[3]).toBeCloseTo(0.75, 6);
  });
});

describe("rotateJoint", () => {
  it("turns by the given angle about the given axis", () => {
    const pose = restPose();
    rotateJoint(pose, JOINT_INDEX.neck, 0.1, 0, 0);
    expect(2 * Math.asin(pose.joints[0]!)).toBeCloseTo(0.1, 3);
    expect(length(pose, JOINT_INDEX.neck)).toBeCloseTo(1, 6);
  });

  it("adds up and keeps w positive", () => {
    const pose = restPose();
    for (let step = 0; step < 60; step += 1) rotateJoint(pose, JOINT_INDEX.neck, 0.1, 0, 0);
    expect(pose.joints[3]).toBeGreaterThanOrEqual(0);
    expect(length(pose, JOINT_INDEX.neck)).toBeCloseTo(1, 5);
  });
});

describe("smoothstep", () => {
  it("clamps", () => {
    expect(smoothstep(-1)).toBe(0);
    expect(smoothstep(0.5)).toBe(0.5);
    expect(smoothstep(3)).toBe(1);
  });
});

import { describe, expect, it } from "vitest";
import { BLENDSHAPE_INDEX } from "../avatar/rig";
import { restPose } from "./pose";
import { StateFaceAnimator, type StateFace } from "./stateFace";

function settle(face: StateFace, frames = 60): Float32Array {
  const animator = new StateFaceAnimator();
  let pose = restPose();
  for (let frame = 0; frame < frames; frame += 1) {
    pose = restPose();
    animator.apply(pose, frame * 16, face);
  }
  return pose.weights;
}

describe("StateFaceAnimator", () => {
  it("opens the mouth with the voice and only while it speaks", () => {
    expect(settle({ state: "speaking", level: 0.4 })[BLENDSHAPE_INDEX.jawOpen]).toBeGreaterThan(0.3);
    expect(settle({ state: "speaking", level: 0 })[BLENDSHAPE_INDEX.jawOpen]).toBe(0);
    expect(settle({ state: "listening", level: 0.4 })[BLENDSHAPE_INDEX.jawOpen]).toBe(0);
  });

  it("looks up while thinking, and not at once", () => {
    const up = BLENDSHAPE_INDEX.eyeLookUpLeft;
    expect(settle({ state: "thinking", level: 0 })[up]).toBeGreaterThan(0.4);
    expect(settle({ state: "thinking", level: 0 }, 3)[up]).toBeLessThan(0.2);
  });

  it("keeps all weights in range", () => {
    for (const weight of settle({ state: "speaking", level: 5 })) {
      expect(weight).toBeGreaterThanOrEqual(0);
      expect(weight).toBeLessThanOrEqual(1);
    }
  });
});

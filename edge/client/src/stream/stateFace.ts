import { BLENDSHAPE_INDEX, JOINT_INDEX } from "../avatar/rig";
import { rotateJoint, type Pose } from "./pose";

/** What the face shows without motion from the network: the conversation's state and how loud the voice is. */
export interface StateFace {
  readonly state: "idle" | "listening" | "thinking" | "speaking";
  /** Linear level of the voice, 0…1. */
  readonly level: number;
}

/**
 * Adds the state to an idle pose, for browsers that cannot read motion out of the packets: the mouth opens with the
 * voice's level, thinking looks up, listening leans in. Honest but coarse; it is no lip-sync.
 */
export class StateFaceAnimator {
  #jaw = 0;
  #listening = 0;
  #thinking = 0;
  #atMs = 0;

  apply(pose: Pose, nowMs: number, { state, level }: StateFace): void {
    const elapsedMs = Math.min(100, Math.max(0, nowMs - this.#atMs));
    this.#atMs = nowMs;
    const approach = (from: number, to: number, timeMs: number): number =>
      from + (to - from) * (1 - Math.exp(-elapsedMs / timeMs));
    const loudness = state === "speaking" ? Math.min(1, Math.sqrt(Math.max(0, level)) * 1.3) : 0;
    this.#jaw = approach(this.#jaw, loudness, loudness > this.#jaw ? 35 : 80);
    this.#listening = approach(this.#listening, state === "listening" ? 1 : 0, 180);
    this.#thinking = approach(this.#thinking, state === "thinking" ? 1 : 0, 180);
    const set = (name: keyof typeof BLENDSHAPE_INDEX, value: number): void => {
      const index = BLENDSHAPE_INDEX[name];
      pose.weights[index] = Math.min(1, Math.max(pose.weights[index]!, value));
    };
    set("jawOpen", this.#jaw * 0.55);
    set("mouthFunnel", this.#jaw * 0.2);
    set("browInnerUp", this.#listening * 0.25 + this.#thinking * 0.2);
    set("eyeLookUpLeft", this.#thinking * 0.5);
    set("eyeLookUpRight", this.#thinking * 0.5);
    rotateJoint(
      pose,
      JOINT_INDEX.head,
      this.#listening * 0.03 - this.#thinking * 0.03,
      this.#thinking * 0.08,
      this.#listening * 0.05,
    );
  }
}

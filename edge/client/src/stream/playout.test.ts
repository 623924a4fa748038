import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { BLENDSHAPE_INDEX, JOINT_INDEX, type Blendshape } from "../avatar/rig";
import { restPose, type Pose } from "./pose";
import { MotionTimeline } from "./timeline";

/** The same file as tests/core/test_playout.py reads; `python -m tests.vectors.playout` writes it. */
interface Push {
  readonly event: "push";
  readonly ticks: number;
  readonly sequenceNumber: number;
  readonly speech: boolean;
  readonly arrivalMs: number;
  readonly jaw: number;
  readonly nod: number;
  readonly dropped: string | null;
}

interface Sample {
  readonly event: "sample";
  readonly nowMs: number;
  readonly audibleTicks: number | null;
  readonly source: string;
  readonly ticks: number | null;
  readonly sequenceNumber: number | null;
  readonly idle: number;
  readonly drawn: readonly number[];
}

type Event =
  | Push
  | Sample
  | { readonly event: "cut"; readonly ticks: number; readonly nowMs: number }
  | { readonly event: "reset"; readonly nowMs: number };

interface Suite {
  readonly tolerance: number;
  readonly drawn: readonly string[];
  readonly tests: readonly { readonly id: number; readonly comment: string; readonly events: readonly Event[] }[];
}

const suite = JSON.parse(
  readFileSync(new URL("../../../../tests/vectors/playout.json", import.meta.url), "utf8"),
) as Suite;

function face(jaw: number, nod: number): Pose {
  const pose = restPose();
  pose.weights[BLENDSHAPE_INDEX.jawOpen] = jaw;
  pose.joints.set([nod, 0, 0, Math.sqrt(1 - nod * nod)], JOINT_INDEX.head * 4);
  return pose;
}

function shown(pose: Pose, name: string): number {
  const axis = name.startsWith("head.") ? "xyzw".indexOf(name.slice(5)) : -1;
  if (axis >= 0) return pose.joints[JOINT_INDEX.head * 4 + axis]!;
  return pose.weights[BLENDSHAPE_INDEX[name as Blendshape]]!;
}

describe("the shared vectors of playout", () => {
  for (const { id, comment, events } of suite.tests) {
    it(`${id} ${comment}`, () => {
      const timeline = new MotionTimeline();
      for (const event of events) {
        if (event.event === "cut") timeline.cut(event.ticks, event.nowMs);
        else if (event.event === "reset") timeline.reset(event.nowMs);
        else if (event.event === "push") push(timeline, event);
        else compare(timeline, event);
      }
    });
  }
});

function push(timeline: MotionTimeline, { jaw, nod, dropped, ...rest }: Push): void {
  const before = { ...timeline.dropped };
  expect(timeline.push({ ...rest, frame: face(jaw, nod) })).toBe(dropped === null);
  for (const [reason, count] of Object.entries(timeline.dropped)) {
    const counted = count - before[reason as keyof typeof before];
    expect(counted, reason).toBe(reason === dropped ? 1 : 0);
  }
}

function compare(timeline: MotionTimeline, expected: Sample): void {
  const sample = timeline.sample(expected.nowMs, expected.audibleTicks);
  const at = `at ${expected.nowMs} ms`;
  expect(sample.source, at).toBe(expected.source);
  expect(sample.sequenceNumber, at).toBe(expected.sequenceNumber);
  expect(sample.ticks === null, at).toBe(expected.ticks === null);
  if (expected.ticks !== null) expect(Math.abs(sample.ticks! - expected.ticks), at).toBeLessThan(0.01);
  expect(Math.abs(sample.idle - expected.idle), at).toBeLessThan(suite.tolerance);
  suite.drawn.forEach((name, index) => {
    expect(Math.abs(shown(sample.pose, name) - expected.drawn[index]!), `${name} ${at}`).toBeLessThan(suite.tolerance);
  });
}

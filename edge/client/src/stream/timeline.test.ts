import { describe, expect, it } from "vitest";
import { BLENDSHAPE_INDEX } from "../avatar/rig";
import { blinkAt } from "./idle";
import { restPose, type Pose } from "./pose";
import { MotionTimeline, type MotionSample } from "./timeline";
import { TICKS_PER_MS } from "./timestamps";

const JAW = BLENDSHAPE_INDEX.jawOpen;
/** Any smooth signal will do; this one opens and closes twice a second. */
const jawAt = (mediaMs: number): number => 0.5 - 0.5 * Math.cos((2 * Math.PI * mediaMs) / 500);

function pose(jaw: number): Pose {
  const made = restPose();
  made.weights[JAW] = jaw;
  return made;
}

interface Packet {
  readonly mediaMs: number;
  readonly arrivalMs: number;
  readonly speech: boolean;
}

interface Drawn {
  readonly nowMs: number;
  readonly jaw: number;
  readonly sample: Omit<MotionSample, "pose">;
}

/** Deliver packets, draw at 60 Hz, and return what was drawn. */
function play(
  packets: readonly Packet[],
  untilMs: number,
  audible: (nowMs: number) => number | null,
  timeline = new MotionTimeline(),
  onTime: (nowMs: number) => void = () => undefined,
): Drawn[] {
  const waiting = [...packets].sort((a, b) => a.arrivalMs - b.arrivalMs);
  const drawn: Drawn[] = [];
  for (let nowMs = waiting[0]!.arrivalMs; nowMs < untilMs; nowMs += 1_000 / 60) {
    while (waiting[0] && waiting[0].arrivalMs <= nowMs) {
      const { mediaMs, arrivalMs, speech } = waiting.shift()!;
      const sequenceNumber = mediaMs / 20;
      timeline.push({ ticks: mediaMs * TICKS_PER_MS, frame: pose(jawAt(mediaMs)), sequenceNumber, speech, arrivalMs });
    }
    onTime(nowMs);
    const audibleMs = audible(nowMs);
    const { pose: face, ...sample } = timeline.sample(nowMs, audibleMs === null ? null : audibleMs * TICKS_PER_MS);
    drawn.push({ nowMs, jaw: face.weights[JAW]!, sample });
  }
  return drawn;
}

const every20 = (
  count: number,
  transitMs: number,
  speech: boolean,
  jitter: (index: number) => number = () => 0,
): Packet[] =>
  Array.from({ length: count }, (_, index) => ({
    mediaMs: index * 20,
    arrivalMs: 1_000 + index * 20 + transitMs + jitter(index),
    speech,
  }));

describe("MotionTimeline", () => {
  it("draws speech at the media time that is audible", () => {
    const drawn = play(
      every20(150, 30, true, (index) => (index * 7) % 23),
      3_900,
      (nowMs) => nowMs - 1_000 - 110,
    );
    const settled = drawn.filter(({ nowMs }) => nowMs > 1_700);
    for (const { nowMs, jaw, sample } of settled) {
      expect(sample.source).toBe("audible");
      expect(sample.ticks! / TICKS_PER_MS).toBeCloseTo(nowMs - 1_110, 0);
      expect(Math.abs(jaw - jawAt(nowMs - 1_110))).toBeLessThan(0.01);
      const intoFrame = sample.ticks! - sample.sequenceNumber! * 960;
      expect(intoFrame).toBeGreaterThanOrEqual(0);
      expect(intoFrame).toBeLessThan(960);
    }
  });

  it("draws silence on arrival, not when it leaves the jitter buffer", () => {
    const drawn = play(every20(100, 30, false), 2_900, (nowMs) => nowMs - 1_000 - 200);
    for (const { nowMs, sample } of drawn.filter((one) => one.nowMs > 1_500)) {
      expect(sample.source).toBe("arrival");
      const behindMs = nowMs - 1_000 - sample.ticks! / TICKS_PER_MS;
      expect(behindMs).toBeLessThan(60);
      expect(behindMs).toBeGreaterThan(30);
    }
  });

  it("glides from arrival to audible time and back without a pop", () => {
    const packets = every20(250, 30, false).map((packet) => ({
      ...packet,
      speech: packet.mediaMs >= 1_000 && packet.mediaMs < 3_000,
    }));
    const drawn = play(packets, 5_900, (nowMs) => nowMs - 1_000 - 120);
    const sources = new Set(drawn.map(({ sample }) => sample.source));
    expect(sources).toContain("audible");
    expect(sources).toContain("arrival");
    const steady = drawn.filter(({ nowMs }) => nowMs > 1_600);
    for (let index = 1; index < steady.length; index += 1) {
      const stepMs = (steady[index]!.sample.ticks! - steady[index - 1]!.sample.ticks!) / TICKS_PER_MS;
      expect(stepMs).toBeGreaterThan(0);
      expect(stepMs).toBeLessThanOrEqual((1_000 / 60) * 2.21);
    }
  });

  it("is at the audible time before the first word is over", () => {
    const packets = every20(150, 30, false).map((packet) => ({ ...packet, speech: packet.mediaMs >= 1_000 }));
    const drawn = play(packets, 3_900, (nowMs) => nowMs - 1_000 - 110);
    const onset = drawn.filter(({ nowMs }) => nowMs > 2_110 + 60);
    for (const { nowMs, sample } of onset) {
      expect(Math.abs(sample.ticks! / TICKS_PER_MS - (nowMs - 1_110))).toBeLessThan(12);
    }
  });

  it("bridges two lost frames and keeps moving", () => {
    const packets = every20(100, 30, true).filter(({ mediaMs }) => mediaMs !== 1_040 && mediaMs !== 1_060);
    const drawn = play(packets, 2_800, (nowMs) => nowMs - 1_000 - 35);
    const gap = drawn.filter(({ sample }) => sample.ticks! > 1_020 * 48 && sample.ticks! < 1_080 * 48);
    expect(gap.length).toBeGreaterThan(1);
    for (const { jaw, sample } of gap) {
      expect(sample.idle).toBeLessThan(0.1);
      expect(Math.abs(jaw - jawAt(sample.ticks! / TICKS_PER_MS))).toBeLessThan(0.25);
    }
  });

  it("extrapolates at most two frames, then eases into life without standing still", () => {
    const drawn = play(every20(40, 30, true), 2_600, (nowMs) => nowMs - 1_000 - 35);
    const guess = drawn.filter(({ nowMs, sample }) => nowMs > 1_816 && sample.ticks !== null && sample.idle === 0);
    expect(guess.length).toBeGreaterThan(1);
    expect(guess.length).toBeLessThanOrEqual(3);
    const after = drawn.filter(({ nowMs }) => nowMs > 1_870 && nowMs < 2_300);
    for (let index = 6; index < after.length; index += 1) {
      expect(after[index]!.sample.idle).toBeGreaterThan(after[index - 1]!.sample.idle);
      expect(Math.abs(after[index]!.jaw - after[index - 6]!.jaw)).toBeGreaterThan(0.001);
    }
    expect(drawn.at(-1)!.sample.source).toBe("idle");
  });

  it("joins the truth after a wrong guess no quicker than a face moves", () => {
    const timeline = new MotionTimeline();
    const push = (mediaMs: number, jaw: number): boolean => {
      const frame = pose(jaw);
      if (jaw === 1) frame.joints.set([0.5, 0, 0, Math.sqrt(0.75)], 4);
      return timeline.push({
        ticks: mediaMs * TICKS_PER_MS,
        frame,
        sequenceNumber: mediaMs / 20,
        speech: false,
        arrivalMs: 1_030 + mediaMs,
      });
    };
    let previous: { jaw: number; nod: number } | null = null;
    let top = 0;
    for (let nowMs = 1_030; nowMs < 2_200; nowMs += 10) {
      const mediaMs = nowMs - 1_030;
      if (mediaMs % 20 === 0) push(mediaMs, mediaMs < 400 ? 0 : 1);
      const { pose: face } = timeline.sample(nowMs, null);
      const now = { jaw: face.weights[JAW]!, nod: 2 * Math.asin(face.joints[4]!) };
      if (previous !== null) {
        expect(Math.abs(now.jaw - previous.jaw)).toBeLessThanOrEqual(0.14 + 1e-6);
        expect(Math.abs(now.nod - previous.nod)).toBeLessThanOrEqual(0.025 + 1e-6);
      }
      previous = now;
      top = Math.max(top, now.jaw);
    }
    expect(top).toBeCloseTo(1, 5);
  });

  it("drops and counts what comes too late, twice, or with an absurd time", () => {
    const timeline = new MotionTimeline();
    const push = (mediaMs: number, arrivalMs: number): boolean =>
      timeline.push({
        ticks: mediaMs * TICKS_PER_MS,
        frame: pose(0),
        sequenceNumber: 0,
        speech: false,
        arrivalMs,
      });
    for (let mediaMs = 0; mediaMs < 400; mediaMs += 20) {
      if (mediaMs !== 200) push(mediaMs, 1_000 + mediaMs);
      timeline.sample(1_000 + mediaMs, null);
    }
    expect(push(200, 1_390)).toBe(false);
    expect(push(380, 1_391)).toBe(false);
    expect(push(90_000, 1_392)).toBe(false);
    expect(timeline.dropped).toEqual({ late: 1, duplicate: 1, overflow: 0, absurd: 1 });
    for (let index = 1; index < 5; index += 1) push(90_000 + index * 20, 1_392 + index * 20);
    expect(timeline.newestTicks).toBe(90_080 * TICKS_PER_MS);
  });

  it("never freezes: the idle layer takes over and hands back without a pop", () => {
    const packets = [...every20(50, 30, false), ...every20(350, 30, false).filter(({ mediaMs }) => mediaMs >= 5_000)];
    const drawn = play(packets, 7_500, (nowMs) => nowMs - 1_100);
    const outage = drawn.filter(({ nowMs }) => nowMs > 3_000 && nowMs < 6_000);
    expect(new Set(outage.map(({ sample }) => sample.source))).toEqual(new Set(["idle"]));
    expect(outage.every(({ jaw }) => jaw < 0.01)).toBe(true);
    const back = drawn.filter(({ nowMs }) => nowMs > 6_600);
    expect(back.every(({ sample }) => sample.idle === 0)).toBe(true);
    for (let index = 1; index < drawn.length; index += 1) {
      expect(Math.abs(drawn[index]!.jaw - drawn[index - 1]!.jaw)).toBeLessThan(0.22);
    }
  });

  it("breathes and blinks while idle", () => {
    const timeline = new MotionTimeline();
    let blinked = 0;
    const heads = new Set<string>();
    for (let nowMs = 0; nowMs < 10_000; nowMs += 16) {
      const { pose: face } = timeline.sample(nowMs, null);
      blinked = Math.max(blinked, face.weights[BLENDSHAPE_INDEX.eyeBlinkLeft]!);
      heads.add(face.joints[4]!.toFixed(4));
    }
    expect(blinked).toBeGreaterThan(0.95);
    expect(heads.size).toBeGreaterThan(50);
  });

  it("draws an idle track of 80 ms packets smoothly", () => {
    const packets = every20(400, 30, false).filter(({ mediaMs }) => mediaMs % 80 === 0);
    const drawn = play(packets, 8_500, () => null).filter(({ nowMs }) => nowMs > 1_800);
    for (const { sample } of drawn) expect(sample.source).toBe("arrival");
    for (let index = 1; index < drawn.length; index += 1) {
      expect(Math.abs(drawn[index]!.jaw - drawn[index - 1]!.jaw)).toBeLessThan(0.13);
    }
  });

  it("goes straight to the newest face when the voice is cut", () => {
    const packets = every20(150, 30, true).map((packet) => ({ ...packet, speech: packet.mediaMs < 1_500 }));
    const timeline = new MotionTimeline();
    let cut = false;
    const drawn = play(
      packets,
      3_800,
      (nowMs) => nowMs - 1_000 - 200,
      timeline,
      (nowMs) => {
        if (nowMs < 2_535 || cut) return;
        cut = true;
        timeline.cut(1_500 * TICKS_PER_MS, nowMs);
      },
    );
    const after = drawn.find(({ nowMs }) => nowMs > 2_545)!;
    expect(after.sample.source).not.toBe("audible");
    expect(after.sample.ticks! / TICKS_PER_MS).toBeGreaterThan(1_480);
    const steps = drawn.map(({ jaw }, index) => Math.abs(jaw - (drawn[index - 1]?.jaw ?? jaw)));
    expect(Math.max(...steps.slice(20))).toBeLessThan(0.3);
  });

  it("ignores a duplicate and accepts a frame out of order", () => {
    const timeline = new MotionTimeline();
    const frame = (mediaMs: number): Parameters<MotionTimeline["push"]>[0] => ({
      ticks: mediaMs * TICKS_PER_MS,
      frame: pose(0),
      sequenceNumber: mediaMs / 20,
      speech: false,
      arrivalMs: 1_000 + mediaMs,
    });
    expect(timeline.push(frame(0))).toBe(true);
    expect(timeline.push(frame(40))).toBe(true);
    expect(timeline.push(frame(20))).toBe(true);
    expect(timeline.push(frame(20))).toBe(false);
    expect(timeline.newestTicks).toBe(40 * TICKS_PER_MS);
  });

  it("holds a bounded number of frames", () => {
    const timeline = new MotionTimeline();
    for (let index = 0; index < 2_000; index += 1) {
      timeline.push({ ticks: index * 960, frame: pose(0), sequenceNumber: index, speech: false, arrivalMs: index });
    }
    expect(timeline.push({ ticks: 5, frame: pose(0), sequenceNumber: 0, speech: false, arrivalMs: 0 })).toBe(false);
  });

  it("starts over with a new connection's media time and fades from what was drawn", () => {
    const timeline = new MotionTimeline();
    const first = play(every20(50, 30, true), 2_000, (nowMs) => nowMs - 1_060, timeline);
    timeline.reset(2_000);
    const next = every20(50, 30, false).map((packet) => ({ ...packet, arrivalMs: packet.arrivalMs + 1_100 }));
    const second = play(next, 3_000, () => null, timeline);
    expect(Math.abs(second[0]!.jaw - first.at(-1)!.jaw)).toBeLessThan(0.3);
    expect(second.at(-1)!.sample.source).toBe("arrival");
  });
});

describe("blinkAt", () => {
  it("is open most of the time and repeats nothing exactly", () => {
    const closed = Array.from({ length: 60_000 }, (_, ms) => blinkAt(ms)).filter((value) => value > 0.1).length;
    expect(closed / 60_000).toBeGreaterThan(0.02);
    expect(closed / 60_000).toBeLessThan(0.08);
  });
});

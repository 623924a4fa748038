import { describe, expect, it } from "vitest";
import { ArrivalClock } from "./arrivalClock";
import { Playhead } from "./playhead";
import { PlayoutClock } from "./playoutClock";
import { TICKS_PER_MS } from "./timestamps";

/** What a browser reports: every 10 ms block carries the timestamp of the packet it came from. */
function report(packetMs: number, atMs: number): number {
  return Math.floor(atMs / packetMs) * packetMs * TICKS_PER_MS;
}

describe("PlayoutClock", () => {
  for (const packetMs of [20, 80]) {
    it(`finds the block inside a ${packetMs} ms packet when polled once per display frame`, () => {
      const clock = new PlayoutClock();
      let worst = 0;
      for (let frame = 0; frame < 240; frame += 1) {
        const nowMs = 500 + frame * 16.7;
        const blockMs = Math.floor(nowMs / 10) * 10;
        clock.observe(report(packetMs, blockMs), blockMs);
        if (frame < 60) continue;
        worst = Math.max(worst, Math.abs(clock.ticksAt(nowMs)! / TICKS_PER_MS - nowMs));
      }
      expect(worst).toBeLessThanOrEqual(packetMs === 20 ? 1 : 20);
    });
  }

  it("follows a delay that grows without a jump", () => {
    const clock = new PlayoutClock();
    let previous = 0;
    for (let frame = 0; frame < 200; frame += 1) {
      const nowMs = 500 + frame * 10;
      const delayMs = frame < 100 ? 40 : 70;
      clock.observe((nowMs - delayMs) * TICKS_PER_MS, nowMs);
      const ticks = clock.ticksAt(nowMs)!;
      expect(ticks).toBeGreaterThan(previous);
      previous = ticks;
    }
    expect(clock.ticksAt(2_490)! / TICKS_PER_MS).toBeCloseTo(2_490 - 70, 0);
  });

  it("knows nothing before the first report and after a second of silence", () => {
    const clock = new PlayoutClock();
    expect(clock.ticksAt(0)).toBeNull();
    clock.observe(960, 100);
    expect(clock.ticksAt(110)).toBe(960 + 10 * TICKS_PER_MS);
    expect(clock.ticksAt(1_200)).toBeNull();
  });

  it("ignores a report that it has already seen", () => {
    const clock = new PlayoutClock();
    clock.observe(960, 100);
    clock.observe(9_600_000, 100);
    expect(clock.ticksAt(100)).toBe(960);
  });

  it("steps at once when the media time changes by more than drift", () => {
    const clock = new PlayoutClock();
    clock.observe(960, 100);
    clock.observe(960_000, 110);
    expect(clock.ticksAt(110)).toBe(960_000);
  });
});

describe("ArrivalClock", () => {
  it("waits one interval and the jitter it has seen", () => {
    const clock = new ArrivalClock();
    for (let frame = 0; frame < 50; frame += 1) clock.observe(frame * 960, 1_000 + frame * 20 + (frame % 5) * 3);
    expect(clock.delayMs).toBeCloseTo(20 + 12, 6);
    expect(clock.ticksAt(2_000)! / TICKS_PER_MS).toBeCloseTo(1_000 - 32, 6);
  });

  it("waits 80 ms more on an idle track and returns", () => {
    const clock = new ArrivalClock();
    for (let frame = 0; frame < 10; frame += 1) clock.observe(frame * 3_840, 1_000 + frame * 80);
    expect(clock.delayMs).toBe(84);
    clock.observe(9 * 3_840 + 960, 1_740);
    expect(clock.delayMs).toBe(24);
  });

  it("does not wait for ever after one terrible packet", () => {
    const clock = new ArrivalClock();
    clock.observe(0, 0);
    clock.observe(960, 900);
    expect(clock.delayMs).toBeLessThanOrEqual(90);
  });
});

describe("Playhead", () => {
  it("jumps to its first target and then runs with the media", () => {
    const playhead = new Playhead();
    expect(playhead.advance(0, 0)).toBe(true);
    for (let nowMs = 16; nowMs < 1_000; nowMs += 16) {
      expect(playhead.advance(nowMs, nowMs * TICKS_PER_MS)).toBe(false);
      expect(playhead.ticks! / TICKS_PER_MS).toBeCloseTo(nowMs, 6);
    }
  });

  it("closes a distance with bounded velocity and never goes back", () => {
    const playhead = new Playhead();
    playhead.advance(0, 0);
    let previous = 0;
    for (let nowMs = 10; nowMs <= 600; nowMs += 10) {
      const wantMs = nowMs < 200 ? nowMs : nowMs < 400 ? nowMs - 60 : nowMs;
      playhead.advance(nowMs, wantMs * TICKS_PER_MS);
      const stepMs = playhead.ticks! / TICKS_PER_MS - previous;
      expect(stepMs).toBeGreaterThan(0);
      expect(stepMs).toBeLessThanOrEqual(22.01);
      previous += stepMs;
    }
    expect(previous).toBeCloseTo(600, -1);
  });

  it("jumps over a distance that could not be chased", () => {
    const playhead = new Playhead();
    playhead.advance(0, 0);
    expect(playhead.advance(16, 48_000)).toBe(true);
    expect(playhead.ticks).toBe(48_000);
  });

  it("jumps after the page was hidden", () => {
    const playhead = new Playhead();
    playhead.advance(0, 0);
    expect(playhead.advance(2_000, 2_000 * TICKS_PER_MS)).toBe(true);
  });
});

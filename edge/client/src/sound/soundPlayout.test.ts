import { describe, expect, it } from "vitest";
import { AudioClock } from "./audioClock";
import { MediaMarks } from "./mediaMarks";
import { SampleRing } from "./sampleRing";
import { SoundPlayout, type PlacedPiece } from "./soundPlayout";

const OFFSET_MS = 700;

describe("AudioClock", () => {
  it("takes the quickest word of the last seconds, and knows when the card stands still", () => {
    const clock = new AudioClock();
    expect(clock.audioMs(0)).toBeNull();
    for (let ms = 0; ms < 3_000; ms += 10) clock.observe(ms, ms + OFFSET_MS + (ms % 50));
    expect(clock.audioMs(3_700)).toBeCloseTo(3_000);
    expect(clock.audioMs(4_500)).toBeNull();
  });

  it("follows a card that ran on elsewhere, and one that is slower", () => {
    const clock = new AudioClock();
    clock.observe(0, 100);
    clock.observe(2_000, 200);
    expect(clock.audioMs(200)).toBe(2_000);
    for (let ms = 0; ms < 5_000; ms += 10) clock.observe(2_000 + ms * 0.99, 200 + ms);
    expect(Math.abs(clock.audioMs(5_200)! - (2_000 + 5_000 * 0.99))).toBeLessThan(25);
  });
});

describe("SampleRing", () => {
  const quantum = new Float32Array(128);

  it("gives samples at their time, fades where there are none, and counts those", () => {
    const ring = new SampleRing();
    ring.read(0, quantum);
    expect(ring.missed).toBe(0);
    expect(ring.write(256, new Float32Array(256).fill(0.5), 128)).toBe(128);
    ring.read(128, quantum);
    expect(Math.max(...quantum)).toBe(0);
    ring.read(256, quantum);
    expect(quantum[127]).toBeCloseTo(0.5);
    ring.read(384, quantum);
    ring.read(512, quantum);
    expect(quantum[0]).toBeGreaterThan(0.45);
    expect(quantum[127]).toBe(0);
    expect(ring.missed).toBe(128);
  });

  it("leaves out what is late and what is too far ahead", () => {
    const ring = new SampleRing();
    expect(ring.write(0, new Float32Array(1_000).fill(1), 900)).toBe(-900);
    ring.write(900 + 65_000, new Float32Array(2_000).fill(1), 900);
    ring.read(896, quantum);
    expect(quantum[100]).toBeGreaterThan(0.9);
    expect(ring.missed).toBe(0);
  });
});

describe("MediaMarks", () => {
  it("says which media time a sample is", () => {
    const marks = new MediaMarks();
    expect(marks.ticksAt(5)).toBeNull();
    marks.add({ startFrame: 100, frames: 480, ticks: 9_600, durationTicks: 960 });
    for (let index = 0; index < 100; index += 1) {
      marks.add({ startFrame: 580 + index * 960, frames: 960, ticks: 10_560 + index * 960, durationTicks: 960 });
    }
    expect(marks.ticksAt(99)).toBeNull();
    expect(marks.ticksAt(580 + 50 * 960 + 480)).toBe(10_560 + 50 * 960 + 480);
    expect(marks.ticksAt(580 + 100 * 960)).toBeNull();
  });
});

/** A playout with a sound card that renders in bursts of 10 ms and a decoder that gives constant sound. */
class Bench {
  readonly pieces: PlacedPiece[] = [];
  readonly packets: Uint8Array[] = [];
  readonly playout: SoundPlayout;
  nowMs = 0;
  instant = true;
  missed = 0;

  constructor() {
    const decoder = {
      decode: (packet: Uint8Array): void => {
        this.packets.push(packet);
        if (this.instant) queueMicrotask(() => undefined);
      },
      reset: (): void => undefined,
    };
    this.playout = new SoundPlayout(decoder, (piece) => this.pieces.push(piece));
  }

  get frame(): number {
    return (this.nowMs - OFFSET_MS) * 48;
  }

  card(slackFrames: number | null = 240): void {
    this.playout.hearCard({ frame: this.frame, slackFrames, missedFrames: this.missed }, this.nowMs);
    if (this.instant) this.decodeAll();
  }

  push(index: number, repaired = false, silent = false): boolean {
    const packet = Uint8Array.of(index & 0xff);
    const useful = this.playout.push({ packet, ticks: index * 960, durationTicks: 960, silent, repaired }, this.nowMs);
    if (this.instant) this.decodeAll();
    return useful;
  }

  decodeAll(sound: Float32Array | null = new Float32Array(960).fill(0.25)): void {
    for (const packet of this.packets.splice(0)) {
      expect(packet).toHaveLength(1);
      this.playout.decoded(sound === null ? null : sound.slice());
    }
  }

  /** Packets of 20 ms come from `from` to `to`, except the `lost`; the card runs. */
  run(from: number, to: number, lost: readonly number[] = []): void {
    for (let index = from; index < to; index += 1) {
      if (!lost.includes(index)) this.push(index);
      for (let step = 0; step < 2; step += 1) {
        this.nowMs += 10;
        this.card();
      }
    }
  }
}

describe("SoundPlayout", () => {
  it("keeps nothing while the card stands still, and begins when it runs", () => {
    const bench = new Bench();
    bench.nowMs = 1_000;
    expect(bench.push(0)).toBe(false);
    expect(bench.playout.delayMs).toBeNull();
    bench.card();
    expect(bench.push(1)).toBe(true);
    bench.run(2, 20);
    expect(bench.pieces[0]!.ticks).toBe(960);
    expect(bench.playout.counters.concealed).toBe(0);
  });

  it("places one unbroken sound, always ahead of the card", () => {
    const bench = new Bench();
    bench.nowMs = 1_000;
    bench.card();
    bench.run(0, 200);
    let frame = bench.pieces[0]!.startFrame;
    for (const [index, piece] of bench.pieces.entries()) {
      expect(piece.startFrame).toBe(frame);
      expect(piece.ticks).toBe(index * 960);
      frame += piece.sound.length;
    }
    expect(frame).toBeGreaterThan(bench.frame);
    expect(bench.playout.delayMs).toBeGreaterThan(15);
    expect(bench.playout.delayMs).toBeLessThan(60);
  });

  it("conceals what is lost, plays what came back in time, counts what came late", () => {
    const bench = new Bench();
    bench.nowMs = 1_000;
    bench.card();
    bench.run(0, 30, [10]);
    expect(bench.playout.counters.concealed).toBe(1);
    bench.push(31);
    expect(bench.push(30, true)).toBe(true);
    bench.run(32, 60);
    expect(bench.playout.counters.concealed).toBe(1);
    expect(bench.push(20, true)).toBe(false);
    expect(bench.playout.counters.late).toBe(1);
    expect(bench.pieces.length).toBe(bench.playout.counters.played + 1);
  });

  it("does not wait for a decoder that does not answer, and takes its answer for nothing else", () => {
    const bench = new Bench();
    bench.instant = false;
    bench.nowMs = 1_000;
    bench.card();
    for (let index = 0; index < 20; index += 1) {
      bench.push(index);
      bench.nowMs += 20;
      bench.card();
    }
    expect(bench.pieces.length).toBeGreaterThan(5);
    expect(bench.playout.counters.played).toBe(0);
    bench.instant = true;
    bench.decodeAll();
    const before = bench.playout.counters.played;
    bench.run(20, 40);
    expect(bench.playout.counters.played).toBeGreaterThan(before + 15);
    bench.pieces.reduce((frame, piece) => {
      expect(piece.startFrame).toBe(frame);
      return frame + piece.sound.length;
    }, bench.pieces[0]!.startFrame);
  });

  it("goes on after the decoder failed", () => {
    const bench = new Bench();
    bench.nowMs = 1_000;
    bench.card();
    bench.run(0, 10);
    bench.instant = false;
    bench.push(10);
    bench.nowMs += 60;
    bench.card();
    bench.packets.length = 0;
    bench.playout.decoderFailed();
    bench.instant = true;
    bench.run(13, 40);
    expect(bench.pieces.at(-1)!.ticks).toBeGreaterThan(35 * 960);
    bench.decodeAll(null);
  });

  it("decodes earlier when pieces come too short before their turn", () => {
    const delay = (slackFrames: number): number => {
      const bench = new Bench();
      bench.nowMs = 1_000;
      bench.card();
      for (let index = 0; index < 300; index += 1) {
        bench.push(index);
        bench.nowMs += 20;
        bench.card(slackFrames);
      }
      const last = bench.pieces.at(-1)!;
      return last.startFrame + last.sound.length - bench.frame;
    };
    expect(delay(0)).toBeGreaterThan(delay(2_000) + 48 * 40);
  });

  it("begins anew when the card stood still", () => {
    const bench = new Bench();
    bench.nowMs = 1_000;
    bench.card();
    bench.run(0, 20);
    bench.nowMs += 5_000;
    bench.card();
    bench.run(270, 290);
    expect(bench.pieces.at(-1)!.ticks).toBeGreaterThan(280 * 960);
    expect(bench.playout.counters.concealed).toBeLessThan(10);
  });
});

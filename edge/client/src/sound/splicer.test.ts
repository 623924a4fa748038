import { describe, expect, it } from "vitest";
import { changeByPeriod, findPeriod, resample } from "./pitch";
import { Splicer } from "./splicer";

const PERIOD = 320;
const BLOCK = 960;

/** A voice-like sound of 150 Hz with overtones, `size` samples from `start`. */
function voice(start: number, size: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: size }, (_, index) => {
    const phase = (2 * Math.PI * (start + index)) / PERIOD;
    return 0.4 * Math.sin(phase) + 0.2 * Math.sin(2 * phase + 1) + 0.1 * Math.sin(5 * phase + 2);
  });
}

function steepest(sound: ArrayLike<number>): number {
  let most = 0;
  for (let index = 1; index < sound.length; index += 1)
    most = Math.max(most, Math.abs(sound[index]! - sound[index - 1]!));
  return most;
}

/** Splice blocks and check that each piece begins where the one before ended. */
function splice(blocks: readonly { length: number; sound: Float32Array | null }[]): Float32Array {
  const splicer = new Splicer();
  const all: number[] = [];
  let frame = 10_000;
  for (const { length, sound } of blocks) {
    const piece = splicer.splice({ startFrame: frame, endFrame: frame + length, sound });
    expect(piece.startFrame).toBe(10_000 + all.length);
    all.push(...piece.sound);
    frame += length;
    expect(Math.abs(frame - 10_000 - all.length)).toBeLessThanOrEqual(480);
  }
  return Float32Array.from(all);
}

const STEEP = steepest(voice(0, 4 * BLOCK));

describe("pitch", () => {
  it("finds the period of a voice", () => {
    const { lag, likeness } = findPeriod(voice(77, 2_000), 0, 480, 480);
    expect(lag % PERIOD).toBe(0);
    expect(likeness).toBeGreaterThan(0.999);
  });

  it("takes periods out and puts them in without a click", () => {
    for (const longer of [true, false]) {
      const changed = changeByPeriod(voice(5, BLOCK), PERIOD, longer);
      expect(changed.length).toBe(BLOCK + (longer ? PERIOD : -PERIOD));
      expect(steepest(changed)).toBeLessThan(STEEP * 1.05);
    }
  });

  it("resamples to any size", () => {
    expect(resample(voice(0, 960), 1_200)).toHaveLength(1_200);
    expect(resample(voice(0, 960), 0)).toHaveLength(0);
    expect(Array.from(resample(Float32Array.of(0, 1), 4))).toEqual([0, 0.5, 1, 1]);
  });
});

describe("Splicer", () => {
  it("hands sound that comes as planned through untouched, after a short fade in", () => {
    const made = splice([0, 1, 2].map((block) => ({ length: BLOCK, sound: voice(block * BLOCK, BLOCK) })));
    expect(made.subarray(240)).toEqual(voice(0, 3 * BLOCK).subarray(240));
    expect(Math.abs(made[0]!)).toBeLessThan(0.01);
  });

  it("goes on with the voice where a block is missing, and back without a click", () => {
    const made = splice(
      [0, 1, 2, 3].map((block) => ({ length: BLOCK, sound: block === 2 ? null : voice(block * BLOCK, BLOCK) })),
    );
    expect(steepest(made.subarray(240))).toBeLessThan(STEEP * 1.3);
    const missing = made.subarray(2 * BLOCK, 3 * BLOCK);
    const true_ = voice(2 * BLOCK, BLOCK);
    const error = missing.reduce((sum, sample, index) => sum + (sample - true_[index]!) ** 2, 0);
    const power = true_.reduce((sum, sample) => sum + sample ** 2, 0);
    expect(error / power).toBeLessThan(0.25);
    expect(made.subarray(3 * BLOCK + 240)).toEqual(voice(3 * BLOCK + 240, BLOCK - 240));
  });

  it("fades to silence within 60 ms when nothing comes any more", () => {
    const made = splice([
      { length: BLOCK, sound: voice(0, BLOCK) },
      ...Array.from({ length: 6 }, () => ({ length: BLOCK, sound: null })),
    ]);
    expect(Math.max(...made.subarray(BLOCK, 2 * BLOCK))).toBeGreaterThan(0.2);
    expect(Math.max(...made.subarray(4 * BLOCK).map(Math.abs))).toBe(0);
    expect(steepest(made.subarray(240))).toBeLessThan(STEEP * 1.3);
  });

  it.each([48, -48])("bends a voice by whole periods: %i samples a block, same pitch, no click", (by) => {
    const sent = voice(0, 60 * BLOCK);
    const made = splice(
      Array.from({ length: 60 }, (_, block) => ({
        length: BLOCK + by,
        sound: sent.slice(block * BLOCK, (block + 1) * BLOCK),
      })),
    );
    expect(Math.abs(made.length - 60 * (BLOCK + by))).toBeLessThanOrEqual(PERIOD);
    expect(steepest(made.subarray(240))).toBeLessThan(STEEP * 1.1);
    expect(findPeriod(made, 4_000, 480, 480).lag).toBe(PERIOD);
  });

  it("bends silence exactly", () => {
    const made = splice(Array.from({ length: 5 }, () => ({ length: 1_200, sound: new Float32Array(BLOCK) })));
    expect(made).toHaveLength(6_000);
  });

  it("fills a gap in the plan, cuts an overlap, and leaps over a long pause", () => {
    const splicer = new Splicer();
    const at = (startFrame: number): readonly [number, number] => {
      const piece = splicer.splice({ startFrame, endFrame: startFrame + BLOCK, sound: voice(startFrame, BLOCK) });
      return [piece.startFrame, piece.startFrame + piece.sound.length];
    };
    expect(at(0)).toEqual([0, BLOCK]);
    const [begin, end] = at(BLOCK + 2_000);
    expect(begin).toBe(BLOCK);
    expect(Math.abs(end - (2 * BLOCK + 2_000))).toBeLessThanOrEqual(480);
    const [after] = at(end - 1_300);
    expect(after).toBe(end);
    expect(at(480_000)[0]).toBeLessThan(10_000);
    expect(at(480_960)[0]).toBe(480_000);
  });
});

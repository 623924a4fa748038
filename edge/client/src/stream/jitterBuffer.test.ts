import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { JitterBuffer } from "./jitterBuffer";

interface Push {
  readonly event: "push";
  readonly ticks: number;
  readonly durationTicks: number;
  readonly silent: boolean;
  readonly arrivalMs: number;
  readonly repaired: boolean;
  readonly dropped: string | null;
}

interface Advance {
  readonly event: "advance";
  readonly nowMs: number;
  readonly blocks: readonly (readonly [number, number, number, number, boolean])[];
  readonly position: number | null;
}

/** The same file as tests/core/test_playout.py reads; `python -m tests.vectors.playout` writes it. */
const { soundTests } = JSON.parse(
  readFileSync(new URL("../../../../tests/vectors/playout.json", import.meta.url), "utf8"),
) as {
  readonly soundTests: readonly {
    readonly id: number;
    readonly comment: string;
    readonly events: readonly (Push | Advance)[];
  }[];
};

describe("the shared vectors of the jitter buffer", () => {
  for (const { id, comment, events } of soundTests) {
    it(`${id} ${comment}`, () => {
      const buffer = new JitterBuffer<string>();
      for (const event of events) {
        if (event.event === "push") {
          const { dropped, ...packet } = event;
          expect(buffer.push({ ...packet, payload: "x" })).toBe(dropped);
          continue;
        }
        const blocks = buffer.advance(event.nowMs);
        expect(blocks.length).toBe(event.blocks.length);
        blocks.forEach((block, index) => {
          const [atMs, ticks, durationTicks, lengthMs, whole] = event.blocks[index]!;
          expect(Math.abs(block.atMs - atMs)).toBeLessThan(0.001);
          expect(Math.abs(block.lengthMs - lengthMs)).toBeLessThan(0.001);
          expect([block.ticks, block.durationTicks, block.payload !== null]).toEqual([ticks, durationTicks, whole]);
        });
        const position = buffer.position(event.nowMs);
        if (event.position === null) expect(position).toBeNull();
        else expect(Math.abs(position! - event.position)).toBeLessThan(0.1);
      }
    });
  }
});

describe("JitterBuffer", () => {
  it("counts what it cannot use and stays bounded", () => {
    const buffer = new JitterBuffer<number>();
    const push = (number: number, repaired = false): string | null =>
      buffer.push({ payload: 0, ticks: number * 960, durationTicks: 960, silent: false, arrivalMs: 0, repaired });
    expect(push(0, true)).toBe("late");
    expect(push(0)).toBeNull();
    expect(push(0)).toBe("duplicate");
    expect(push(1_000)).toBe("absurd");
    for (let number = 1; number < 250; number += 1) push(number);
    expect(buffer.waiting).toBeLessThanOrEqual(256);
    expect(buffer.advance(3_600_000).length).toBeLessThan(600);
  });

  it.each([1e6, -1e6])("takes five absurd media times in a row for a new clock (%i)", (offset) => {
    const buffer = new JitterBuffer<number>();
    const push = (number: number, repaired = false): string | null =>
      buffer.push({ payload: 0, ticks: number * 960, durationTicks: 960, silent: false, arrivalMs: 0, repaired });
    push(0);
    for (let number = 0; number < 4; number += 1) expect(push(offset + number)).toBe("absurd");
    expect(push(1)).toBeNull();
    for (let number = 0; number < 4; number += 1) expect(push(offset + number)).toBe("absurd");
    expect(push(offset + 4, true)).toBe("absurd");
    expect(push(offset + 5)).toBeNull();
    expect(buffer.waiting).toBe(1);
  });
});

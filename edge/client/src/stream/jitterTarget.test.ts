import { describe, expect, it } from "vitest";
import { JitterTarget } from "./jitterTarget";

/** One update each second at 50 units per second; `lossOf` says which share of a second's units is lost. */
function run(seconds: number, lossOf: (second: number) => number): (number | null)[] {
  const target = new JitterTarget();
  let units = 0;
  let lost = 0;
  return Array.from({ length: seconds }, (_, second) => {
    const gone = Math.round(50 * lossOf(second));
    units += 50 - gone;
    lost += gone;
    return target.update({ units, lost }, second * 1_000);
  });
}

describe("JitterTarget", () => {
  it("leaves a clean link to the browser", () => {
    expect(run(30, () => 0)).toEqual(Array(30).fill(null));
  });

  it("leaves a single lost unit alone, however few units there were", () => {
    const target = new JitterTarget();
    expect(target.update({ units: 0, lost: 0 }, 0)).toBeNull();
    expect(target.update({ units: 12, lost: 1 }, 1_000)).toBeNull();
  });

  it("leaves less than one percent alone", () => {
    expect(run(30, (second) => (second % 5 === 0 ? 0.02 : 0))).toEqual(Array(30).fill(null));
  });

  it("goes up in small steps under loss and stays", () => {
    const targets = run(10, (second) => (second === 0 ? 0 : 0.04));
    expect(targets.slice(1)).toEqual([60, 80, 100, 100, 100, 100, 100, 100, 100]);
  });

  it("goes back in small steps, well after the loss is over", () => {
    const targets = run(25, (second) => (second === 2 ? 0.2 : 0));
    const last = targets.lastIndexOf(100);
    expect(last).toBeGreaterThanOrEqual(12);
    expect(targets.slice(last)).toEqual([100, 80, 60, ...Array<null>(targets.length - last - 3).fill(null)]);
  });

  it("moves by at most 20 ms in a second, however often it is asked", () => {
    const target = new JitterTarget();
    let before: number | null = null;
    let steps = 0;
    for (let nowMs = 0; nowMs < 40_000; nowMs += 50) {
      const units = nowMs / 20;
      const lost = nowMs < 10_000 ? units / 10 : 50;
      const next = target.update({ units, lost }, nowMs);
      if (next !== before) steps += 1;
      expect(Math.abs((next ?? 60) - (before ?? 60))).toBeLessThanOrEqual(20);
      before = next;
    }
    expect(steps).toBe(6);
    expect(before).toBeNull();
  });
});

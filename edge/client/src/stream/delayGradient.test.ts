import { describe, expect, it } from "vitest";
import { DelayGradient } from "./delayGradient";
import { TICKS_PER_MS } from "./timestamps";

function after(count: number, arrivalMs: (mediaMs: number) => number): DelayGradient {
  const gradient = new DelayGradient();
  for (let index = 0; index < count; index++) gradient.add(20 * index * TICKS_PER_MS, arrivalMs(20 * index));
  return gradient;
}

describe("the delay gradient", () => {
  it("is the slope of arrival over media time, whatever the offset", () => {
    expect(after(100, (media) => 5_000 + media).slope).toBeCloseTo(0, 9);
    expect(after(100, (media) => 5_000 + 1.02 * media).slope).toBeCloseTo(0.02, 9);
    expect(after(100, (media) => 1.02 * media).wire).toBe(200);
    expect(after(100, (media) => 0.9 * media).wire).toBe(-1_000);
    expect(after(100, (media) => 9 * media).wire).toBe(null);
  });

  it("forgets what is older than a second", () => {
    expect(after(200, (media) => (media < 2_000 ? 1.1 * media : 200 + media)).slope).toBeCloseTo(0, 9);
  });

  it("says nothing before it knows enough", () => {
    expect(after(5, (media) => media).slope).toBeNull();
    expect(after(20, (media) => media).slope).toBeNull();
    expect(after(22, (media) => media).slope).toBeCloseTo(0, 9);
  });

  it("saturates, and survives clocks that jump and values that are none", () => {
    const gradient = after(60, (media) => media);
    gradient.add(0, -1e9);
    expect(gradient.slope).toBeNull();
    for (let index = 0; index < 60; index++) gradient.add(1e9 + 960 * index, 20 * index);
    expect(gradient.slope).toBeCloseTo(0, 9);
    for (const value of [NaN, Infinity, -Infinity]) gradient.add(value, value);
    expect(gradient.wire === null || Number.isInteger(gradient.wire)).toBe(true);
  });
});

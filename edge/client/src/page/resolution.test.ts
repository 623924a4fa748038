import { describe, expect, it } from "vitest";
import { ResolutionControl } from "./resolution";

function run(control: ResolutionControl, intervalMs: number, forMs: number): void {
  for (let elapsed = 0; elapsed < forMs; elapsed += intervalMs) control.observe(intervalMs);
}

describe("ResolutionControl", () => {
  it("keeps full resolution while frames are quick", () => {
    const control = new ResolutionControl();
    run(control, 16.7, 60_000);
    expect(control.scale).toBe(1);
  });

  it("gives up pixels step by step, but never all of them", () => {
    const control = new ResolutionControl();
    run(control, 60, 1_300);
    expect(control.scale).toBe(0.75);
    run(control, 60, 30_000);
    expect(control.scale).toBe(0.45);
  });

  it("goes back after a while, and waits longer each time that was wrong", () => {
    const control = new ResolutionControl();
    run(control, 50, 1_300);
    run(control, 16.7, 9_000);
    expect(control.scale).toBe(0.75);
    run(control, 16.7, 3_000);
    expect(control.scale).toBe(1);
    run(control, 50, 1_300);
    run(control, 16.7, 13_000);
    expect(control.scale).toBe(0.75);
    run(control, 16.7, 12_000);
    expect(control.scale).toBe(1);
  });

  it("takes neither a single hiccup nor a hidden page for slowness", () => {
    const control = new ResolutionControl();
    for (let round = 0; round < 200; round += 1) {
      control.observe(16.7);
      control.observe(round % 20 === 0 ? 120 : 16.7);
      control.observe(5_000);
    }
    expect(control.scale).toBe(1);
  });
});

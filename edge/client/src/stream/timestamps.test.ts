import { describe, expect, it } from "vitest";
import { TimestampUnwrapper, wrapTimestamp } from "./timestamps";

describe("TimestampUnwrapper", () => {
  it("counts on over the 32-bit wrap", () => {
    const unwrapper = new TimestampUnwrapper();
    const first = unwrapper.unwrap(2 ** 32 - 960);
    expect(unwrapper.unwrap(0) - first).toBe(960);
    expect(unwrapper.unwrap(960) - first).toBe(1_920);
  });

  it("places an old timestamp before the newest, also across the wrap", () => {
    const unwrapper = new TimestampUnwrapper();
    unwrapper.unwrap(2 ** 32 - 960);
    const newest = unwrapper.unwrap(960);
    expect(unwrapper.peek(2 ** 32 - 1_920)).toBe(newest - 2_880);
    expect(unwrapper.unwrap(0)).toBe(newest - 960);
  });

  it("round-trips through wrapTimestamp for many wraps", () => {
    const unwrapper = new TimestampUnwrapper();
    let expected = unwrapper.unwrap(12_345);
    for (let step = 0; step < 50; step += 1) {
      expected += 2 ** 30;
      expect(unwrapper.unwrap(wrapTimestamp(expected))).toBe(expected);
    }
  });

  it("wraps negative times", () => {
    expect(wrapTimestamp(-960)).toBe(2 ** 32 - 960);
  });
});

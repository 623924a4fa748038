import { describe, expect, it } from "vitest";
import type { UnitReport } from "../transports/messages";
import { Succession } from "./succession";

const TICK = 960;

function unit(tick: number, absoluteMs: number, more: Partial<UnitReport> = {}): UnitReport {
  return {
    type: "unit",
    rtpTimestamp: (tick * TICK) >>> 0,
    sequenceNumber: tick & 0xffff,
    absoluteMs,
    repaired: false,
    state: 3,
    speech: true,
    duck: false,
    cut: false,
    preview: true,
    values: new Float32Array(80),
    syncScore: 0,
    ...more,
  };
}

describe("Succession", () => {
  it.each([0, 2 ** 32 / TICK - 5])("keeps what the owner has not brought, from tick %d on", (first) => {
    const succession = new Succession();
    for (let tick = 0; tick < 10; tick++) {
      succession.owned(unit(first + tick, tick * 20));
      succession.previewed(unit(first + tick + 3, tick * 20));
    }
    expect(succession.commit().map(({ rtpTimestamp }) => rtpTimestamp)).toEqual(
      [10, 11, 12].map((tick) => ((first + tick) * TICK) >>> 0),
    );
  });

  it("says how far the successor is behind, by the quickest of both", () => {
    const succession = new Succession();
    expect(succession.behindMs).toBe(0);
    for (let tick = 0; tick < 10; tick++) {
      succession.owned(unit(tick, 1_000 + tick * 20 + (tick === 4 ? 0 : 30)));
      succession.previewed(unit(tick, 1_000 + tick * 20 + 45 + (tick === 7 ? 0 : 15)));
      succession.previewed(unit(tick, 0, { repaired: true }));
    }
    expect(succession.behindMs).toBeCloseTo(45);
  });

  it("believes in a successor only when several of its faces could be decoded, and remembers few", () => {
    const succession = new Succession();
    for (let tick = 0; tick < 20; tick++) succession.previewed(unit(tick, 0, { values: null }));
    expect(succession.decodable).toBe(false);
    for (let tick = 0; tick < 1_000; tick++) succession.previewed(unit(tick, 0));
    expect(succession.decodable).toBe(true);
    expect(succession.commit().length).toBeLessThanOrEqual(256);
  });
});

import { describe, expect, it } from "vitest";
import { readReport } from "./rtcStats";

const FRESH = { delayS: 0, emitted: 0 };

describe("readReport", () => {
  it("takes the jitter buffer's delay since the last call", () => {
    const report = new Map<string, unknown>([
      [
        "a",
        {
          type: "inbound-rtp",
          kind: "audio",
          jitterBufferDelay: 12,
          jitterBufferEmittedCount: 200,
          concealedSamples: 5,
          totalSamplesReceived: 100,
        },
      ],
      ["b", { type: "candidate-pair", nominated: true, currentRoundTripTime: 0.03 }],
    ]);
    const { stats, totals } = readReport(report, { delayS: 6, emitted: 100 });
    expect(stats).toMatchObject({ jitterBufferMs: 60, roundTripMs: 30, concealed: 0.05 });
    expect(totals).toEqual({ delayS: 12, emitted: 200 });
  });

  it("reads nothing out of an empty report", () => {
    expect(readReport(new Map(), FRESH)).toMatchObject({ totals: FRESH, stats: { jitterBufferMs: null } });
  });
});

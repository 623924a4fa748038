import type { LinkStats } from "./link";

/** Figures from getStats that add up over time, to take differences of. */
export interface JitterBufferTotals {
  readonly delayS: number;
  readonly emitted: number;
}

interface Inbound {
  readonly packetsReceived?: number;
  readonly packetsLost?: number;
  readonly concealedSamples?: number;
  readonly totalSamplesReceived?: number;
  readonly jitterBufferDelay?: number;
  readonly jitterBufferEmittedCount?: number;
}

/** Read what matters out of a report of `RTCPeerConnection.getStats`. @param previous what the last call gave. */
export function readReport(
  report: Iterable<readonly [string, unknown]>,
  previous: JitterBufferTotals,
): { stats: LinkStats; totals: JitterBufferTotals } {
  let inbound: Inbound = {};
  let roundTripMs: number | null = null;
  for (const [, value] of report) {
    const stat = value as { type?: string; kind?: string; nominated?: boolean; currentRoundTripTime?: number };
    if (stat.type === "inbound-rtp" && stat.kind === "audio") inbound = stat as Inbound;
    if (stat.type === "candidate-pair" && stat.nominated === true && stat.currentRoundTripTime !== undefined) {
      roundTripMs = stat.currentRoundTripTime * 1_000;
    }
  }
  const totals = { delayS: inbound.jitterBufferDelay ?? 0, emitted: inbound.jitterBufferEmittedCount ?? 0 };
  const emitted = totals.emitted - previous.emitted;
  const samples = inbound.totalSamplesReceived ?? 0;
  return {
    totals,
    stats: {
      roundTripMs,
      jitterBufferMs: emitted > 0 ? ((totals.delayS - previous.delayS) / emitted) * 1_000 : null,
      packetsReceived: inbound.packetsReceived ?? 0,
      packetsLost: inbound.packetsLost ?? 0,
      concealed: samples > 0 ? (inbound.concealedSamples ?? 0) / samples : 0,
    },
  };
}

import type { PipeCounters } from "../transports/messages";
import type { MotionPath } from "../transports/webrtc";

/** How a session does. Times in milliseconds, counts since the connection was made. */
export interface SessionStats {
  readonly motionPath: MotionPath | null;
  readonly roundTripMs: number | null;
  /** Mean time a packet waited in the jitter buffer, over the last interval between two calls. */
  readonly jitterBufferMs: number | null;
  readonly packetsReceived: number;
  readonly packetsLost: number;
  /** Share of played samples that were invented to bridge losses, 0…1. */
  readonly concealed: number;
  /** Mean bytes of an Opus packet with its padding, and of the frame in it. */
  readonly meanPacketBytes: number | null;
  readonly meanFrameBytes: number | null;
  readonly counters: PipeCounters;
  /** Loudspeaker latency that motion is delayed by; null when the browser does not say. */
  readonly outputLatencyMs: number | null;
  readonly framesDrawn: number;
}

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

/** Read what matters out of a report. */
export function readReport(report: Iterable<readonly [string, unknown]>): {
  inbound: Inbound;
  roundTripMs: number | null;
} {
  let inbound: Inbound = {};
  let roundTripMs: number | null = null;
  for (const [, value] of report) {
    const stat = value as { type?: string; kind?: string; nominated?: boolean; currentRoundTripTime?: number };
    if (stat.type === "inbound-rtp" && stat.kind === "audio") inbound = stat as Inbound;
    if (stat.type === "candidate-pair" && stat.nominated === true && stat.currentRoundTripTime !== undefined) {
      roundTripMs = stat.currentRoundTripTime * 1_000;
    }
  }
  return { inbound, roundTripMs };
}

/** Put a report and our own counters together. */
export function summarise(
  report: Iterable<readonly [string, unknown]>,
  counters: PipeCounters,
  previous: JitterBufferTotals,
  own: Pick<SessionStats, "motionPath" | "outputLatencyMs" | "framesDrawn">,
): { stats: SessionStats; totals: JitterBufferTotals } {
  const { inbound, roundTripMs } = readReport(report);
  const totals = { delayS: inbound.jitterBufferDelay ?? 0, emitted: inbound.jitterBufferEmittedCount ?? 0 };
  const emitted = totals.emitted - previous.emitted;
  const packets = counters.units + counters.plain;
  const samples = inbound.totalSamplesReceived ?? 0;
  return {
    totals,
    stats: {
      ...own,
      roundTripMs,
      jitterBufferMs: emitted > 0 ? ((totals.delayS - previous.delayS) / emitted) * 1_000 : null,
      packetsReceived: inbound.packetsReceived ?? 0,
      packetsLost: inbound.packetsLost ?? 0,
      concealed: samples > 0 ? (inbound.concealedSamples ?? 0) / samples : 0,
      meanPacketBytes: packets > 0 ? counters.packetBytes / packets : null,
      meanFrameBytes: counters.units > 0 ? counters.frameBytes / counters.units : null,
      counters: { ...counters },
    },
  };
}

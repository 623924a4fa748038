import { AccessUnitFlags } from "../wire/accessUnit";
import { wrapTimestamp } from "../stream/timestamps";
import type { ReceivedUnit, UnitReceiver } from "../stream/unitReceiver";

/** What the worker and the page's thread tell each other. Times are absolute: performance.timeOrigin + now, in ms. */

/** One access unit, as soon as it is there, before any jitter buffer. */
export interface UnitReport {
  readonly type: "unit";
  /** 32-bit RTP timestamp of the packet's start. */
  readonly rtpTimestamp: number;
  readonly sequenceNumber: number;
  readonly absoluteMs: number;
  /** It came back by forward error correction, after its time of arrival. */
  readonly repaired: boolean;
  /** Value of FaceState. */
  readonly state: number;
  readonly speech: boolean;
  readonly duck: boolean;
  readonly cut: boolean;
  /** From a POP that does not own the session yet. */
  readonly preview: boolean;
  /** 52 weights and 28 joint components; null when the frame's baseline is missing or it was damaged. */
  readonly values: Float32Array<ArrayBuffer> | null;
  readonly syncScore: number;
}

/** Feedback that no microphone packet carried: to be sent on the channel of units, or else on the control channel. */
export interface FeedbackReport {
  readonly type: "feedback";
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What came and what became of it, counted since the link was opened. */
export interface PipeCounters {
  /** Access units that came by themselves. */
  units: number;
  /** Access units that did not, whether they were repaired or not; late ones count until they come. */
  lost: number;
  /** Lost units that forward error correction brought back. */
  repaired: number;
  /** Units that came when they were of no use any more. */
  late: number;
  /** Units that had come already. */
  duplicate: number;
  /** Units of an older epoch, refused. */
  stale: number;
  /** Packets, units, frames and redundancy that could not be read. */
  malformed: number;
  /** Frames whose baseline was not there (any more) or another. */
  baselineMissing: number;
  /** Packets of plain Opus. */
  plain: number;
  /** Bytes of Opus packets received, padding included, and of the frames in them. */
  packetBytes: number;
  frameBytes: number;
  /** Feedback sent inside microphone packets, and handed to the control channel. */
  feedbackEmbedded: number;
  feedbackOnChannel: number;
}

export interface CountersReport {
  readonly type: "counters";
  readonly counters: PipeCounters;
}

export type WorkerReport = UnitReport | FeedbackReport | CountersReport;

/** What is audible now, so that the feedback can say so. */
export interface PlayoutNote {
  readonly type: "playout";
  readonly rtpTimestamp: number;
  readonly absoluteMs: number;
  /** From a unit's arrival until it is audible; null while unknown. */
  readonly playoutDelayMs: number | null;
}

/** Encoded streams of a browser without RTCRtpScriptTransform. */
export interface StreamsNote {
  readonly type: "streams";
  readonly side: PipeSide;
  readonly readable: ReadableStream<RTCEncodedAudioFrame>;
  readonly writable: WritableStream<RTCEncodedAudioFrame>;
}

/** What came on the data channel of units. */
export interface DatagramNote {
  readonly type: "datagram";
  readonly bytes: ArrayBuffer;
  readonly absoluteMs: number;
}

export interface CloseNote {
  readonly type: "close";
}

export type PipeSide = "receive" | "send";
/** The session may move to the POP of this link: take its previews. */
export interface PreviewsNote {
  readonly type: "previews";
}

export type PageNote = PlayoutNote | StreamsNote | PreviewsNote | DatagramNote | CloseNote;

/** Nothing came yet. */
export function emptyCounters(): PipeCounters {
  return {
    units: 0,
    lost: 0,
    repaired: 0,
    late: 0,
    duplicate: 0,
    stale: 0,
    malformed: 0,
    baselineMissing: 0,
    plain: 0,
    packetBytes: 0,
    frameBytes: 0,
    feedbackEmbedded: 0,
    feedbackOnChannel: 0,
  };
}

/** Reasons of a UnitReceiver by what they mean to somebody who looks at a connection. */
const REASONS = {
  late: ["late", "overtaken"],
  duplicate: ["duplicate"],
  stale: ["old-epoch"],
  malformed: [
    ...["bad-opus", "too-short", "unknown-version", "unknown-flags", "bad-length", "bad-frame"],
    ...["bad-fec", "other-blocks", "contradiction"],
  ],
  baselineMissing: ["baseline-missing", "diverged"],
  plain: ["plain"],
} as const;

/** What a receiver counted. */
export function receiverCounters(receiver: UnitReceiver): Partial<PipeCounters> {
  const counters: Partial<PipeCounters> = {
    units: receiver.arrived,
    lost: receiver.lost,
    repaired: receiver.restored,
  };
  for (const [name, reasons] of Object.entries(REASONS)) {
    counters[name as keyof typeof REASONS] = reasons.reduce((sum, reason) => sum + (receiver.dropped[reason] ?? 0), 0);
  }
  return counters;
}

/** A unit as the session hears of it. @param absoluteMs when its packet came, or the one that brought it back. */
export function unitReport(unit: ReceivedUnit, absoluteMs: number): UnitReport {
  const { frame, flags } = unit;
  let values: Float32Array<ArrayBuffer> | null = null;
  if (frame !== null) {
    values = new Float32Array(frame.weights.length + frame.joints.length);
    values.set(frame.weights);
    values.set(frame.joints, frame.weights.length);
  }
  return {
    type: "unit",
    rtpTimestamp: wrapTimestamp(unit.mediaTime),
    sequenceNumber: unit.sequenceNumber,
    absoluteMs,
    repaired: unit.repaired,
    state: unit.state,
    speech: (flags & AccessUnitFlags.SPEECH) !== 0,
    duck: (flags & AccessUnitFlags.DUCK) !== 0,
    cut: (flags & AccessUnitFlags.CUT) !== 0,
    preview: (flags & AccessUnitFlags.PREVIEW) !== 0,
    values,
    syncScore: frame?.syncScore ?? 0,
  };
}

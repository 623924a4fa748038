/** What the worker and the page's thread tell each other. Times are absolute: performance.timeOrigin + now, in ms. */

/** One received access unit, as soon as its packet came, before any jitter buffer. */
export interface UnitReport {
  readonly type: "unit";
  /** 32-bit RTP timestamp of the packet's start. */
  readonly rtpTimestamp: number;
  readonly sequenceNumber: number;
  readonly absoluteMs: number;
  /** Value of FaceState. */
  readonly state: number;
  readonly speech: boolean;
  readonly duck: boolean;
  readonly cut: boolean;
  /** 52 weights and 28 joint components; null when the frame's baseline is missing or it was damaged. */
  readonly values: Float32Array<ArrayBuffer> | null;
  readonly syncScore: number;
}

/** Feedback that no microphone packet carried: to be sent on the control channel. */
export interface FeedbackReport {
  readonly type: "feedback";
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Counters since the worker started. */
export interface PipeCounters {
  /** Packets with an access unit in their padding. */
  units: number;
  /** Packets of plain Opus. */
  plain: number;
  /** Access units that could not be read. */
  malformed: number;
  /** Frames whose baseline was not there (any more). */
  baselineMissing: number;
  /** Units of an older epoch, refused. */
  stale: number;
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

export interface CloseNote {
  readonly type: "close";
}

export type PipeSide = "receive" | "send";
export type PageNote = PlayoutNote | StreamsNote | CloseNote;

export function emptyCounters(): PipeCounters {
  return {
    units: 0,
    plain: 0,
    malformed: 0,
    baselineMissing: 0,
    stale: 0,
    packetBytes: 0,
    frameBytes: 0,
    feedbackEmbedded: 0,
    feedbackOnChannel: 0,
  };
}

import { AccessUnitFlags, decodeAccessUnit, type AccessUnit } from "../wire/accessUnit";
import { embedFeedback, encodeFeedback, type Feedback } from "../wire/feedback";
import { FrameDecoder } from "../wire/frameCodec";
import { wrapTimestamp } from "../stream/timestamps";
import { emptyCounters, type PipeCounters, type UnitReport, type WorkerReport } from "./messages";

/** How often feedback leaves at least: five frames, which the frame codec was measured at. */
export const FEEDBACK_INTERVAL_MS = 100;
/** A playout position older than this says nothing. */
const PLAYOUT_MS_MAX = 1_000;
/** The table of contents of a 20 ms mono Opus frame (RFC 6716 section 3.1): what carries feedback before any sound. */
const SILENT_TOC = 0xf8;

/**
 * Reads access units out of arriving Opus packets and writes feedback into leaving ones. Pure: packets and times come
 * in, reports go out through `post`.
 */
export class EncodedPipe {
  readonly counters: PipeCounters = emptyCounters();
  readonly #post: (report: WorkerReport) => void;
  #decoder = new FrameDecoder();
  #epoch: number | null = null;
  #acknowledged: number | null = null;
  /** Bit i: unit `#acknowledged - 1 - i` was decoded. */
  #received = 0;
  #keyframeRequest = false;
  #playout: { rtpTimestamp: number; absoluteMs: number } | null = null;
  #lastFeedbackMs = -Infinity;
  #lastSendMs = -Infinity;
  #lastToc = SILENT_TOC;

  constructor(post: (report: WorkerReport) => void) {
    this.#post = post;
  }

  /** A packet came. It is passed on untouched whatever is in it. */
  receive(packet: Uint8Array, rtpTimestamp: number, absoluteMs: number): void {
    this.counters.packetBytes += packet.length;
    let unit: AccessUnit | null;
    try {
      unit = decodeAccessUnit(packet);
    } catch {
      this.counters.malformed += 1;
      return;
    }
    if (unit === null) {
      this.counters.plain += 1;
      return;
    }
    if (!this.#accept(unit)) return;
    this.counters.units += 1;
    this.counters.frameBytes += unit.frame.length;
    const report = this.#report(unit, rtpTimestamp, absoluteMs);
    this.#post(report);
    if (report.values === null && this.#keyframeRequest) this.#feedbackOnChannel(absoluteMs);
  }

  /** The page says what is audible. */
  notePlayout(rtpTimestamp: number, absoluteMs: number): void {
    this.#playout = { rtpTimestamp, absoluteMs };
  }

  /**
   * A microphone packet leaves. While the microphone is silent the encoder gives empty frames; then only every fifth
   * becomes a packet, so that silence stays nearly free for the POP.
   *
   * @returns the bytes to send, or null to send the packet as it is.
   */
  send(packet: Uint8Array, absoluteMs: number): Uint8Array<ArrayBuffer> | null {
    const toc = packet[0];
    this.#lastSendMs = absoluteMs;
    if (toc !== undefined) this.#lastToc = toc;
    else if (absoluteMs - this.#lastFeedbackMs < FEEDBACK_INTERVAL_MS) return null;
    if (this.#nothingToSay()) return null;
    const carrier = toc === undefined ? Uint8Array.of(this.#lastToc & 0xfc) : packet;
    try {
      const bytes = embedFeedback(carrier, this.#feedback(absoluteMs));
      this.#lastFeedbackMs = absoluteMs;
      this.counters.feedbackEmbedded += 1;
      return bytes;
    } catch {
      return null;
    }
  }

  /** Call every FEEDBACK_INTERVAL_MS: where no microphone packet comes by, feedback goes on the control channel. */
  tick(absoluteMs: number): void {
    const microphone = absoluteMs - this.#lastSendMs < FEEDBACK_INTERVAL_MS;
    const patience = microphone ? FEEDBACK_INTERVAL_MS * 2 : FEEDBACK_INTERVAL_MS / 2;
    if (absoluteMs - this.#lastFeedbackMs < patience || this.#nothingToSay()) return;
    this.#feedbackOnChannel(absoluteMs);
  }

  #accept(unit: AccessUnit): boolean {
    if (this.#epoch !== null && unit.epoch < this.#epoch) {
      this.counters.stale += 1;
      return false;
    }
    if ((unit.flags & AccessUnitFlags.PREVIEW) !== 0) return false;
    if (this.#epoch !== null && unit.epoch > this.#epoch) {
      this.#decoder = new FrameDecoder();
      this.#acknowledged = null;
      this.#received = 0;
    }
    this.#epoch = unit.epoch;
    return true;
  }

  #report(unit: AccessUnit, rtpTimestamp: number, absoluteMs: number): UnitReport {
    const report = {
      type: "unit",
      rtpTimestamp,
      sequenceNumber: unit.sequenceNumber,
      absoluteMs,
      state: unit.state,
      speech: (unit.flags & AccessUnitFlags.SPEECH) !== 0,
      duck: (unit.flags & AccessUnitFlags.DUCK) !== 0,
      cut: (unit.flags & AccessUnitFlags.CUT) !== 0,
    } as const;
    if (unit.frame.length === 0) return { ...report, values: null, syncScore: 0 };
    try {
      const frame = this.#decoder.decode(unit.frame, unit.sequenceNumber);
      if ("weights" in frame) {
        this.#acknowledge(unit.sequenceNumber);
        const values = new Float32Array(frame.weights.length + frame.joints.length);
        values.set(frame.weights);
        values.set(frame.joints, frame.weights.length);
        return { ...report, values, syncScore: frame.syncScore };
      }
      this.counters.baselineMissing += 1;
      this.#keyframeRequest = true;
    } catch {
      this.counters.malformed += 1;
      this.#keyframeRequest = true;
    }
    return { ...report, values: null, syncScore: 0 };
  }

  #acknowledge(sequenceNumber: number): void {
    this.#keyframeRequest = false;
    if (this.#acknowledged === null) {
      this.#acknowledged = sequenceNumber;
      return;
    }
    const ahead = serialDistance(sequenceNumber, this.#acknowledged);
    if (ahead > 0) {
      this.#received = ahead > 32 ? 0 : ((ahead === 32 ? 0 : this.#received << ahead) | (1 << (ahead - 1))) >>> 0;
      this.#acknowledged = sequenceNumber;
    } else if (ahead < 0 && ahead >= -32) {
      this.#received = (this.#received | (1 << (-ahead - 1))) >>> 0;
    }
  }

  #nothingToSay(): boolean {
    return this.#acknowledged === null && this.#playout === null && !this.#keyframeRequest;
  }

  #feedback(absoluteMs: number): Feedback {
    const playout = this.#playout;
    const elapsedMs = playout === null ? Infinity : absoluteMs - playout.absoluteMs;
    return {
      acknowledged: this.#acknowledged,
      playoutTimestamp:
        playout === null || elapsedMs > PLAYOUT_MS_MAX ? null : wrapTimestamp(playout.rtpTimestamp + elapsedMs * 48),
      keyframeRequest: this.#keyframeRequest,
      received: this.#acknowledged === null ? null : this.#received,
      epoch: this.#epoch,
    };
  }

  #feedbackOnChannel(absoluteMs: number): void {
    this.#lastFeedbackMs = absoluteMs;
    this.counters.feedbackOnChannel += 1;
    this.#post({ type: "feedback", bytes: encodeFeedback(this.#feedback(absoluteMs)) });
  }
}

/** How far `a` is ahead of `b`, 16-bit serial numbers (RFC 1982): −32768…32767. */
function serialDistance(a: number, b: number): number {
  return ((a - b) << 16) >> 16;
}

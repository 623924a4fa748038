import { Ring } from "./ring";
import type { MotionSource } from "../stream/timeline";

/** A drawn face: what stood on the canvas at an instant. */
export interface DrawnTrace {
  /** performance.now() at which it was drawn. */
  readonly atMs: number;
  /** 32-bit RTP timestamp that was drawn; null when the face lived by itself. */
  readonly rtpTimestamp: number | null;
  /** Sequence number of the sent frame at or before it. */
  readonly sequenceNumber: number | null;
  readonly jawOpen: number;
  readonly source: MotionSource;
  /** 0 all from the network … 1 all local. */
  readonly idle: number;
  /** What the playhead followed: 32-bit RTP timestamp audible at `atMs`; null while unknown. */
  readonly audibleTimestamp: number | null;
}

/** An access unit as it came. */
export interface ReceivedTrace {
  readonly atMs: number;
  readonly rtpTimestamp: number;
  readonly sequenceNumber: number;
  /** null when the frame could not be decoded. */
  readonly jawOpen: number | null;
  readonly state: number;
  readonly speech: boolean;
  readonly duck: boolean;
  readonly cut: boolean;
  /** Forward error correction brought it back; `atMs` is when. */
  readonly repaired: boolean;
}

/** A change of the voice's loudness. */
export interface GainTrace {
  readonly atMs: number;
  readonly gain: number;
}

/** What was drawn, received and heard lately, for end-to-end measurements. About 50 s at 60 frames per second. */
export class DebugTrace {
  readonly drawn = new Ring<DrawnTrace>(3_000);
  readonly received = new Ring<ReceivedTrace>(3_000);
  readonly gains = new Ring<GainTrace>(600);

  clear(): void {
    this.drawn.clear();
    this.received.clear();
    this.gains.clear();
  }
}

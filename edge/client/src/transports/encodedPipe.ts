import { FEEDBACK_MS, UnitReceiver } from "../stream/unitReceiver";
import { TICKS_PER_MS } from "../stream/timestamps";
import { embedFeedback, encodeFeedback, type Feedback } from "../wire/feedback";
import { emptyCounters, receiverCounters, unitReport, type PipeCounters, type WorkerReport } from "./messages";
import { decodeUnit } from "./webtransport/datagrams";

/** A playout position older than this says nothing. */
const PLAYOUT_MS_MAX = 1_000;
/** The table of contents of a 20 ms mono Opus frame (RFC 6716 section 3.1): what carries feedback before any sound. */
const SILENT_TOC = 0xf8;

/** What the page last said about playout: what was audible when, and how long after its arrival. */
export interface Playout {
  readonly rtpTimestamp: number;
  readonly absoluteMs: number;
  readonly playoutDelayMs: number | null;
}

/**
 * WebRTC's side of the unit receiver: reads access units out of arriving Opus packets and decides when and in what
 * feedback leaves. Pure: packets and times come in, reports go out through `post`.
 */
export class EncodedPipe {
  readonly #post: (report: WorkerReport) => void;
  // The browser plays the sound, and in-band FEC of Opus guards it: redundancy is for motion alone.
  readonly #receiver = new UnitReceiver(false);
  readonly #counters = emptyCounters();
  /** Datagrams that are no units. */
  #malformed = 0;
  #playout: Playout | null = null;
  #lastFeedbackMs = -Infinity;
  #lastSendMs = -Infinity;
  #lastToc = SILENT_TOC;

  constructor(post: (report: WorkerReport) => void) {
    this.#post = post;
  }

  get counters(): PipeCounters {
    const received = receiverCounters(this.#receiver);
    return { ...this.#counters, ...received, malformed: this.#malformed + (received.malformed ?? 0) };
  }

  /**
   * A packet came. It is passed on untouched whatever is in it.
   *
   * @param arrivedMs when the network brought it, as exactly as known: a busy browser hands it over later.
   * @param absoluteMs now.
   */
  receive(packet: Uint8Array, rtpTimestamp: number, arrivedMs: number, absoluteMs: number): void {
    this.#counters.packetBytes += packet.length;
    for (const unit of this.#receiver.receive(packet, rtpTimestamp, arrivedMs)) {
      if (!unit.repaired) this.#counters.frameBytes += unit.frameBytes;
      this.#post(unitReport(unit, absoluteMs));
    }
    if (this.#receiver.keyframeRequest && this.#receiver.feedbackDue(absoluteMs)) this.#feedbackOnChannel(absoluteMs);
  }

  /** The session may move to the POP of this link. */
  acceptPreviews(): void {
    this.#receiver.previews = true;
  }

  /**
   * A copy of a packet came on a data channel, for a browser that shows nobody the packet itself.
   *
   * @param arrivedMs see `receive`.
   */
  receiveDatagram(datagram: Uint8Array, arrivedMs: number, absoluteMs: number): void {
    const unit = decodeUnit(datagram);
    if (unit === null) this.#malformed += 1;
    else this.receive(unit.packet, unit.timestamp, arrivedMs, absoluteMs);
  }

  /** The page says what is audible. */
  notePlayout(playout: Playout): void {
    this.#playout = playout;
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
    else if (absoluteMs - this.#lastFeedbackMs < FEEDBACK_MS) return null;
    if (this.#nothingToSay()) return null;
    const carrier = toc === undefined ? Uint8Array.of(this.#lastToc & 0xfc) : packet;
    try {
      const bytes = embedFeedback(carrier, this.#feedback(absoluteMs));
      this.#lastFeedbackMs = absoluteMs;
      this.#counters.feedbackEmbedded += 1;
      return bytes;
    } catch {
      return null;
    }
  }

  /** Call every FEEDBACK_MS: where no microphone packet comes by, feedback goes on the control channel. */
  tick(absoluteMs: number): void {
    const microphone = absoluteMs - this.#lastSendMs < FEEDBACK_MS;
    const patience = microphone ? FEEDBACK_MS * 2 : FEEDBACK_MS / 2;
    if (absoluteMs - this.#lastFeedbackMs < patience || this.#nothingToSay()) return;
    this.#feedbackOnChannel(absoluteMs);
  }

  #nothingToSay(): boolean {
    return !this.#receiver.hasNews && this.#playout === null;
  }

  #feedback(absoluteMs: number): Required<Feedback> {
    const playout = this.#playout;
    const elapsedMs = playout === null ? Infinity : absoluteMs - playout.absoluteMs;
    if (playout === null || elapsedMs > PLAYOUT_MS_MAX) return this.#receiver.feedback(null, null, absoluteMs);
    const audible = playout.rtpTimestamp + elapsedMs * TICKS_PER_MS;
    return this.#receiver.feedback(audible, playout.playoutDelayMs, absoluteMs);
  }

  #feedbackOnChannel(absoluteMs: number): void {
    this.#lastFeedbackMs = absoluteMs;
    this.#counters.feedbackOnChannel += 1;
    this.#post({ type: "feedback", bytes: encodeFeedback(this.#feedback(absoluteMs)) });
  }
}

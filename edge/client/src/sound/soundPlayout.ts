import { JitterBuffer } from "../stream/jitterBuffer";
import { TICKS_PER_MS } from "../stream/timestamps";
import { AudioClock } from "./audioClock";
import { Splicer, type Piece } from "./splicer";

/** Samples are 48 kHz ticks: the audio context is made with that rate. */
const FRAMES_PER_MS = TICKS_PER_MS;
/** How long before its turn a packet is decoded, at first, at least and at most. */
const AHEAD_MS_FIRST = 20;
const AHEAD_MS_MIN = 10;
const AHEAD_MS_MAX = 80;
/** A piece that comes this shortly before its turn makes us decode earlier; one that comes much earlier, later. */
const SLACK_MS_MIN = 3;
const SLACK_MS_MAX = 8;
const AHEAD_MS_RISE = 4;
const AHEAD_MS_FALL = 0.05;

/** A packet of sound as it came, or came back. */
export interface PlayoutPacket {
  readonly packet: Uint8Array;
  /** Unwrapped 48 kHz media time of its first sample. */
  readonly ticks: number;
  readonly durationTicks: number;
  /** Nobody's voice is in it. */
  readonly silent: boolean;
  /** It came back by forward error correction. */
  readonly repaired: boolean;
}

/** A piece of sound for the sound card, and which media time it is. */
export interface PlacedPiece extends Piece {
  readonly ticks: number;
  readonly durationTicks: number;
}

/** What the sound card tells. */
export interface CardReport {
  /** The sample that is rendered now. */
  readonly frame: number;
  /** How early the latest piece since the last report came, at the least; null when none came. */
  readonly slackFrames: number | null;
  /** Samples that were not there in time, since the card was started. */
  readonly missedFrames: number;
}

/** Decodes packets in the order they are given. */
export interface SoundDecoder {
  decode(packet: Uint8Array): void;
  /** Forget what is under way. */
  reset(): void;
}

/** How the playout does, counted since it began. */
export interface PlayoutCounters {
  readonly played: number;
  readonly concealed: number;
  readonly late: number;
  /** Samples that the sound card wanted and we did not have in time. */
  readonly missedFrames: number;
}

interface Turn {
  readonly startFrame: number;
  readonly endFrame: number;
  readonly ticks: number;
  readonly durationTicks: number;
  /** undefined: it is being decoded. */
  sound: Float32Array | null | undefined;
}

/**
 * From arriving packets to sound that is placed on the sound card's own clock, which is the master: motion follows what
 * it plays.
 *
 * It lives in the worker that has the connection and not in the audio worklet: worklets have no decoder, the packets and
 * the feedback about them are here, and the audio thread keeps only what cannot be late. The jitter buffer therefore
 * runs a little ahead of the card, by as much as decoding and handing over take; that is measured and kept small. Pure:
 * times, packets and decoded sound come in.
 */
export class SoundPlayout {
  readonly #clock = new AudioClock();
  readonly #decoder: SoundDecoder;
  readonly #post: (piece: PlacedPiece) => void;
  #buffer = new JitterBuffer<Uint8Array>();
  #splicer = new Splicer();
  #turns: Turn[] = [];
  /** Results of the decoder that nobody waits for any more. */
  #unwanted = 0;
  #aheadMs = AHEAD_MS_FIRST;
  /** The buffer's clock must not go back, also where `#aheadMs` shrinks. */
  #bufferMs = -Infinity;
  #played = 0;
  #before = { concealed: 0, late: 0 };
  #missedFrames = 0;

  constructor(decoder: SoundDecoder, post: (piece: PlacedPiece) => void) {
    this.#decoder = decoder;
    this.#post = post;
  }

  get counters(): PlayoutCounters {
    return {
      played: this.#played,
      concealed: this.#before.concealed + this.#buffer.concealed,
      late: this.#before.late + this.#buffer.dropped.late,
      missedFrames: this.#missedFrames,
    };
  }

  /** From a packet's arrival until its turn to be decoded: what comes later is of no use. null while nothing plays. */
  get delayMs(): number | null {
    return this.#bufferMs === -Infinity || this.#played === 0 ? null : Math.max(0, this.#buffer.delayMs);
  }

  /** The sound card says where it is. */
  hearCard(report: CardReport, nowMs: number): void {
    const stood = this.#clock.audioMs(nowMs) === null;
    this.#clock.observe(report.frame / FRAMES_PER_MS, nowMs);
    this.#missedFrames = report.missedFrames;
    if (stood) this.#begin();
    if (report.slackFrames !== null) {
      const slackMs = report.slackFrames / FRAMES_PER_MS;
      if (slackMs < SLACK_MS_MIN) this.#aheadMs += AHEAD_MS_RISE;
      else if (slackMs > SLACK_MS_MAX) this.#aheadMs -= AHEAD_MS_FALL;
      this.#aheadMs = Math.min(AHEAD_MS_MAX, Math.max(AHEAD_MS_MIN, this.#aheadMs));
    }
    this.advance(nowMs);
  }

  /** Play everything so much later, or sooner where negative: for a playout that nobody hears yet. */
  shift(laterMs: number): void {
    this.#buffer.shift(laterMs);
  }

  /** A packet came. While the card stands still (sound is blocked) it is not kept. @returns whether it is of use. */
  push(packet: PlayoutPacket, nowMs: number): boolean {
    const { ticks, durationTicks, silent, repaired } = packet;
    const arrivalMs = this.advance(nowMs);
    if (arrivalMs === null) return false;
    return this.#buffer.push({ payload: packet.packet, ticks, durationTicks, silent, arrivalMs, repaired }) === null;
  }

  /** Sound of the oldest packet that is being decoded; null: it could not be. */
  decoded(sound: Float32Array | null): void {
    if (this.#unwanted > 0) {
      this.#unwanted -= 1;
      return;
    }
    const turn = this.#turns.find((waiting) => waiting.sound === undefined);
    if (turn === undefined) return;
    turn.sound = sound;
    this.#flush();
  }

  /** The decoder is gone with all that it had; it decodes anew from the next packet on. */
  decoderFailed(): void {
    this.#unwanted = 0;
    for (const turn of this.#turns) turn.sound ??= null;
    this.#flush();
  }

  /** Whatever has its turn is decoded. @returns the buffer's time; null while the card stands still. */
  advance(nowMs: number): number | null {
    const audioMs = this.#clock.audioMs(nowMs);
    if (audioMs === null) return null;
    this.#bufferMs = Math.max(this.#bufferMs, audioMs + this.#aheadMs);
    for (const block of this.#buffer.advance(this.#bufferMs)) {
      const { atMs, lengthMs, ticks, durationTicks, payload } = block;
      const sound = payload === null ? null : undefined;
      const startFrame = Math.round(atMs * FRAMES_PER_MS);
      const endFrame = Math.round((atMs + lengthMs) * FRAMES_PER_MS);
      this.#turns.push({ startFrame, endFrame, ticks, durationTicks, sound });
      if (payload !== null) this.#decoder.decode(payload);
    }
    this.#giveUp(audioMs * FRAMES_PER_MS);
    this.#flush();
    return this.#bufferMs;
  }

  /** What should sound by now and is not decoded yet is missing. */
  #giveUp(frame: number): void {
    for (const turn of this.#turns) {
      if (turn.startFrame > frame) return;
      if (turn.sound !== undefined) continue;
      turn.sound = null;
      this.#unwanted += 1;
    }
  }

  #flush(): void {
    for (;;) {
      const turn = this.#turns[0];
      if (turn?.sound === undefined) return;
      this.#turns.shift();
      const { startFrame, endFrame, ticks, durationTicks, sound } = turn;
      const piece = this.#splicer.splice({ startFrame, endFrame, sound });
      if (sound !== null) this.#played += 1;
      if (piece.sound.length > 0) this.#post({ ...piece, ticks, durationTicks });
    }
  }

  /** The card runs (again): what waited is old, and where it goes on nobody knows. */
  #begin(): void {
    this.#before = { concealed: this.counters.concealed, late: this.counters.late };
    this.#buffer = new JitterBuffer();
    this.#splicer = new Splicer();
    this.#turns = [];
    this.#unwanted = 0;
    this.#bufferMs = -Infinity;
    this.#decoder.reset();
  }
}

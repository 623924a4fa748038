import { encodeMicrophone } from "../transports/webtransport/datagrams";
import { embedFeedback, encodeFeedback, type Feedback } from "../wire/feedback";
import type { Bytes } from "../wire/opusPadding";

/** The microphone is silent for this long before feedback stops waiting for its packets. */
const MICROPHONE_GONE_MS = 60;
/** Packets that are kept while nobody speaks (100 ms): the first consonant is quieter than what opens the gate. */
const PREROLL_PACKETS = 5;

/** A microphone packet as it comes out of the encoder. */
export interface EncodedSound {
  readonly opus: Uint8Array;
  /** 48 kHz media time of its first sample. */
  readonly timestamp: number;
  /** See audioLevel. */
  readonly level: number;
  /** Somebody may be speaking: see LevelGate. */
  readonly voice: boolean;
}

/** Where feedback comes from. */
export interface FeedbackSource {
  hasNews(): boolean;
  feedbackDue(nowMs: number): boolean;
  take(nowMs: number): Feedback;
}

/**
 * What goes up, and when: all packets while somebody may be speaking; while nobody does only feedback, inside packets
 * without sound that keep the microphone's time, so that the POP knows it is there and quiet. Every packet costs the
 * POP as much as a face does. Pure.
 */
export class Uplink {
  embedded = 0;
  bare = 0;
  readonly #source: FeedbackSource;
  readonly #send: (datagram: Bytes) => void;
  readonly #preroll: EncodedSound[] = [];
  #sequenceNumber = 0;
  #soundMs = -Infinity;

  constructor(source: FeedbackSource, send: (datagram: Bytes) => void) {
    this.#source = source;
    this.#send = send;
  }

  /** The microphone gave 20 ms. */
  receive(sound: EncodedSound, nowMs: number): void {
    this.#soundMs = nowMs;
    this.#preroll.push(sound);
    if (sound.voice) {
      for (const packet of this.#preroll.splice(0)) this.#sendSound(packet, packet.opus, nowMs);
      return;
    }
    if (this.#preroll.length <= PREROLL_PACKETS) return;
    const oldest = this.#preroll.shift()!;
    if (this.#due(nowMs)) this.#sendSound(oldest, Uint8Array.of(oldest.opus[0]! & 0xfc), nowMs);
  }

  /** Call now and then, at least as often as feedback is due: where no microphone carries it, it goes by itself. */
  tick(nowMs: number): void {
    if (nowMs - this.#soundMs < MICROPHONE_GONE_MS || !this.#due(nowMs)) return;
    this.bare += 1;
    this.#send(encodeFeedback(this.#source.take(nowMs)));
  }

  #due(nowMs: number): boolean {
    return this.#source.hasNews() && this.#source.feedbackDue(nowMs);
  }

  #sendSound({ timestamp, level, voice }: EncodedSound, opus: Uint8Array, nowMs: number): void {
    let packet = opus;
    if (this.#due(nowMs)) {
      packet = embedFeedback(opus, this.#source.take(nowMs));
      this.embedded += 1;
    }
    const sequenceNumber = this.#sequenceNumber;
    this.#sequenceNumber = (sequenceNumber + 1) & 0xffff;
    this.#send(encodeMicrophone({ packet, timestamp, sequenceNumber, levelDbov: level, voice }));
  }
}

import { AccessUnitFlags } from "../../wire/accessUnit";
import type { Feedback } from "../../wire/feedback";
import type { Bytes } from "../../wire/opusPadding";
import { SoundPlayout, type CardReport, type PlacedPiece, type SoundDecoder } from "../../sound/soundPlayout";
import { Uplink, type EncodedSound } from "../../sound/uplink";
import { TICKS_PER_MS } from "../../stream/timestamps";
import { UnitReceiver } from "../../stream/unitReceiver";
import { emptyCounters, receiverCounters, unitReport, type PipeCounters, type UnitReport } from "../messages";
import { decodeUnit } from "./datagrams";
import type { SoundFigures } from "./messages";

/** A playout position older than this says nothing. */
const PLAYOUT_MS_MAX = 1_000;

/** What comes out of the pipe. */
export interface MediaPipeEvents {
  onUnit(unit: UnitReport): void;
  onPiece(piece: PlacedPiece): void;
  onDatagram(datagram: Bytes): void;
}

/**
 * Everything between the datagrams of a WebTransport session and sound card, face and microphone. Pure: datagrams,
 * times, decoded and encoded sound come in; datagrams, pieces of sound and reports go out.
 */
export class MediaPipe {
  // Nobody but us repairs the sound: redundancy is for sound and motion.
  readonly #receiver = new UnitReceiver(true);
  readonly #counters = emptyCounters();
  readonly #events: MediaPipeEvents;
  readonly #playout: SoundPlayout;
  readonly #uplink: Uplink;
  #audible: { readonly rtpTimestamp: number; readonly absoluteMs: number } | null = null;

  constructor(decoder: SoundDecoder, events: MediaPipeEvents) {
    this.#events = events;
    this.#playout = new SoundPlayout(decoder, (piece) => {
      events.onPiece(piece);
    });
    const source = {
      hasNews: (): boolean => this.#receiver.hasNews || this.#audible !== null,
      feedbackDue: (nowMs: number): boolean => this.#receiver.feedbackDue(nowMs),
      take: (nowMs: number): Feedback => this.#feedback(nowMs),
    };
    this.#uplink = new Uplink(source, (datagram) => {
      events.onDatagram(datagram);
    });
  }

  get counters(): PipeCounters {
    const { embedded, bare } = this.#uplink;
    const received = receiverCounters(this.#receiver);
    return {
      ...this.#counters,
      ...received,
      malformed: this.#counters.malformed + (received.malformed ?? 0),
      feedbackEmbedded: embedded,
      feedbackOnChannel: bare,
    };
  }

  figures(roundTripMs: number | null): SoundFigures {
    return { ...this.#playout.counters, delayMs: this.#playout.delayMs, roundTripMs };
  }

  /** A datagram, or a whole keyframe stream, came. */
  receive(datagram: Uint8Array, nowMs: number): void {
    const unit = decodeUnit(datagram);
    if (unit === null) {
      this.#counters.malformed += 1;
      return;
    }
    this.#counters.packetBytes += unit.packet.length;
    for (const received of this.#receiver.receive(unit.packet, unit.timestamp, nowMs)) {
      if (!received.repaired) this.#counters.frameBytes += received.frameBytes;
      if (received.opus !== null) {
        const { mediaTime: ticks, spanTicks: durationTicks, repaired } = received;
        const silent = (received.flags & AccessUnitFlags.SPEECH) === 0;
        this.#playout.push({ packet: received.opus, ticks, durationTicks, silent, repaired }, nowMs);
      }
      this.#events.onUnit(unitReport(received, nowMs));
    }
    if (this.#receiver.keyframeRequest) this.#uplink.tick(nowMs);
  }

  hearCard(report: CardReport, nowMs: number): void {
    this.#playout.hearCard(report, nowMs);
  }

  decoded(sound: Float32Array | null): void {
    this.#playout.decoded(sound);
  }

  decoderFailed(): void {
    this.#playout.decoderFailed();
  }

  /** The session may move to the POP of this link. */
  acceptPreviews(): void {
    this.#receiver.previews = true;
  }

  /** Play everything so much later, or sooner. */
  shift(laterMs: number): void {
    this.#playout.shift(laterMs);
  }

  /** The page says what is audible. */
  notePlayout(rtpTimestamp: number, absoluteMs: number): void {
    this.#audible = { rtpTimestamp, absoluteMs };
  }

  /** The microphone gave 20 ms. */
  sendSound(sound: EncodedSound, nowMs: number): void {
    this.#uplink.receive(sound, nowMs);
  }

  /** Call several times while feedback is due once. */
  tick(nowMs: number): void {
    this.#uplink.tick(nowMs);
  }

  #feedback(nowMs: number): Feedback {
    const audible = this.#audible;
    const elapsedMs = audible === null ? Infinity : nowMs - audible.absoluteMs;
    const timestamp =
      audible === null || elapsedMs > PLAYOUT_MS_MAX ? null : audible.rtpTimestamp + elapsedMs * TICKS_PER_MS;
    return this.#receiver.feedback(timestamp, this.#playout.delayMs, nowMs);
  }
}

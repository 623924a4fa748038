import type { AnimationFrame } from "../avatar/frame";
import { AccessUnitFlags, decodeAccessUnit, type AccessUnit, type FaceStateCode } from "../wire/accessUnit";
import { RemoteProtocolError } from "../wire/errors";
import type { Feedback } from "../wire/feedback";
import { FrameDecoder } from "../wire/frameCodec";
import { durationSamples, strip } from "../wire/opusPadding";
import { DelayGradient } from "./delayGradient";
import { decodeBlock, encodeBlock, type RestoredUnit } from "./fec";
import { FEC_HISTORY_UNITS, FecDecoder, type RestoredBlock } from "./fecDecoder";
import { unwrapNear, wrapTimestamp } from "./timestamps";

/** How often feedback leaves at least: five frames, which the frame codec was measured at. */
export const FEEDBACK_MS = 100;
/** Keyframe requests are at least this far apart: every unit of a burst would ask for the same thing. */
const URGENT_MS = 20;
/** Units whose arrival is remembered: the bitmap of a frame decoded a while ago still has to be true. */
const ARRIVALS = 128;
const BITMAP = 32;
const PLACES_MAX = 2 * FEC_HISTORY_UNITS;

/** A unit that is there, whichever way it came. */
export interface ReceivedUnit {
  /** Unwrapped 48 kHz ticks of its first sample. */
  readonly mediaTime: number;
  /** 16 bits. */
  readonly sequenceNumber: number;
  /** Duration of its packet, 120 to 5,760. */
  readonly spanTicks: number;
  readonly state: FaceStateCode;
  /** Bits of AccessUnitFlags: SPEECH, DUCK, CUT. */
  readonly flags: number;
  /** The face; null when there is none in it or it could not be decoded. */
  readonly frame: AnimationFrame | null;
  /** Size of the frame as it was sent. */
  readonly frameBytes: number;
  /** Its packet without padding; null where protection of motion alone brought it back. */
  readonly opus: Uint8Array | null;
  /** It came back by forward error correction. */
  readonly repaired: boolean;
}

/** Media time of a unit's first sample and the duration of its packet, in ticks. */
type Place = readonly [mediaTime: number, spanTicks: number];

/**
 * What a viewer does with arriving units before it plays them: repairs, faces, and the feedback about both. Pure.
 * Mirrors core/stream/receiver.py.
 *
 * What was lost and comes back takes the same way as what came by itself, only that feedback does not count it as
 * received: that measures the link. A frame that lacks its baseline, or whose checksum differs, is not drawn; a keyframe
 * is asked for at once, and again with every feedback until a newer frame can be decoded. State is bounded.
 */
export class UnitReceiver {
  /**
   * What was of no use, by reason. Packets: codes of RemoteProtocolError, `plain`. Units: `preview`, `old-epoch`,
   * `duplicate`, `late`, `overtaken` (it came after it had been restored). Faces, where the sound is used all the same:
   * `bad-frame`, `baseline-missing`, `diverged`; a unit of an unknown epoch is dropped with them, or as `empty`.
   * Redundancy: `bad-fec`, `other-blocks`, `expired`, `contradiction`, `unplaced` (nobody knows when it is played).
   */
  readonly dropped: Partial<Record<string, number>>;
  /** Units of a POP that does not own the session yet are taken, too. */
  previews = false;
  readonly #protectsSound: boolean;
  readonly #fec: FecDecoder;
  #decoder = new FrameDecoder();
  #epoch: number | null = null;
  #mediaTime: number | null = null;
  #gradient = new DelayGradient();
  #gradientSpan = 0;
  #reportedMs = -Infinity;
  #sent = 0;
  #arrived = 0;
  // Of the track: see #forget.
  #newest: number | null = null;
  /** Bit i: unit `#newest - i` came by itself. */
  #arrivals = 0n;
  #acknowledged: number | null = null;
  #undecodable: number | null = null;
  readonly #places = new Map<number, Place>();
  readonly #held = new Map<number, RestoredUnit>();
  readonly #restored = new Set<number>();

  /** @param protectsSound redundancy brings back sound and motion (our own playout), not motion alone (WebRTC). */
  constructor(protectsSound: boolean) {
    this.#protectsSound = protectsSound;
    this.#fec = new FecDecoder(protectsSound);
    this.dropped = this.#fec.dropped;
  }

  /** Of the owner that is believed; null before the first face. */
  get epoch(): number | null {
    return this.#epoch;
  }

  /** Units that came by themselves, each counted once. */
  get arrived(): number {
    return this.#arrived;
  }

  /** Units that did not come by themselves (yet), whether they were restored or not. */
  get lost(): number {
    return Math.max(0, this.#sent - this.#arrived);
  }

  /** Units that forward error correction brought back. */
  get restored(): number {
    return this.#fec.restored;
  }

  /** No newer frame has been decoded since one could not be. */
  get keyframeRequest(): boolean {
    return this.#undecodable !== null;
  }

  /** Whether feedback would have anything to say about frames. */
  get hasNews(): boolean {
    return this.#acknowledged !== null || this.keyframeRequest;
  }

  /** Things that are kept between packets, all of them bounded by a few histories. */
  get size(): number {
    return this.#places.size + this.#held.size + this.#restored.size + this.#fec.rows + this.#fec.known;
  }

  /**
   * A packet came.
   *
   * @param packet one Opus packet as it was sent; anything is accepted.
   * @param timestamp 48 kHz media time of its first sample, 32 bits.
   * @param nowMs on any steady local clock.
   * @returns what is there now and was not before: units that this one brought back, oldest first, then itself.
   */
  receive(packet: Uint8Array, timestamp: number, nowMs: number): ReceivedUnit[] {
    let span: number;
    let unit: AccessUnit | null;
    try {
      span = durationSamples(packet);
      unit = decodeAccessUnit(packet);
    } catch (error) {
      return this.#drop(codeOf(error));
    }
    if (unit === null) return this.#drop("plain");
    if ((unit.flags & AccessUnitFlags.PREVIEW) !== 0 && !this.previews) return this.#drop("preview");
    if (unit.epoch !== this.#epoch && !this.#adopt(unit)) return [];
    const opus = strip(packet);
    const number = unit.sequenceNumber;
    const result = this.#fec.receive(number, encodeBlock(unit, span, this.#protectsSound ? opus : null), unit.fec);
    if (typeof result === "string") return [];
    this.#arrive(number);
    const mediaTime = unwrapNear(timestamp, this.#mediaTime ?? timestamp >>> 0);
    this.#mediaTime = mediaTime;
    this.#observe(mediaTime, span, nowMs);
    this.#places.set(number, [mediaTime, span]);
    const units = this.#restore(result, unit.epoch);
    if (this.#restored.delete(number)) this.#drop("overtaken");
    else units.push(this.#finish(unit, mediaTime, span, opus, false));
    this.#prune(number);
    return units;
  }

  /** It is time for feedback: FEEDBACK_MS after the last, sooner when a keyframe is wanted. */
  feedbackDue(nowMs: number): boolean {
    return nowMs - this.#reportedMs >= (this.keyframeRequest ? URGENT_MS : FEEDBACK_MS);
  }

  /**
   * What to tell the sender.
   *
   * @param playoutTimestamp media time that is audible now, wrapped or not; null where nobody can say.
   * @param playoutDelayMs from a unit's arrival until it is played; null where nobody can say.
   * @param nowMs on the clock of `receive`.
   */
  feedback(playoutTimestamp: number | null, playoutDelayMs: number | null, nowMs: number): Required<Feedback> {
    this.#reportedMs = nowMs;
    let received: number | null = null;
    if (this.#acknowledged !== null && this.#newest !== null) {
      const behind = ahead(this.#newest, this.#acknowledged);
      if (behind >= 0 && behind < ARRIVALS - BITMAP) {
        received = Number((this.#arrivals >> BigInt(behind + 1)) & 0xffffffffn);
      }
    }
    return {
      acknowledged: this.#acknowledged,
      received,
      playoutTimestamp: playoutTimestamp === null ? null : wrapTimestamp(playoutTimestamp),
      keyframeRequest: this.keyframeRequest,
      epoch: this.#epoch,
      owdGradient: this.#gradient.wire,
      playoutDelayMs: playoutDelayMs === null ? null : Math.round(Math.min(Math.max(playoutDelayMs, 0), 0xffff)),
    };
  }

  /** A track begins: nothing is known of its units. */
  #forget(): void {
    this.#newest = this.#acknowledged = this.#undecodable = null;
    this.#arrivals = 0n;
    this.#places.clear();
    this.#held.clear();
    this.#restored.clear();
  }

  /**
   * Believe a new owner, or don't. Its frames refer to the rest pose until one is acknowledged, so that each can be
   * decoded; one that cannot be does not count as a new owner: it would lock the true one out for good.
   */
  #adopt(unit: AccessUnit): boolean {
    if (this.#epoch !== null && ahead(unit.epoch, this.#epoch) < 0) {
      this.#drop("old-epoch");
      return false;
    }
    const decoder = new FrameDecoder();
    const face = unit.frame.length === 0 ? "empty" : decode(decoder, unit);
    if (typeof face === "string") {
      if (this.#epoch === null) this.#undecodable = unit.sequenceNumber;
      this.#drop(face);
      return false;
    }
    this.#fec.reset();
    this.#forget();
    this.#epoch = unit.epoch;
    this.#decoder = decoder;
    return true;
  }

  #arrive(number: number): void {
    let step = this.#newest === null ? 1 : ahead(number, this.#newest);
    if (step <= -FEC_HISTORY_UNITS) {
      this.#forget(); // the decoder let it pass: the track began anew
      step = 1;
    }
    this.#arrived += 1;
    if (step > 0) {
      this.#sent += step;
      this.#arrivals = BigInt.asUintN(ARRIVALS, (this.#arrivals << BigInt(Math.min(step, ARRIVALS))) | 1n);
      this.#newest = number;
    } else {
      this.#arrivals |= 1n << BigInt(-step);
    }
  }

  /** Packets of one duration alone can be compared: longer ones leave later after their first sample. */
  #observe(mediaTime: number, span: number, nowMs: number): void {
    if (span !== this.#gradientSpan) {
      this.#gradient = new DelayGradient();
      this.#gradientSpan = span;
    }
    this.#gradient.add(mediaTime, nowMs);
  }

  /** Units that came back and whose media time is known, oldest first; the others wait for a neighbour. */
  #restore(found: readonly RestoredBlock[], epoch: number): ReceivedUnit[] {
    for (const { sequenceNumber, block } of found) {
      try {
        const restored = decodeBlock(block, epoch, sequenceNumber, this.#protectsSound);
        if (restored.opus !== null && durationSamples(restored.opus) !== restored.spanTicks) {
          throw new RemoteProtocolError("bad-fec", "a block whose span is not that of its packet");
        }
        this.#held.set(sequenceNumber, restored);
      } catch (error) {
        codeOf(error);
        this.#drop("bad-fec");
      }
    }
    const units: ReceivedUnit[] = [];
    for (const { restored, mediaTime } of this.#place().sort((a, b) => a.mediaTime - b.mediaTime)) {
      if ((restored.unit.flags & AccessUnitFlags.PREVIEW) !== 0 && !this.previews) {
        this.#drop("preview");
        continue;
      }
      this.#restored.add(restored.unit.sequenceNumber);
      units.push(this.#finish(restored.unit, mediaTime, restored.spanTicks, restored.opus, true));
    }
    return units;
  }

  /** Take those out of the held ones whose media time is known; each may be the neighbour that another waits for. */
  #place(): { restored: RestoredUnit; mediaTime: number }[] {
    const placed: { restored: RestoredUnit; mediaTime: number }[] = [];
    for (let before = -1; before !== placed.length && this.#held.size > 0;) {
      before = placed.length;
      for (const [number, restored] of [...this.#held]) {
        const mediaTime = this.#mediaTimeOf(number, restored.spanTicks);
        if (mediaTime === null) continue;
        this.#held.delete(number);
        this.#places.set(number, [mediaTime, restored.spanTicks]);
        placed.push({ restored, mediaTime });
      }
    }
    return placed;
  }

  /**
   * From the next unit and the own span, or from the last one and its span. In the middle of a longer gap only if
   * packets of this span fill it exactly.
   */
  #mediaTimeOf(number: number, span: number): number | null {
    const at = (distance: number): Place | undefined => this.#places.get((number + distance) & 0xffff);
    const after = at(1);
    if (after !== undefined) return after[0] - span;
    const before = at(-1);
    if (before !== undefined) return before[0] + before[1];
    let next = 2;
    let last = 2;
    while (next < FEC_HISTORY_UNITS && at(next) === undefined) next += 1;
    while (last < FEC_HISTORY_UNITS && at(-last) === undefined) last += 1;
    if (next === FEC_HISTORY_UNITS || last === FEC_HISTORY_UNITS) return null;
    const nextPlace = at(next)!;
    const lastPlace = at(-last)!;
    const mediaTime = nextPlace[0] - next * span;
    return lastPlace[0] + lastPlace[1] + (last - 1) * span === mediaTime ? mediaTime : null;
  }

  #finish(
    unit: AccessUnit,
    mediaTime: number,
    spanTicks: number,
    opus: Uint8Array | null,
    repaired: boolean,
  ): ReceivedUnit {
    const { sequenceNumber, state, flags } = unit;
    let frame: AnimationFrame | null = null;
    if (unit.frame.length > 0) {
      const decoded = decode(this.#decoder, unit);
      if (typeof decoded === "string") {
        this.#drop(decoded);
        this.#ask(sequenceNumber);
      } else {
        frame = decoded;
        this.#acknowledge(sequenceNumber);
      }
    }
    const frameBytes = unit.frame.length;
    return { mediaTime, sequenceNumber, spanTicks, state, flags, frame, frameBytes, opus, repaired };
  }

  /** A keyframe is wanted, unless a newer frame could be decoded: then nothing that is sent now needs one. */
  #ask(number: number): void {
    if (this.#acknowledged !== null && !newer(number, this.#acknowledged)) return;
    if (this.#undecodable === null || newer(number, this.#undecodable)) this.#undecodable = number;
  }

  #acknowledge(number: number): void {
    if (this.#undecodable !== null && newer(number, this.#undecodable)) this.#undecodable = null;
    if (this.#acknowledged === null || newer(number, this.#acknowledged)) this.#acknowledged = number;
  }

  /** Let go of what lies further from `number` than repairs reach. */
  #prune(number: number): void {
    const near = (one: number): boolean => Math.abs(ahead(number, one)) < FEC_HISTORY_UNITS;
    for (const one of this.#restored) if (!near(one)) this.#restored.delete(one);
    for (const one of this.#held.keys()) {
      if (near(one)) continue;
      this.#held.delete(one);
      this.#drop("unplaced");
    }
    if (this.#places.size > PLACES_MAX) {
      for (const one of this.#places.keys()) if (!near(one)) this.#places.delete(one);
    }
  }

  #drop(reason: string): [] {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
    return [];
  }
}

/** How much newer `number` is, 16-bit serial numbers (RFC 1982): −32768…32767. */
function ahead(number: number, other: number): number {
  return ((number - other) << 16) >> 16;
}

/** `number` passed the decoder, so it is at most a history older than any unit; `other` may be long past. */
function newer(number: number, other: number): boolean {
  const step = ahead(number, other);
  return step > 0 || step <= -FEC_HISTORY_UNITS;
}

/** The face in a unit, or why there is none. */
function decode(decoder: FrameDecoder, unit: AccessUnit): AnimationFrame | string {
  try {
    const decoded = decoder.decode(unit.frame, unit.sequenceNumber);
    if ("weights" in decoded) return decoded;
    return decoded.diverged ? "diverged" : "baseline-missing";
  } catch (error) {
    return codeOf(error);
  }
}

/** What is wrong with what a peer sent. @throws anything that is no RemoteProtocolError: a fault of ours */
function codeOf(error: unknown): string {
  if (error instanceof RemoteProtocolError) return error.code;
  throw error;
}

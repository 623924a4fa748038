import type { AccessUnit, FaceStateCode } from "../wire/accessUnit";
import { LocalProtocolError, RemoteProtocolError } from "../wire/errors";
import { ACCESS_UNIT_SIZE_BYTES_MAX, type Bytes } from "../wire/opusPadding";
import { addScaled, coefficient } from "./galois";

/**
 * Forward error correction inside packets: blocks, FEC fields and their writer. Mirrors core/stream/fec.py; SPEC.md
 * section 9. What reads them on arrival is fecDecoder.ts.
 */
export const FEC_WINDOW_UNITS_MAX = 15;
/** Unit of a block's span: the shortest Opus frame, 2.5 ms. */
const SPAN_TICKS = 120;

const RESERVED = 0x80;
const SOUND = 0x40;
const NEAR = 0x20;
const FAR = 0x10;
const WINDOW = 0x0f;
const FRAME_FLAGS = 0x3c;
const STATE = 0x03;
const LENGTH_MAX = 0x7fff;

/** 0 none, 1 a symbol, 2 also a copy of block n - W, 3 also a copy of block n - W / 2. */
export type FecTier = 0 | 1 | 2 | 3;
const COPIES = [0, 0, FAR, FAR | NEAR] as const;

/** How many packets fit into the playout delay: 1 to FEC_WINDOW_UNITS_MAX, also for absurd arguments. */
export function windowUnits(playoutDelayMs: number, packetMs: number): number {
  if (!(playoutDelayMs > 0) || !(packetMs > 0)) return 1;
  return Math.trunc(Math.max(1, Math.min(FEC_WINDOW_UNITS_MAX, playoutDelayMs / packetMs + 1e-6)));
}

/** A block with its length in front: one byte below 128, otherwise two. @throws LocalProtocolError over 15 bits. */
export function toSource(block: Uint8Array): Bytes {
  const head = lengthBytes(block.length);
  const source = new Uint8Array(head.length + block.length);
  source.set(head);
  source.set(block, head.length);
  return source;
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  if (length > LENGTH_MAX) throw new LocalProtocolError(`length ${length} has more than 15 bits`);
  return [0x80 | (length >> 8), length & 0xff];
}

/** A length and the position behind it. @throws RemoteProtocolError `bad-fec`: it is cut off. */
export function readLength(data: Uint8Array, position: number): [length: number, next: number] {
  const first = data[position];
  if (first === undefined) throw new RemoteProtocolError("bad-fec", "length is cut off");
  if (first < 0x80) return [first, position + 1];
  const second = data[position + 1];
  if (second === undefined) throw new RemoteProtocolError("bad-fec", "length is cut off");
  return [((first & 0x7f) << 8) | second, position + 2];
}

/**
 * What protection brings back of a unit.
 *
 * @param spanTicks duration of its packet in 48 kHz ticks, a multiple of 120 up to 30,600.
 * @param opus its packet without padding where sound is protected; null: motion alone.
 * @throws LocalProtocolError the span is no such multiple.
 */
export function encodeBlock(unit: AccessUnit, spanTicks: number, opus: Uint8Array | null): Bytes {
  const span = spanTicks / SPAN_TICKS;
  if (!Number.isInteger(span) || span < 1 || span > 0xff) {
    throw new LocalProtocolError(`a span of ${spanTicks} ticks is not 1 to 255 times ${SPAN_TICKS}`);
  }
  const head = [unit.flags | unit.state, span, ...(opus === null ? [] : lengthBytes(unit.frame.length))];
  const block = new Uint8Array(head.length + unit.frame.length + (opus?.length ?? 0));
  block.set(head);
  block.set(unit.frame, head.length);
  if (opus !== null) block.set(opus, head.length + unit.frame.length);
  return block;
}

/** A unit that came back. */
export interface RestoredUnit {
  /** As it was sent, without its redundancy. */
  readonly unit: AccessUnit;
  /** Duration of its packet; the RTP timestamp of unit n is that of n + 1 less the span of n. */
  readonly spanTicks: number;
  /** Its packet without padding; null where motion alone is protected. */
  readonly opus: Uint8Array | null;
}

/** The unit of a block; its arrays are views. @throws RemoteProtocolError `bad-fec`: it is none. */
export function decodeBlock(block: Uint8Array, epoch: number, sequenceNumber: number, sound: boolean): RestoredUnit {
  const [flags, span] = block;
  if (flags === undefined || (flags & ~(FRAME_FLAGS | STATE)) !== 0 || !span) {
    throw new RemoteProtocolError("bad-fec", "not a block");
  }
  let frame = block.subarray(2);
  let opus: Uint8Array | null = null;
  if (sound) {
    const [length, start] = readLength(block, 2);
    if (start + length > block.length) throw new RemoteProtocolError("bad-fec", "frame of a block is cut off");
    frame = block.subarray(start, start + length);
    opus = block.subarray(start + length);
  }
  const state = (flags & STATE) as FaceStateCode;
  const unit = { epoch, sequenceNumber, flags: flags & FRAME_FLAGS, state, frame, fec: new Uint8Array(0) };
  return { unit, spanTicks: span * SPAN_TICKS, opus };
}

/** The FEC field of a unit, taken apart. Distances count units back from the one that carries it. */
export interface FecField {
  readonly sound: boolean;
  /** Distance and source of each copy. */
  readonly copies: readonly (readonly [distance: number, source: Uint8Array])[];
  /** Distances that the symbol combines. */
  readonly covered: readonly number[];
  /** Empty: none. */
  readonly symbol: Uint8Array;
}

/** Distances of the copies that a header announces: far first. */
function copied(header: number): number[] {
  const window = header & WINDOW;
  const near = (header & NEAR) !== 0 ? window >> 1 : 0;
  return [...((header & FAR) !== 0 ? [window] : []), ...(near > 0 ? [near] : [])];
}

function distancesWithout(window: number, without: readonly number[]): number[] {
  const distances: number[] = [];
  for (let distance = 1; distance <= window; distance++) if (!without.includes(distance)) distances.push(distance);
  return distances;
}

/** Take a FEC field apart; arrays are views. @throws RemoteProtocolError `bad-fec`: it is none. */
export function decodeField(data: Uint8Array): FecField {
  const header = data[0];
  if (header === undefined || (header & RESERVED) !== 0 || (header & WINDOW) === 0) {
    throw new RemoteProtocolError("bad-fec", "no FEC header that is known here");
  }
  let position = 1;
  const announced = copied(header);
  const copies = announced.map((distance): readonly [number, Uint8Array] => {
    const [length, start] = readLength(data, position);
    if (start + length > data.length) throw new RemoteProtocolError("bad-fec", "copy is cut off");
    const source = data.subarray(position, start + length);
    position = start + length;
    return [distance, source];
  });
  const covered = distancesWithout(header & WINDOW, announced);
  if (position < data.length && covered.length === 0) {
    throw new RemoteProtocolError("bad-fec", "bytes behind the last copy");
  }
  return { sound: (header & SOUND) !== 0, copies, covered, symbol: data.subarray(position) };
}

/** Writes the FEC fields of one track. Keeps the last FEC_WINDOW_UNITS_MAX blocks, nothing else. */
export class FecEncoder {
  readonly #sound: number;
  #sources: Uint8Array[] = [];
  #last: number | null = null;

  /** @param sound blocks hold sound and motion, not motion alone. */
  constructor(sound: boolean) {
    this.#sound = sound ? SOUND : 0;
  }

  /** Forget all blocks: the next unit may have any number. */
  reset(): void {
    this.#sources = [];
    this.#last = null;
  }

  /**
   * The FEC field of this unit, empty when there is nothing to say or no room; its block is remembered.
   *
   * @param tier the most redundancy; near copy, far copy and symbol are left out in this order when they do not fit.
   * @param window how many units back repairs are in time; bounded to what there is.
   * @throws LocalProtocolError the sequence number does not continue, or the block is too long.
   */
  protect(
    sequenceNumber: number,
    block: Uint8Array,
    tier: FecTier,
    window: number,
    sizeBytesMax = ACCESS_UNIT_SIZE_BYTES_MAX,
  ): Bytes {
    if (this.#last !== null && sequenceNumber !== ((this.#last + 1) & 0xffff)) {
      throw new LocalProtocolError(`unit ${sequenceNumber} does not follow ${this.#last}`);
    }
    const source = toSource(block);
    const reach = Math.min(Math.max(window, 1), this.#sources.length);
    const field = tier > 0 && reach > 0 ? this.#field(sequenceNumber, tier, reach, sizeBytesMax) : new Uint8Array(0);
    this.#last = sequenceNumber;
    this.#sources.unshift(source);
    if (this.#sources.length > FEC_WINDOW_UNITS_MAX) this.#sources.pop();
    return field;
  }

  #field(sequenceNumber: number, tier: FecTier, window: number, sizeBytesMax: number): Bytes {
    const at = (distance: number): Uint8Array => this.#sources[distance - 1]!;
    for (let level: number = tier; level > 0; level--) {
      const header = this.#sound | COPIES[level as FecTier] | window;
      const distances = copied(header);
      const covered = distancesWithout(window, distances);
      let size = 1;
      for (const distance of distances) size += at(distance).length;
      const symbolSize = Math.max(0, ...covered.map((distance) => at(distance).length));
      if (size + symbolSize > sizeBytesMax) continue;
      const field = new Uint8Array(size + symbolSize);
      field[0] = header;
      let position = 1;
      for (const distance of distances) {
        field.set(at(distance), position);
        position += at(distance).length;
      }
      const symbol = field.subarray(position);
      for (const distance of covered) {
        addScaled(symbol, at(distance), coefficient(sequenceNumber, sequenceNumber - distance));
      }
      return field;
    }
    return new Uint8Array(0);
  }
}

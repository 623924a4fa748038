import { RemoteProtocolError } from "../wire/errors";
import { ACCESS_UNIT_SIZE_BYTES_MAX } from "../wire/opusPadding";
import { decodeField, readLength, toSource, type FecField } from "./fec";
import { addScaled, coefficient, INVERSE, MULTIPLY } from "./galois";

/** Units kept for repairs: two windows. */
export const FEC_HISTORY_UNITS = 32;

/** Why something was of no use. Units: duplicate, late. Fields: bad-fec, other-blocks. Parts of fields: the rest. */
export type FecDropReason = "duplicate" | "late" | "bad-fec" | "other-blocks" | "expired" | "contradiction";

/** A unit that came back: see decodeBlock of fec.ts. */
export interface RestoredBlock {
  /** 16 bits. */
  readonly sequenceNumber: number;
  readonly block: Uint8Array;
}

/** Sum of coefficients times sources = payload; shorter sources count as padded with zeros. */
interface Row {
  readonly coefficients: Map<number, number>;
  payload: Uint8Array;
}

/**
 * Brings lost units back from the redundancy in later packets. Mirrors core/stream/fec_decoder.py; SPEC.md section 9.
 *
 * Symbols are linear equations over unknown blocks, kept in reduced row echelon form with the oldest block leading: a
 * block is determined exactly when its row holds nothing else. At most FEC_HISTORY_UNITS blocks and as many rows.
 */
export class FecDecoder {
  /** Units brought back so far. */
  restored = 0;
  /** What was of no use, by reason. */
  readonly dropped: Partial<Record<FecDropReason, number>> = {};

  readonly #sound: boolean;
  readonly #received = new Set<number>();
  readonly #known = new Map<number, Uint8Array>();
  readonly #rows = new Map<number, Row>();
  #newest: number | null = null;
  #late: number | null = null;

  /** @param sound blocks hold sound and motion; fields that say otherwise are dropped. */
  constructor(sound: boolean) {
    this.#sound = sound;
  }

  /** Equations that wait for more. */
  get rows(): number {
    return this.#rows.size;
  }

  /** Blocks that are kept. */
  get known(): number {
    return this.#known.size;
  }

  /** Forget everything but the counters: a newer epoch. */
  reset(): void {
    this.#newest = this.#late = null;
    this.#clear();
  }

  /**
   * A unit came.
   *
   * @param sequenceNumber 16 bits.
   * @param block what the sender protects of this unit, see encodeBlock of fec.ts.
   * @param fec its FEC field, whatever it is; empty: none.
   * @returns every unit that this one brought back, oldest first, or why this unit itself was of no use.
   */
  receive(sequenceNumber: number, block: Uint8Array, fec: Uint8Array): RestoredBlock[] | "duplicate" | "late" {
    const number = this.#advance(sequenceNumber & 0xffff);
    if (typeof number === "string") {
      this.#drop(number);
      return number;
    }
    this.#received.add(number);
    const source = toSource(block);
    const before = this.#known.get(number);
    if (before !== undefined && !same(before, source)) this.#contradict();
    this.#learn(number, source);
    const found = new Map<number, Uint8Array>();
    if (fec.length > 0) {
      try {
        this.#read(number, decodeField(fec), found);
      } catch (error) {
        if (!(error instanceof RemoteProtocolError)) throw error;
        this.#drop("bad-fec");
      }
    }
    if (this.#rows.size > 0) this.#solve(found);
    this.restored += found.size;
    return [...found]
      .sort(([a], [b]) => a - b)
      .map(([unit, restored]) => ({ sequenceNumber: unit & 0xffff, block: restored }));
  }

  /** The unit's number without wrapping; what is too old by now is forgotten. */
  #advance(sequenceNumber: number): number | "duplicate" | "late" {
    const newest = this.#newest;
    if (newest === null) {
      this.#newest = sequenceNumber;
      return sequenceNumber;
    }
    const step = ((sequenceNumber - newest + 0x8000) & 0xffff) - 0x8000;
    if (step <= -FEC_HISTORY_UNITS) {
      if (this.#late === null || sequenceNumber !== ((this.#late + 1) & 0xffff)) {
        this.#late = sequenceNumber;
        return "late";
      }
      // Two late ones in order: the one that was taken for newest was the odd one out (RFC 3550 appendix A.1).
      this.reset();
      this.#newest = sequenceNumber;
      return sequenceNumber;
    }
    this.#late = null;
    const number = newest + step;
    if (step > 0) {
      this.#newest = number;
      this.#forget(newest, number);
    } else if (this.#received.has(number)) {
      return "duplicate";
    }
    return number;
  }

  #forget(old: number, now: number): void {
    if (now - old >= FEC_HISTORY_UNITS) {
      this.#clear();
      return;
    }
    for (let unit = old - FEC_HISTORY_UNITS + 1; unit <= now - FEC_HISTORY_UNITS; unit++) {
      this.#received.delete(unit);
      this.#known.delete(unit);
      this.#rows.delete(unit); // the oldest unknown leads its row and is in no other
    }
  }

  #clear(): void {
    this.#received.clear();
    this.#known.clear();
    this.#rows.clear();
  }

  #read(number: number, field: FecField, found: Map<number, Uint8Array>): void {
    if (field.sound !== this.#sound) {
      this.#drop("other-blocks");
      return;
    }
    const horizon = this.#newest! - FEC_HISTORY_UNITS;
    for (const [distance, view] of field.copies) {
      const unit = number - distance;
      const before = this.#known.get(unit);
      if (unit <= horizon) {
        this.#drop("expired");
      } else if (before === undefined) {
        const source = view.slice();
        this.#learn(unit, source);
        found.set(unit, blockOf(source));
      } else if (!same(before, view)) {
        this.#contradict();
      }
    }
    if (field.symbol.length === 0) return;
    const units = field.covered.map((distance) => number - distance);
    const coefficients = new Map<number, number>();
    for (const unit of units) if (!this.#known.has(unit)) coefficients.set(unit, coefficient(number, unit));
    if (coefficients.size === 0) return;
    if (Math.min(...coefficients.keys()) <= horizon) {
      this.#drop("expired");
      return;
    }
    const payload = field.symbol.slice();
    for (const unit of units) {
      const source = this.#known.get(unit);
      if (source === undefined) continue;
      if (source.length > payload.length) {
        this.#contradict(); // a symbol is as long as the longest source in it
        return;
      }
      addScaled(payload, source, coefficient(number, unit));
    }
    this.#insert({ coefficients, payload });
  }

  /** Add an equation over unknown blocks, keeping the reduced row echelon form. */
  #insert(row: Row): void {
    for (const unit of [...row.coefficients.keys()]) {
      const other = this.#rows.get(unit);
      if (other !== undefined) addRow(row, other, row.coefficients.get(unit)!);
    }
    if (row.coefficients.size === 0) {
      if (row.payload.some((byte) => byte !== 0)) this.#contradict();
      return;
    }
    const leader = Math.min(...row.coefficients.keys());
    const table = MULTIPLY[INVERSE[row.coefficients.get(leader)!]!]!;
    for (const [unit, value] of row.coefficients) row.coefficients.set(unit, table[value]!);
    row.payload = row.payload.map((byte) => table[byte]!);
    for (const other of this.#rows.values()) {
      const factor = other.coefficients.get(leader);
      if (factor !== undefined) addRow(other, row, factor);
    }
    this.#rows.set(leader, row);
  }

  /** A block is known: subtract it from all equations. */
  #learn(unit: number, source: Uint8Array): void {
    this.#known.set(unit, source);
    const led = this.#rows.get(unit);
    this.#rows.delete(unit);
    for (const row of led === undefined ? this.#rows.values() : [led, ...this.#rows.values()]) {
      const factor = row.coefficients.get(unit);
      if (factor === undefined) continue;
      row.coefficients.delete(unit);
      row.payload = padded(row.payload, source.length);
      addScaled(row.payload, source, factor);
    }
    if (led !== undefined) this.#insert(led);
  }

  /** Take out what is determined: rows of one block. No other row holds that block. */
  #solve(found: Map<number, Uint8Array>): void {
    for (const [unit, row] of [...this.#rows]) {
      if (row.coefficients.size !== 1) continue;
      const source = sourceOf(row.payload);
      if (source === null) {
        this.#contradict();
        return;
      }
      this.#rows.delete(unit);
      this.#known.set(unit, source);
      found.set(unit, blockOf(source));
    }
  }

  /** Somebody lies, and nobody knows who: trust no equation that is under way. */
  #contradict(): void {
    this.#drop("contradiction");
    this.#rows.clear();
  }

  #drop(reason: FecDropReason): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
  }
}

/** row += factor · other. */
function addRow(row: Row, other: Row, factor: number): void {
  const table = MULTIPLY[factor]!;
  for (const [unit, value] of other.coefficients) {
    const mixed = (row.coefficients.get(unit) ?? 0) ^ table[value]!;
    if (mixed === 0) row.coefficients.delete(unit);
    else row.coefficients.set(unit, mixed);
  }
  row.payload = padded(row.payload, other.payload.length);
  addScaled(row.payload, other.payload, factor);
}

/** At least `size` bytes long. */
function padded(payload: Uint8Array, size: number): Uint8Array {
  if (payload.length >= size) return payload;
  const longer = new Uint8Array(size);
  longer.set(payload);
  return longer;
}

/** A source from its bytes and any zeros behind it: the length in front says where it ends. null: it is no source. */
function sourceOf(payload: Uint8Array): Uint8Array | null {
  let end = payload.length;
  while (end > 0 && payload[end - 1] === 0) end--;
  let size: number;
  try {
    const [length, start] = readLength(padded(payload, 2), 0);
    size = start + length;
  } catch (error) {
    if (error instanceof RemoteProtocolError) return null;
    throw error;
  }
  if (size < end || size > ACCESS_UNIT_SIZE_BYTES_MAX) return null;
  return padded(payload, size).slice(0, size);
}

const blockOf = (source: Uint8Array): Uint8Array => source.subarray(readLength(source, 0)[1]);

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, place) => byte === b[place]);
}

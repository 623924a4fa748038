import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type AccessUnit } from "../wire/accessUnit";
import { LocalProtocolError, RemoteProtocolError } from "../wire/errors";
import { decodeBlock, decodeField, encodeBlock, FecEncoder, toSource, windowUnits, type FecTier } from "./fec";
import { FEC_HISTORY_UNITS, FecDecoder } from "./fecDecoder";
import { addScaled, coefficient, INVERSE, MULTIPLY } from "./galois";

/** The same file as tests/core/test_fec_vectors.py reads; `python -m tests.vectors` writes it. */
interface Case {
  readonly id: number;
  readonly comment: string;
  readonly result: "valid" | "invalid";
  readonly code?: string;
  readonly data?: string;
  readonly sound?: boolean;
  readonly unit?: Omit<AccessUnit, "frame" | "fec"> & { readonly frame: string; readonly fec: string };
  readonly spanTicks?: number;
  readonly opus?: string | null;
  readonly sent?: readonly {
    readonly sequenceNumber: number;
    readonly block: string;
    readonly tier: FecTier;
    readonly window: number;
    readonly sizeBytesMax: number;
    readonly fec: string;
  }[];
  readonly received?: readonly {
    readonly sequenceNumber: number;
    readonly block: string;
    readonly fec: string;
    readonly outcome: "new" | "duplicate" | "late";
    readonly restored: readonly { readonly sequenceNumber: number; readonly block: string }[];
  }[];
  readonly dropped?: Record<string, number>;
}

const path = new URL("../../../../tests/vectors/fec.json", import.meta.url);
const { tests } = JSON.parse(readFileSync(path, "utf8")) as { tests: Case[] };
const cases = (key: keyof Case): [string, Case][] =>
  tests.filter((test) => test[key] !== undefined).map((test) => [`${test.id} ${test.comment}`, test]);
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof RemoteProtocolError) return error.code;
    throw error;
  }
  return "no error";
}

describe("vectors", () => {
  it.each(cases("data"))("%s", (_, test) => {
    const data = bytes(test.data!);
    if (test.sound === undefined) {
      expect(codeOf(() => decodeField(data))).toBe(test.code);
      return;
    }
    const sound = test.sound;
    if (test.result === "invalid") {
      expect(codeOf(() => decodeBlock(data, 7, 300, sound))).toBe(test.code);
      return;
    }
    const { unit, spanTicks, opus } = decodeBlock(data, 7, 300, sound);
    expect({ ...unit, frame: hex(unit.frame), fec: hex(unit.fec) }).toEqual(test.unit);
    expect([spanTicks, opus === null ? null : hex(opus)]).toEqual([test.spanTicks, test.opus]);
    expect(hex(encodeBlock(unit, spanTicks, opus))).toBe(test.data);
  });

  it.each(cases("sent"))("sender: %s", (_, test) => {
    const encoder = new FecEncoder(test.sound!);
    for (const { sequenceNumber, block, tier, window, sizeBytesMax, fec } of test.sent!) {
      expect(hex(encoder.protect(sequenceNumber, bytes(block), tier, window, sizeBytesMax))).toBe(fec);
    }
  });

  it.each(cases("received"))("receiver: %s", (_, test) => {
    const decoder = new FecDecoder(test.sound!);
    for (const { sequenceNumber, block, fec, outcome, restored } of test.received!) {
      const result = decoder.receive(sequenceNumber, bytes(block), bytes(fec));
      if (typeof result === "string") {
        expect(result).toBe(outcome);
        continue;
      }
      expect(outcome).toBe("new");
      expect(result.map((each) => ({ ...each, block: hex(each.block) }))).toEqual(restored);
    }
    expect(decoder.dropped).toEqual(test.dropped);
  });
});

describe("the field", () => {
  it("has inverses, and coefficients that are never zero", () => {
    for (let c = 1; c < 256; c++) expect(MULTIPLY[c]![INVERSE[c]!]).toBe(1);
    for (let x = 0; x < 128; x++) expect(coefficient(65_535, 65_535 - x)).toBeGreaterThan(0);
    expect(coefficient(5, -3)).toBe(coefficient(133, 125));
  });

  it("adds products from the start of the target", () => {
    const target = Uint8Array.of(1, 2, 3);
    addScaled(target, Uint8Array.of(7), 1);
    expect([...target]).toEqual([6, 2, 3]);
  });
});

describe("the window", () => {
  it.each([
    [133, 20, 6],
    [30, 20, 1],
    [60, 20, 3],
    [5_000, 20, 15],
    [-1, 20, 1],
    [NaN, 20, 1],
    [Infinity, 20, 15],
    [100, 0, 1],
  ])("of %d ms in packets of %d ms is %d units", (delay, packet, window) => {
    expect(windowUnits(delay, packet)).toBe(window);
  });
});

describe("a sender's mistakes", () => {
  it("are errors", () => {
    const unit = { epoch: 1, sequenceNumber: 1, flags: 0, state: 0, frame: bytes("aa"), fec: bytes("") } as const;
    for (const span of [0, 60, 121, 256 * 120, NaN]) {
      expect(() => encodeBlock(unit, span, null)).toThrow(LocalProtocolError);
    }
    expect(() => toSource(new Uint8Array(0x8000))).toThrow(LocalProtocolError);
    const encoder = new FecEncoder(false);
    encoder.protect(65_535, bytes("aa"), 1, 3);
    encoder.protect(0, bytes("aa"), 1, 3);
    expect(() => encoder.protect(2, bytes("aa"), 1, 3)).toThrow(LocalProtocolError);
    encoder.reset();
    expect(encoder.protect(2, bytes("aa"), 1, 3)).toHaveLength(0);
  });
});

/** A small generator with a seed, so that a failure can be repeated. */
function draws(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("a receiver", () => {
  it.each([1, 2, 3, 4, 5, 6])("never restores anything but what was sent (seed %d)", (seed) => {
    const draw = draws(seed);
    const encoder = new FecEncoder(true);
    const decoder = new FecDecoder(true);
    const sent = new Map<number, string>();
    let lost = false;
    for (let index = 0; index < 600; index++) {
      const number = (65_400 + index) & 0xffff;
      const block = Uint8Array.from({ length: Math.floor(draw() * 40) }, () => Math.floor(draw() * 3));
      const fec = encoder.protect(number, block, (1 + (seed % 3)) as FecTier, 1 + seed * 2);
      sent.set(number, hex(block));
      lost = draw() < (lost ? 0.5 : 0.06);
      if (lost) continue;
      const restored = decoder.receive(number, block, fec);
      expect(typeof restored).toBe("object");
      for (const each of restored)
        if (typeof each === "object") expect(hex(each.block)).toBe(sent.get(each.sequenceNumber));
    }
    expect(decoder.restored).toBeGreaterThan(20);
    expect(decoder.dropped["contradiction"]).toBeUndefined();
  });

  it.each([1, 2, 3, 4])("survives anything in bounded space (seed %d)", (seed) => {
    const draw = draws(seed);
    const decoder = new FecDecoder(false);
    const noise = (size: number): Uint8Array =>
      Uint8Array.from({ length: Math.floor(draw() * size) }, () => Math.floor(draw() * 256));
    for (let step = 0; step < 1_500; step++) {
      const number = draw() < 0.1 ? Math.floor(draw() * 65_536) : step + Math.floor(draw() * 40);
      const fec = noise(30);
      if (fec.length > 0) fec[0]! &= 0x3f;
      decoder.receive(number, noise(12), fec);
      expect(decoder.rows).toBeLessThanOrEqual(FEC_HISTORY_UNITS);
      expect(decoder.known).toBeLessThanOrEqual(FEC_HISTORY_UNITS);
    }
  });

  it("forgets the track at a reset", () => {
    const decoder = new FecDecoder(false);
    decoder.receive(9, bytes("aa"), bytes("0601020304"));
    expect(decoder.rows).toBe(1);
    decoder.reset();
    expect([decoder.rows, decoder.known]).toEqual([0, 0]);
    expect(decoder.receive(9, bytes("aa"), bytes(""))).toEqual([]);
  });
});

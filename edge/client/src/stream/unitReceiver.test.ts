import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { AccessUnitFlags, encodeAccessUnit } from "../wire/accessUnit";
import { encodeFeedback } from "../wire/feedback";
import { FEEDBACK_MS, UnitReceiver, type ReceivedUnit } from "./unitReceiver";

/** The same file as tests/core/test_receiver.py reads; `python -m tests.vectors` writes it. */
interface Case {
  readonly id: number;
  readonly comment: string;
  readonly sound: boolean;
  readonly arrivals: readonly {
    readonly packet: string;
    readonly timestamp: number;
    readonly atMs: number;
    readonly units: readonly unknown[];
    readonly feedback?: string;
  }[];
  readonly dropped: Readonly<Record<string, number>>;
}

const path = new URL("../../../../tests/vectors/unit_receiver.json", import.meta.url);
const { tests } = JSON.parse(readFileSync(path, "utf8")) as { tests: Case[] };
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");

function described(unit: ReceivedUnit): unknown {
  const { mediaTime, sequenceNumber, spanTicks, state, flags, frame, opus, repaired } = unit;
  const sound = opus === null ? null : hex(opus);
  return { mediaTime, sequenceNumber, spanTicks, state, flags, face: frame !== null, opus: sound, repaired };
}

describe("UnitReceiver", () => {
  it.each(tests.map((test): [string, Case] => [`${test.id} ${test.comment}`, test]))("%s", (_, test) => {
    const receiver = new UnitReceiver(test.sound);
    for (const { packet, timestamp, atMs, units, feedback } of test.arrivals) {
      expect(receiver.receive(bytes(packet), timestamp, atMs).map(described)).toEqual(units);
      if (feedback !== undefined) {
        expect(hex(encodeFeedback(receiver.feedback(timestamp - 2_880, 60, atMs)))).toBe(feedback);
      }
      expect(receiver.size).toBeLessThan(6 * 64);
    }
    expect(receiver.dropped).toEqual(test.dropped);
  });
});

const VOICE = Uint8Array.of(0xf8, 0xff, 0xfe);
/** The rest pose as a keyframe (tests/vectors/frame_codec.json, 1), and the same as a delta to three frames before. */
const KEYFRAME = bytes("135d000000");
const DELTA = bytes("135d018000");

function unit(sequenceNumber: number, { epoch = 1, flags = 0, frame = KEYFRAME } = {}): Uint8Array {
  return encodeAccessUnit({ epoch, sequenceNumber, flags, state: 1, frame, fec: new Uint8Array() }, VOICE);
}

describe("UnitReceiver, on its own", () => {
  const receive = (receiver: UnitReceiver, numbers: readonly number[]): void => {
    for (const number of numbers) receiver.receive(unit(number), number * 960, number * 20);
  };

  it("counts what came and what did not, however it is mixed", () => {
    const receiver = new UnitReceiver(false);
    receive(receiver, [65_534, 1, 0, 0, 65_535, 5]);
    expect(receiver.arrived).toBe(5);
    expect(receiver.lost).toBe(3);
    expect(receiver.dropped).toEqual({ duplicate: 1 });
  });

  it("draws no preview and believes no owner whose face cannot be decoded", () => {
    const receiver = new UnitReceiver(false);
    expect(receiver.receive(unit(1, { flags: AccessUnitFlags.PREVIEW }), 0, 0)).toEqual([]);
    expect(receiver.receive(unit(1, { epoch: 9, frame: DELTA }), 0, 0)).toEqual([]);
    expect(receiver.keyframeRequest).toBe(true);
    receive(receiver, [2]);
    expect(receiver.epoch).toBe(1);
    expect(receiver.keyframeRequest).toBe(false);
  });

  it("takes over a newer epoch across the wrap of its 16 bits, and refuses the older one then", () => {
    const receiver = new UnitReceiver(false);
    receiver.receive(unit(7, { epoch: 65_535 }), 0, 0);
    expect(receiver.receive(unit(8, { epoch: 0 }), 960, 20)).toHaveLength(1);
    expect(receiver.receive(unit(9, { epoch: 65_535 }), 1_920, 40)).toEqual([]);
    expect(receiver.dropped).toEqual({ "old-epoch": 1 });
  });

  it("is due every 100 ms, and after 20 ms while a keyframe is wanted", () => {
    const receiver = new UnitReceiver(false);
    receive(receiver, [1]);
    receiver.feedback(null, null, 1_000);
    expect(receiver.feedbackDue(1_000 + FEEDBACK_MS - 1)).toBe(false);
    expect(receiver.feedbackDue(1_000 + FEEDBACK_MS)).toBe(true);
    receiver.receive(unit(10, { frame: DELTA }), 9_600, 1_010);
    expect(receiver.feedbackDue(1_019)).toBe(false);
    expect(receiver.feedbackDue(1_020)).toBe(true);
  });

  it("bounds a playout delay that nobody can mean", () => {
    const receiver = new UnitReceiver(false);
    expect(receiver.feedback(null, -5, 0).playoutDelayMs).toBe(0);
    expect(receiver.feedback(null, 1e9, 0).playoutDelayMs).toBe(0xffff);
  });
});

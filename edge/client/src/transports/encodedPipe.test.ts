import { beforeEach, describe, expect, it } from "vitest";
import { AccessUnitFlags, encodeAccessUnit } from "../wire/accessUnit";
import { decodeFeedback, extractFeedback, type Feedback } from "../wire/feedback";
import { encodeBlock, FecEncoder } from "../stream/fec";
import { EncodedPipe } from "./encodedPipe";
import type { FeedbackReport, UnitReport, WorkerReport } from "./messages";

const VOICE = Uint8Array.of(0xf8, 0xff, 0xfe);
/** The rest pose as a keyframe (tests/vectors/frame_codec.json, 1), and the same as a delta to three frames before. */
const KEYFRAME = Uint8Array.from(Buffer.from("135d000000", "hex"));
const DELTA = Uint8Array.from(Buffer.from("135d018000", "hex"));

let reports: WorkerReport[] = [];
let pipe = new EncodedPipe(() => undefined);
const units = (): UnitReport[] => reports.filter((report) => report.type === "unit");
const onChannel = (): Required<Feedback>[] =>
  reports
    .filter((report): report is FeedbackReport => report.type === "feedback")
    .map(({ bytes }) => decodeFeedback(bytes));

interface Made {
  readonly epoch?: number;
  readonly flags?: number;
  readonly frame?: Uint8Array;
}

function packet(sequenceNumber: number, { epoch = 1, flags = 0, frame = KEYFRAME }: Made = {}): Uint8Array {
  return encodeAccessUnit({ epoch, sequenceNumber, flags, state: 1, frame, fec: new Uint8Array() }, VOICE);
}

function take(bytes: Uint8Array, rtpTimestamp: number, nowMs: number): void {
  pipe.receive(bytes, rtpTimestamp, nowMs, nowMs);
}

function receive(sequenceNumber: number, made: Made = {}): void {
  take(packet(sequenceNumber, made), sequenceNumber * 960, 1_000 + sequenceNumber * 20);
}

beforeEach(() => {
  reports = [];
  pipe = new EncodedPipe((report) => reports.push(report));
});

describe("EncodedPipe, receiving", () => {
  it("reports what a unit says and its decoded frame", () => {
    receive(7, { flags: AccessUnitFlags.SPEECH | AccessUnitFlags.DUCK });
    expect(units()).toHaveLength(1);
    expect(units()[0]).toMatchObject({
      rtpTimestamp: 6_720,
      sequenceNumber: 7,
      absoluteMs: 1_140,
      state: 1,
      speech: true,
      duck: true,
      cut: false,
      syncScore: 0,
    });
    expect(units()[0]!.values).toHaveLength(52 + 28);
    expect(units()[0]!.values![55]).toBe(1);
  });

  it("counts plain Opus and damaged units and reports neither", () => {
    take(VOICE, 0, 0);
    const damaged = packet(1);
    damaged[damaged.indexOf(0x11)] = 0x1f;
    take(damaged, 0, 0);
    take(new Uint8Array(), 0, 0);
    expect(units()).toEqual([]);
    expect(pipe.counters).toMatchObject({ plain: 1, malformed: 2, units: 0 });
  });

  it("passes on a unit without motion as such, without asking for anything", () => {
    receive(1);
    receive(2, { frame: new Uint8Array() });
    expect(units()[1]!.values).toBeNull();
    expect(onChannel()).toEqual([]);
  });

  it("asks at once when a baseline is missing, and says so until a frame decodes", () => {
    receive(5);
    receive(10, { frame: DELTA });
    expect(units()[1]!.values).toBeNull();
    expect(onChannel()[0]).toMatchObject({ keyframeRequest: true, acknowledged: 5 });
    expect(pipe.counters).toMatchObject({ baselineMissing: 1, units: 2, lost: 4 });
    receive(11);
    pipe.tick(5_000);
    expect(onChannel().at(-1)).toMatchObject({ keyframeRequest: false, acknowledged: 11 });
  });

  it("decodes a delta against a frame it has", () => {
    receive(20);
    receive(23, { frame: DELTA });
    expect(units().map(({ values }) => values !== null)).toEqual([true, true]);
  });

  it("refuses older epochs and starts over with a newer one", () => {
    receive(5, { epoch: 3 });
    receive(6, { epoch: 2 });
    expect(pipe.counters.stale).toBe(1);
    receive(8, { epoch: 4 });
    expect(units()).toHaveLength(2);
    receive(9, { epoch: 3 });
    expect(pipe.counters).toMatchObject({ stale: 2, lost: 0 });
  });

  it("asks for a keyframe when nothing can be decoded from the start, but not with every unit", () => {
    for (const number of [1, 2, 3]) take(packet(number, { frame: DELTA }), number * 960, 1_000 + number);
    expect(units()).toEqual([]);
    expect(onChannel()).toHaveLength(1);
    expect(onChannel()[0]).toMatchObject({ keyframeRequest: true, acknowledged: null });
  });

  it("brings lost motion back out of a later packet, and says that the link lost it", () => {
    const fec = new FecEncoder(false);
    const made = [1, 2, 3].map((sequenceNumber) => {
      const bare = { epoch: 1, sequenceNumber, flags: 0, state: 1, frame: KEYFRAME, fec: new Uint8Array() } as const;
      const field = fec.protect(sequenceNumber, encodeBlock(bare, 960, null), 1, 4);
      return encodeAccessUnit({ ...bare, fec: field }, VOICE);
    });
    take(made[0]!, 960, 1_000);
    take(made[2]!, 2_880, 1_040);
    expect(
      units().map(({ sequenceNumber, rtpTimestamp, repaired }) => [sequenceNumber, rtpTimestamp, repaired]),
    ).toEqual([
      [1, 960, false],
      [2, 1_920, true],
      [3, 2_880, false],
    ]);
    expect(pipe.counters).toMatchObject({ units: 2, lost: 1, repaired: 1 });
    pipe.tick(2_000);
    expect(onChannel()[0]).toMatchObject({ acknowledged: 3, received: 0b10 });
    take(made[1]!, 1_920, 2_010);
    expect(units()).toHaveLength(3);
    expect(pipe.counters).toMatchObject({ units: 3, lost: 0, late: 1 });
  });

  it("never draws a preview", () => {
    receive(1, { flags: AccessUnitFlags.PREVIEW });
    expect(units()).toEqual([]);
  });
});

describe("EncodedPipe, feedback", () => {
  const sent = (bytes: Uint8Array | null): Required<Feedback> => extractFeedback(bytes!)!;

  it("says nothing before there is anything to say", () => {
    pipe.tick(10_000);
    expect(pipe.send(VOICE, 10_000)).toBeNull();
    expect(onChannel()).toEqual([]);
  });

  it("rides in every microphone packet that has sound, and the sound stays", () => {
    receive(1);
    receive(3);
    const bytes = pipe.send(VOICE, 2_000);
    expect(sent(bytes)).toMatchObject({ acknowledged: 3, received: 0b10, epoch: 1, playoutTimestamp: null });
    expect(pipe.send(VOICE, 2_020)).not.toBeNull();
    expect(pipe.counters.feedbackEmbedded).toBe(2);
  });

  it("keeps the bitmap right when frames come late and when the number wraps", () => {
    receive(65_534);
    receive(0);
    receive(65_535);
    expect(sent(pipe.send(VOICE, 0))).toMatchObject({ acknowledged: 0, received: 0b11 });
    receive(40);
    expect(sent(pipe.send(VOICE, 0))).toMatchObject({ acknowledged: 40, received: 0 });
  });

  it("makes a packet of its own of an empty frame, but only every 100 ms", () => {
    receive(1);
    pipe.send(Uint8Array.of(0x7c, 1, 2), 1_000);
    expect(pipe.send(new Uint8Array(), 1_040)).toBeNull();
    const bytes = pipe.send(new Uint8Array(), 1_100)!;
    expect(bytes[0]! & 0xfc).toBe(0x7c);
    expect(sent(bytes).acknowledged).toBe(1);
    expect(pipe.send(new Uint8Array(), 1_180)).toBeNull();
  });

  it("goes on the control channel every 100 ms where no microphone packet comes by", () => {
    receive(1);
    for (let nowMs = 3_000; nowMs <= 3_500; nowMs += 100) pipe.tick(nowMs);
    expect(onChannel()).toHaveLength(6);
    expect(pipe.counters.feedbackOnChannel).toBe(6);
  });

  it("leaves the channel alone while the microphone carries it", () => {
    receive(1);
    for (let nowMs = 3_000; nowMs <= 3_500; nowMs += 20) {
      pipe.send(nowMs % 40 === 0 ? VOICE : new Uint8Array(), nowMs);
      if (nowMs % 100 === 0) pipe.tick(nowMs);
    }
    expect(onChannel()).toEqual([]);
  });

  it("says what is audible when it is sent, not when it was noted", () => {
    pipe.notePlayout({ rtpTimestamp: 2 ** 32 - 480, absoluteMs: 1_000, playoutDelayMs: 61.4 });
    expect(sent(pipe.send(VOICE, 1_020))).toMatchObject({ playoutTimestamp: 480, playoutDelayMs: 61 });
    expect(sent(pipe.send(VOICE, 2_500))).toMatchObject({ playoutTimestamp: null, playoutDelayMs: null });
  });

  it("says how the one-way delay grows", () => {
    for (let number = 0; number < 50; number += 1) {
      // Handed over in bursts, as a busy browser does: what counts is when the network brought it.
      pipe.receive(packet(number), number * 960, 1_000 + number * 22, 1_000 + Math.ceil(number / 8) * 176);
    }
    expect(sent(pipe.send(VOICE, 3_000)).owdGradient).toBeCloseTo(1_000, -1);
  });

  it("leaves a packet that is not Opus as it is", () => {
    receive(1);
    expect(pipe.send(Uint8Array.of(0x03), 1_000)).toBeNull();
  });
});

describe("EncodedPipe, copies on a data channel", () => {
  const datagram = (sequenceNumber: number, timestamp: number): Uint8Array => {
    const bytes = packet(sequenceNumber);
    const made = new Uint8Array(5 + bytes.length);
    made[0] = 0x41;
    new DataView(made.buffer).setUint32(1, timestamp);
    made.set(bytes, 5);
    return made;
  };

  it("reads them like packets, in whatever order they come", () => {
    pipe.receiveDatagram(datagram(2, 1_920), 1_040, 1_040);
    pipe.receiveDatagram(datagram(1, 960), 1_041, 1_041);
    expect(units().map(({ sequenceNumber, rtpTimestamp }) => [sequenceNumber, rtpTimestamp])).toEqual([
      [2, 1_920],
      [1, 960],
    ]);
    pipe.tick(2_000);
    expect(onChannel()[0]).toMatchObject({ acknowledged: 2 });
  });

  it("counts what is no unit and lives on", () => {
    for (const bytes of [new Uint8Array(), Uint8Array.of(0x41, 0, 0, 0, 0), Uint8Array.of(0x21, 1, 2, 3, 4, 5, 6)])
      pipe.receiveDatagram(bytes, 0, 0);
    pipe.receiveDatagram(datagram(1, 960), 1_000, 1_000);
    expect(pipe.counters).toMatchObject({ malformed: 3, units: 1 });
  });
});

import { describe, expect, it } from "vitest";
import type { PlacedPiece } from "../../sound/soundPlayout";
import { AccessUnitFlags, encodeAccessUnit } from "../../wire/accessUnit";
import { CONTROL_MESSAGE_SIZE_BYTES_MAX } from "../../wire/control";
import { LocalProtocolError, RemoteProtocolError } from "../../wire/errors";
import { decodeFeedback } from "../../wire/feedback";
import { silence } from "../../wire/opusPadding";
import { emptyCounters, type UnitReport } from "../messages";
import { refusal } from "./closeReasons";
import { checkWelcome, ControlKind, ControlReader, encodeHello, encodeMessage } from "./controlStream";
import { decodeUnit, encodeMicrophone, UNIT_DATAGRAM_SIZE_BYTES_MAX } from "./datagrams";
import { Degradation } from "./degradation";
import { MediaPipe } from "./mediaPipe";
import { SendQueue } from "./sendQueue";

const text = (content: string): Uint8Array => new TextEncoder().encode(content);

describe("datagrams", () => {
  it("reads units, and nothing else", () => {
    const datagram = Uint8Array.of(0x41, 0xff, 0, 0, 1, 0xf8, 1);
    expect(decodeUnit(datagram)).toEqual({ timestamp: 0xff000001, packet: Uint8Array.of(0xf8, 1) });
    for (const size of [0, 1, 4, 5]) expect(decodeUnit(datagram.subarray(0, size))).toBeNull();
    expect(decodeUnit(Uint8Array.of(0x31, 0, 0, 0, 1, 0xf8))).toBeNull();
    const large = new Uint8Array(UNIT_DATAGRAM_SIZE_BYTES_MAX + 1).fill(0x41);
    expect(decodeUnit(large)).toBeNull();
    expect(decodeUnit(large.subarray(1))?.packet).toHaveLength(1_150);
  });

  it("writes microphone packets as the POP reads them", () => {
    const packet = Uint8Array.of(1, 2, 3);
    const datagram = encodeMicrophone({
      packet,
      timestamp: 2 ** 32 + 5,
      sequenceNumber: 65_536 + 258,
      levelDbov: 40,
      voice: true,
    });
    expect(Array.from(datagram)).toEqual([0x31, 0x80 | 40, 1, 2, 0, 0, 0, 5, 1, 2, 3]);
  });
});

describe("the control stream", () => {
  const messages = [
    encodeHello("token"),
    encodeMessage(ControlKind.TEXT, text("{}")),
    encodeMessage(9, new Uint8Array(300)),
  ];
  const stream = Uint8Array.from(messages.flatMap((message) => Array.from(message)));

  it.each([1, 3, 7, 1_000])("finds messages however they were cut: %i bytes at a time", (step) => {
    const reader = new ControlReader();
    const found = [];
    for (let at = 0; at < stream.length; at += step) found.push(...reader.receive(stream.subarray(at, at + step)));
    expect(found.map(({ kind, content }) => [kind, content.length])).toEqual([
      [0, 29],
      [1, 2],
      [9, 300],
    ]);
    expect(JSON.parse(new TextDecoder().decode(found[0]!.content))).toEqual({ version: 1, token: "token" });
  });

  it("refuses messages that are too large, both ways", () => {
    expect(() => encodeMessage(1, new Uint8Array(CONTROL_MESSAGE_SIZE_BYTES_MAX + 1))).toThrow(LocalProtocolError);
    expect(() => new ControlReader().receive(Uint8Array.of(1, 1, 0, 0))).toThrow(RemoteProtocolError);
    expect(encodeMessage(1, new Uint8Array(CONTROL_MESSAGE_SIZE_BYTES_MAX))).toHaveLength(16_388);
  });

  it("takes a welcome of its version only", () => {
    expect(() => {
      checkWelcome(text('{"version": 1}'));
    }).not.toThrow();
    for (const bad of ["", "null", "[]", '{"version": "1"}', '{"version": 2}']) {
      expect(() => {
        checkWelcome(text(bad));
      }).toThrow(RemoteProtocolError);
    }
  });
});

describe("SendQueue", () => {
  it("keeps the newest, in order, and forgets the old", () => {
    const queue = new SendQueue<number>(3, 100);
    for (let index = 0; index < 5; index += 1) queue.push(index, index * 10);
    expect(queue.dropped).toBe(2);
    expect(queue.pop(50)).toBe(2);
    expect(queue.pop(135)).toBe(4);
    expect(queue.pop(135)).toBeNull();
    expect(queue.dropped).toBe(3);
  });
});

describe("refusal", () => {
  it("says for people what a POP's reason means", () => {
    expect(refusal("").code).toBe("connection-lost");
    expect(refusal("overloaded").code).toBe("pop-busy");
    expect(refusal("internal-error").code).toBe("pop-unreachable");
    expect(refusal("token-expired").code).toBe("pop-refused");
    expect(refusal("token-expired").message).toContain("token-expired");
  });
});

describe("Degradation", () => {
  const run = (each: {
    lost?: number;
    repaired?: number;
    concealed?: number;
    missed?: number;
    units?: number;
  }): number => {
    const judge = new Degradation();
    let told = 0;
    for (let second = 0; second < 30; second += 1) {
      const { units = 50, lost = 0, repaired = 0, concealed = 0, missed = 0 } = each;
      const counters = { ...emptyCounters(), units: units * second, lost: lost * second, repaired: repaired * second };
      const sound = { played: 50 * second, concealed: concealed * second, late: 0, missedFrames: missed * second };
      told += Number(judge.observe(counters, { ...sound, delayMs: 40, roundTripMs: null }));
    }
    return told;
  };

  it("tells once when sound is invented though nothing is lost, or the card runs dry", () => {
    expect(run({})).toBe(0);
    expect(run({ concealed: 10 })).toBe(1);
    expect(run({ missed: 2_000 })).toBe(1);
  });

  it("blames nobody but the link for what the link loses, and judges no pause", () => {
    expect(run({ concealed: 10, lost: 10 })).toBe(0);
    expect(run({ concealed: 10, lost: 10, repaired: 10 })).toBe(0);
    expect(run({ concealed: 10, units: 5 })).toBe(0);
  });
});

/** The rest pose as a keyframe (tests/vectors/frame_codec.json, 1). */
const KEYFRAME = Uint8Array.of(0x13, 0x5d, 0, 0, 0);

describe("MediaPipe", () => {
  const units: UnitReport[] = [];
  const pieces: PlacedPiece[] = [];
  const sent: Uint8Array[] = [];
  const pipe = new MediaPipe(
    {
      decode: () => {
        queueMicrotask(() => {
          pipe.decoded(new Float32Array(960));
        });
      },
      reset: () => undefined,
    },
    {
      onUnit: (unit) => units.push(unit),
      onPiece: (piece) => pieces.push(piece),
      onDatagram: (datagram) => sent.push(datagram),
    },
  );
  const unit = (sequenceNumber: number, frame = KEYFRAME): Uint8Array => {
    const fec = new Uint8Array(0);
    const flags = AccessUnitFlags.SPEECH;
    const packet = encodeAccessUnit({ epoch: 1, sequenceNumber, flags, state: 3, frame, fec }, silence(1));
    const timestamp = sequenceNumber * 960;
    return Uint8Array.of(0x41, 0, timestamp >> 16, (timestamp >> 8) & 0xff, timestamp & 0xff, ...packet);
  };

  it("goes from datagrams to faces, placed sound and feedback, and conceals what is missing", async () => {
    for (let index = 0; index < 50; index += 1) {
      const nowMs = 1_000 + index * 20;
      pipe.hearCard({ frame: index * 960, slackFrames: null, missedFrames: 0 }, nowMs);
      if (index !== 20) pipe.receive(unit(index), nowMs);
      pipe.tick(nowMs);
      pipe.notePlayout(Math.max(0, index - 3) * 960, nowMs);
      await Promise.resolve();
    }
    expect(units).toHaveLength(49);
    expect(units[0]).toMatchObject({ rtpTimestamp: 0, speech: true, sequenceNumber: 0 });
    expect(pieces.length).toBeGreaterThan(40);
    expect(pipe.figures(null)).toMatchObject({ concealed: 1, roundTripMs: null });
    expect(pipe.counters).toMatchObject({ units: 49, lost: 1, malformed: 0, feedbackOnChannel: sent.length });
    expect(sent.length).toBeGreaterThanOrEqual(9);
    const feedback = decodeFeedback(sent.at(-1)!);
    expect(feedback.acknowledged).toBeGreaterThan(40);
    expect(feedback.playoutDelayMs).toBeGreaterThan(10);
    expect(feedback.playoutTimestamp).toBeGreaterThan(40 * 960);
  });

  it("asks for a keyframe at once, and counts what is none of ours", () => {
    const before = sent.length;
    pipe.receive(unit(50, Uint8Array.of(0, 0, 0, 0, 0)), 2_100);
    expect(sent).toHaveLength(before + 1);
    expect(decodeFeedback(sent.at(-1)!).keyframeRequest).toBe(true);
    pipe.receive(Uint8Array.of(0x42, 1, 2, 3, 4, 5), 2_120);
    expect(pipe.counters.malformed).toBe(1);
  });

  it("puts the microphone into datagrams", () => {
    pipe.sendSound({ opus: Uint8Array.of(0x78, 1, 2, 3), timestamp: 960, level: 30, voice: true }, 2_400);
    expect(sent.at(-1)![0]).toBe(0x31);
    expect(pipe.counters.feedbackEmbedded).toBe(1);
  });
});

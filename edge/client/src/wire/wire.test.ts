import { describe, expect, it } from "vitest";
import { AccessUnitFlags, decodeAccessUnit, encodeAccessUnit } from "./accessUnit";
import { CONTROL_TYPES, decodeControl, encodeControl } from "./control";
import { LocalProtocolError, RemoteProtocolError } from "./errors";
import { decodeFeedback, encodeFeedback, extractFeedback } from "./feedback";
import { FrameDecoder } from "./frameCodec";
import { ACCESS_UNIT_SIZE_BYTES_MAX, embed, extract, silence } from "./opusPadding";

/** xorshift32: the same bytes on every machine. */
function randomBytes(seed: number): (size: number) => Uint8Array {
  let state = seed;
  return (size) =>
    Uint8Array.from({ length: size }, () => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return state & 255;
    });
}

describe("any bytes", () => {
  it("give a value or a RemoteProtocolError, nothing else", () => {
    const random = randomBytes(7);
    const decoder = new FrameDecoder();
    const readers = [
      decodeAccessUnit,
      extractFeedback,
      decodeFeedback,
      (data: Uint8Array): unknown => decoder.decode(data, 9),
      (data: Uint8Array): unknown => decodeAccessUnit(embed(silence(), Uint8Array.of(0x11, 0, ...data))),
      (data: Uint8Array): unknown => decodeControl(String.fromCharCode(...data)),
    ];
    let refused = 0;
    for (let round = 0; round < 3_000; round++) {
      const data = random(round % 60);
      for (const read of readers) {
        try {
          read(data);
        } catch (error) {
          if (!(error instanceof RemoteProtocolError)) throw error;
          refused += 1;
        }
      }
    }
    expect(refused).toBeGreaterThan(3_000);
  });
});

describe("limits of our own", () => {
  it("refuses an access unit that could not travel", () => {
    const room = ACCESS_UNIT_SIZE_BYTES_MAX - embed(silence(), new Uint8Array(1_100)).length + 1_100;
    expect(embed(silence(), new Uint8Array(room)).length).toBe(ACCESS_UNIT_SIZE_BYTES_MAX);
    expect(() => embed(silence(), new Uint8Array(room + 1))).toThrow(LocalProtocolError);
  });

  it("refuses fields that do not fit", () => {
    const nothing = { acknowledged: null, playoutTimestamp: null, keyframeRequest: false };
    expect(() => encodeFeedback({ ...nothing, acknowledged: 65_536 })).toThrow(LocalProtocolError);
    expect(() => encodeFeedback({ ...nothing, playoutTimestamp: -1 })).toThrow(LocalProtocolError);
    expect(() => encodeFeedback({ ...nothing, playoutTimestamp: 0.5 })).toThrow(LocalProtocolError);
    expect(() => encodeFeedback({ ...nothing, received: 1 })).toThrow(LocalProtocolError);
    const unit = { epoch: 1, sequenceNumber: 1, flags: 0, state: 0, frame: silence(), fec: new Uint8Array() } as const;
    expect(() => encodeAccessUnit({ ...unit, epoch: 65_536 }, silence())).toThrow(LocalProtocolError);
    expect(() => encodeAccessUnit({ ...unit, flags: 0x200 }, silence())).toThrow(LocalProtocolError);
    expect(() => silence(7)).toThrow(LocalProtocolError);
    expect(() => encodeControl("send-text", { content: "ü".repeat(8_192) })).toThrow(LocalProtocolError);
  });
});

describe("round trips", () => {
  it("keeps an access unit in a voice packet", () => {
    const voice = Uint8Array.of(0xf8, 1, 2, 3);
    const unit = {
      epoch: 9,
      sequenceNumber: 65_535,
      flags: AccessUnitFlags.SPEECH | AccessUnitFlags.CUT,
      state: 3,
      frame: Uint8Array.of(1, 2, 3),
      fec: Uint8Array.of(4),
    } as const;
    expect(decodeAccessUnit(encodeAccessUnit(unit, voice))).toEqual(unit);
    expect(extract(voice)).toBeNull();
  });

  it("keeps control messages of every type", () => {
    for (const type of CONTROL_TYPES) {
      expect(decodeControl(encodeControl(type, { a: [1, "ü"] }, "id"))).toEqual({
        type,
        data: { a: [1, "ü"] },
        id: "id",
        known: true,
      });
    }
  });
});

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decodeAccessUnit, encodeAccessUnit, type FaceStateCode } from "./accessUnit";
import { decodeControl } from "./control";
import { RemoteProtocolError } from "./errors";
import { decodeFeedback, embedFeedback, encodeFeedback, extractFeedback, type Feedback } from "./feedback";
import { FrameDecoder } from "./frameCodec";
import { durationSamples, embed, extract, silence, strip } from "./opusPadding";

/** The same files as tests/core/wire/test_vectors.py reads; `python -m tests.vectors` writes them. */
interface Case {
  readonly id: number;
  readonly comment: string;
  readonly result: "valid" | "invalid" | "nothing" | "dropped";
  readonly code?: string;
  readonly data?: string;
  readonly text?: string;
  readonly repeat?: number;
  readonly packet?: string;
  readonly side?: string;
  readonly stripped?: string;
  readonly durationSamples?: number;
  readonly encodes?: boolean;
  readonly unit?: {
    readonly epoch: number;
    readonly sequenceNumber: number;
    readonly flags: number;
    readonly state: FaceStateCode;
    readonly frame: string;
    readonly fec: string;
  };
  readonly feedback?: Required<Feedback>;
  readonly message?: unknown;
  readonly steps?: readonly Step[];
}

interface Step {
  readonly sequenceNumber: number;
  readonly data: string;
  readonly result: "frame" | "baseline-missing" | "diverged" | "invalid";
  readonly code?: string;
  readonly baseline?: number | null;
  readonly weights?: string;
  readonly joints?: string;
  readonly score?: number;
}

function cases(suite: string): [string, Case][] {
  const path = new URL(`../../../../tests/vectors/${suite}.json`, import.meta.url);
  const { tests } = JSON.parse(readFileSync(path, "utf8")) as { tests: Case[] };
  return tests.map((test) => [`${test.id} ${test.comment}`, test]);
}

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");
const floats = (values: Float32Array): string => hex(new Uint8Array(values.buffer));

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof RemoteProtocolError) return error.code;
    throw error;
  }
  return "no error";
}

describe("opus_padding", () => {
  it.each(cases("opus_padding"))("%s", (_, test) => {
    const data = bytes(test.data!);
    if (test.result === "invalid") {
      for (const read of [extract, strip, durationSamples]) expect(codeOf(() => read(data))).toBe(test.code);
      return;
    }
    const side = extract(data);
    expect(side === null ? null : hex(side)).toBe(test.result === "nothing" ? null : test.side);
    if (test.packet === undefined) return;
    const packet = bytes(test.packet);
    expect(hex(embed(packet, bytes(test.side!)))).toBe(test.data);
    expect(hex(embed(data, bytes(test.side!)))).toBe(test.data);
    expect(hex(strip(data))).toBe(test.stripped);
    expect(durationSamples(packet)).toBe(test.durationSamples);
    expect(durationSamples(data)).toBe(test.durationSamples);
  });
});

describe("access_unit", () => {
  it.each(cases("access_unit"))("%s", (_, test) => {
    const data = bytes(test.data!);
    if (test.result === "invalid") {
      expect(codeOf(() => decodeAccessUnit(data))).toBe(test.code);
      return;
    }
    const unit = decodeAccessUnit(data);
    if (unit === null || test.unit === undefined) {
      expect(unit).toBeNull();
      expect(test.result).toBe("nothing");
      return;
    }
    expect({ ...unit, frame: hex(unit.frame), fec: hex(unit.fec) }).toEqual(test.unit);
    if (test.encodes === true) expect(hex(encodeAccessUnit(unit, silence()))).toBe(test.data);
  });
});

describe("frame_codec", () => {
  it.each(cases("frame_codec"))("%s", (_, test) => {
    const decoder = new FrameDecoder();
    for (const step of test.steps!) {
      const decode = (): ReturnType<FrameDecoder["decode"]> => decoder.decode(bytes(step.data), step.sequenceNumber);
      if (step.result === "invalid") {
        expect(codeOf(decode)).toBe(step.code);
        continue;
      }
      const frame = decode();
      if ("weights" in frame) {
        expect(step.result).toBe("frame");
        expect(floats(frame.weights)).toBe(step.weights);
        expect(floats(frame.joints)).toBe(step.joints);
        expect(frame.syncScore).toBe(step.score! / 255);
      } else {
        expect(frame).toEqual({ baseline: step.baseline, diverged: step.result === "diverged" });
      }
    }
  });
});

describe("feedback", () => {
  it.each(cases("feedback"))("%s", (_, test) => {
    const data = bytes(test.data!);
    if (test.result === "invalid") {
      expect(codeOf(() => decodeFeedback(data))).toBe(test.code);
      return;
    }
    expect(decodeFeedback(data)).toEqual(test.feedback);
    if (test.encodes === true) expect(hex(encodeFeedback(test.feedback!))).toBe(test.data);
    expect(extractFeedback(embedFeedback(Uint8Array.of(0x48), test.feedback!))).toEqual(test.feedback);
  });
});

describe("control", () => {
  it.each(cases("control"))("%s", (_, test) => {
    const text = test.text!.replace("%", "a".repeat(test.repeat ?? 1));
    if (test.result === "invalid") {
      expect(codeOf(() => decodeControl(text))).toBe(test.code);
      return;
    }
    const { known, ...message } = decodeControl(text);
    expect(known).toBe(test.result === "valid");
    if (test.message !== undefined) expect(message).toEqual(test.message);
  });
});

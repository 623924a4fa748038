import { LocalProtocolError, RemoteProtocolError } from "./errors";
import { embed, extract, MICROPHONE_PACKET_SIZE_BYTES_MAX, type Bytes } from "./opusPadding";

/** What a viewer tells the POP all the time. Mirrors core/wire/feedback.py; SPEC.md section 5. */
const KIND = 2;
const VERSION = 1;
const KEYFRAME_REQUEST = 0x01;
const ACKNOWLEDGED = 0x02;
const RECEIVED = 0x04;
const CRITICAL = 0xc0;

/** A viewer's view; every field may be absent. */
export interface Feedback {
  /** Sequence number of the newest frame the viewer has decoded, 16 bits. */
  readonly acknowledged: number | null;
  /** 32-bit RTP timestamp that is audible now. */
  readonly playoutTimestamp: number | null;
  /** The viewer lacks a baseline. */
  readonly keyframeRequest: boolean;
  /** 32 bits; bit i says that unit `acknowledged - 1 - i` arrived. */
  readonly received?: number | null;
  /** Epoch of the units that `acknowledged` counts, 16 bits. */
  readonly epoch?: number | null;
}

/** Flag, field and size in bytes, in wire order. */
const FIELDS = [
  [ACKNOWLEDGED, "acknowledged", 2],
  [RECEIVED, "received", 4],
  [0x08, "playoutTimestamp", 4],
  [0x10, "epoch", 2],
] as const;

/** 2 to 14 bytes. @throws LocalProtocolError */
export function encodeFeedback(feedback: Feedback): Bytes {
  const bytes = [(KIND << 4) | VERSION, feedback.keyframeRequest ? KEYFRAME_REQUEST : 0];
  if ((feedback.received ?? null) !== null && feedback.acknowledged === null) {
    throw new LocalProtocolError("received counts from acknowledged, which is missing");
  }
  for (const [flag, name, size] of FIELDS) {
    const value = feedback[name] ?? null;
    if (value === null) continue;
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * size)) {
      throw new LocalProtocolError(`${name} has ${8 * size} bits, ${value} does not fit`);
    }
    bytes[1]! |= flag;
    for (let shift = 8 * (size - 1); shift >= 0; shift -= 8) bytes.push((value >>> shift) & 255);
  }
  return Uint8Array.from(bytes);
}

/**
 * What a viewer said; bytes behind the known fields belong to later versions and are ignored.
 *
 * @throws RemoteProtocolError codes `too-short`, `unknown-kind`, `unknown-version`, `unknown-flags`.
 */
export function decodeFeedback(data: Uint8Array): Required<Feedback> {
  const first = data[0];
  if (first === undefined) throw new RemoteProtocolError("too-short", "feedback without a first byte");
  if (first >> 4 !== KIND) throw new RemoteProtocolError("unknown-kind", `side data of kind ${first >> 4}`);
  if ((first & 15) !== VERSION) throw new RemoteProtocolError("unknown-version", `feedback version ${first & 15}`);
  const flags = data[1];
  if (flags === undefined) throw new RemoteProtocolError("too-short", "feedback without flags");
  if ((flags & CRITICAL) !== 0 || (flags & (RECEIVED | ACKNOWLEDGED)) === RECEIVED) {
    throw new RemoteProtocolError("unknown-flags", `flags 0x${flags.toString(16)}`);
  }
  const values: Record<(typeof FIELDS)[number][1], number | null> = {
    acknowledged: null,
    received: null,
    playoutTimestamp: null,
    epoch: null,
  };
  let position = 2;
  for (const [flag, name, size] of FIELDS) {
    if ((flags & flag) === 0) continue;
    if (position + size > data.length) throw new RemoteProtocolError("too-short", `${name} is cut off`);
    let value = 0;
    for (const end = position + size; position < end; position++) value = value * 256 + data[position]!;
    values[name] = value;
  }
  return { ...values, keyframeRequest: (flags & KEYFRAME_REQUEST) !== 0 };
}

/** A microphone packet with `feedback` in its padding. @throws LocalProtocolError, RemoteProtocolError `bad-opus` */
export function embedFeedback(opus: Uint8Array, feedback: Feedback): Bytes {
  return embed(opus, encodeFeedback(feedback), MICROPHONE_PACKET_SIZE_BYTES_MAX);
}

/** The feedback in a microphone packet, null when there is none. @throws RemoteProtocolError */
export function extractFeedback(opus: Uint8Array): Required<Feedback> | null {
  const side = extract(opus);
  const first = side?.[0];
  if (side === null || (first !== undefined && first >> 4 !== KIND)) return null;
  return decodeFeedback(side);
}

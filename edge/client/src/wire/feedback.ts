import { LocalProtocolError, RemoteProtocolError } from "./errors";
import { embed, extract, MICROPHONE_PACKET_SIZE_BYTES_MAX, type Bytes } from "./opusPadding";

/** What a viewer tells the POP all the time. Mirrors core/wire/feedback.py; SPEC.md section 5. */
const KIND = 2;
const VERSION = 1;
const KEYFRAME_REQUEST = 0x01;
const ACKNOWLEDGED = 0x02;
const RECEIVED = 0x04;
const EXTENSION = 0x20;
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
  /** Growth of the one-way delay in tenths of a millisecond per second, 16 bits with sign. */
  readonly owdGradient?: number | null;
  /** From a unit's arrival to its playout, 16 bits: repairs that take longer are useless. */
  readonly playoutDelayMs?: number | null;
}

type Name = Exclude<keyof Feedback, "keyframeRequest">;
type Values = Record<Name, number | null>;
/** Flag, field, size in bytes and whether it has a sign. */
type Field = readonly [flag: number, name: Name, size: number, signed: boolean];

/** In wire order. */
const FIELDS: readonly Field[] = [
  [ACKNOWLEDGED, "acknowledged", 2, false],
  [RECEIVED, "received", 4, false],
  [0x08, "playoutTimestamp", 4, false],
  [0x10, "epoch", 2, false],
];
/** The same for the extension, whose own flags stand in front of its fields. */
const EXTENSION_FIELDS: readonly Field[] = [
  [0x01, "owdGradient", 2, true],
  [0x02, "playoutDelayMs", 2, false],
];

/** 2 to 19 bytes. @throws LocalProtocolError */
export function encodeFeedback(feedback: Feedback): Bytes {
  if ((feedback.received ?? null) !== null && feedback.acknowledged === null) {
    throw new LocalProtocolError("received counts from acknowledged, which is missing");
  }
  const bytes = [(KIND << 4) | VERSION, 0];
  let flags = write(feedback, FIELDS, bytes) | (feedback.keyframeRequest ? KEYFRAME_REQUEST : 0);
  const place = bytes.push(0) - 1;
  const extension = write(feedback, EXTENSION_FIELDS, bytes);
  if (extension === 0) bytes.pop();
  else {
    bytes[place] = extension;
    flags |= EXTENSION;
  }
  bytes[1] = flags;
  return Uint8Array.from(bytes);
}

/** Append those fields that are there. @returns their flags. */
function write(feedback: Feedback, fields: readonly Field[], bytes: number[]): number {
  let flags = 0;
  for (const [flag, name, size, signed] of fields) {
    const value = feedback[name] ?? null;
    if (value === null) continue;
    const least = signed ? -(2 ** (8 * size - 1)) : 0;
    if (!Number.isInteger(value) || value < least || value >= least + 2 ** (8 * size)) {
      throw new LocalProtocolError(`${name} has ${8 * size} bits, ${value} does not fit`);
    }
    flags |= flag;
    for (let shift = 8 * (size - 1); shift >= 0; shift -= 8) bytes.push((value >>> shift) & 255);
  }
  return flags;
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
  const values: Values = {
    acknowledged: null,
    received: null,
    playoutTimestamp: null,
    epoch: null,
    owdGradient: null,
    playoutDelayMs: null,
  };
  const position = read(data, 2, flags, FIELDS, values);
  if ((flags & EXTENSION) !== 0) {
    const extension = data[position];
    if (extension === undefined) throw new RemoteProtocolError("too-short", "extension without flags");
    read(data, position + 1, extension, EXTENSION_FIELDS, values);
  }
  return { ...values, keyframeRequest: (flags & KEYFRAME_REQUEST) !== 0 };
}

/** Read those fields whose flags are set. @returns the position behind them. */
function read(data: Uint8Array, start: number, flags: number, fields: readonly Field[], values: Values): number {
  let position = start;
  for (const [flag, name, size, signed] of fields) {
    if ((flags & flag) === 0) continue;
    if (position + size > data.length) throw new RemoteProtocolError("too-short", `${name} is cut off`);
    let value = 0;
    for (const end = position + size; position < end; position++) value = value * 256 + data[position]!;
    values[name] = signed && value >= 2 ** (8 * size - 1) ? value - 2 ** (8 * size) : value;
  }
  return position;
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

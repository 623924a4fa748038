import { LocalProtocolError, RemoteProtocolError } from "./errors";
import { embed, extract, type Bytes } from "./opusPadding";

/** Access unit: what one tick needs, as one valid Opus packet. Mirrors core/wire/access_unit.py; SPEC.md section 3. */
const KIND = 1;
const VERSION = 1;
const HEADER_SIZE = 7;
const FEC = 0x0100;
const CRITICAL = 0xff00;

/** What a unit says beside its frame. */
export const AccessUnitFlags = {
  /** The character's voice is in this packet. */
  SPEECH: 0x04,
  /** Play the voice quieter: the user may be starting to speak. */
  DUCK: 0x08,
  /** The voice was cut: mute what is still buffered. */
  CUT: 0x10,
  /** From a POP that does not own the session yet: never draw. */
  PREVIEW: 0x20,
} as const;

const KNOWN = 0x3c;

export type FaceStateCode = 0 | 1 | 2 | 3;

export interface AccessUnit {
  /** Ownership epoch of the session, 16 bits; greater wins. */
  readonly epoch: number;
  /** 16 bits, plus one per unit, wraps. */
  readonly sequenceNumber: number;
  /** Bits of AccessUnitFlags. */
  readonly flags: number;
  /** 0 idle, 1 listening, 2 thinking, 3 speaking. */
  readonly state: FaceStateCode;
  /** Empty: no motion in this unit. */
  readonly frame: Uint8Array;
  /** Repair symbols; empty: none. */
  readonly fec: Uint8Array;
}

/**
 * What a packet carries; null when it is plain Opus or carries something of another kind. The arrays are views.
 *
 * @throws RemoteProtocolError codes `bad-opus`, `too-short`, `unknown-version`, `unknown-flags`, `bad-length`.
 */
export function decodeAccessUnit(packet: Uint8Array): AccessUnit | null {
  const side = extract(packet);
  if (side === null) return null;
  const first = side[0];
  if (first === undefined) throw new RemoteProtocolError("too-short", "side data without a first byte");
  if (first >> 4 !== KIND) return null;
  if ((first & 15) !== VERSION) {
    throw new RemoteProtocolError("unknown-version", `access unit version ${first & 15}`);
  }
  if (side.length < HEADER_SIZE) throw new RemoteProtocolError("too-short", `access unit of ${side.length} bytes`);
  const view = new DataView(side.buffer, side.byteOffset, side.length);
  const flags = view.getUint16(1);
  if ((flags & CRITICAL & ~FEC) !== 0) throw new RemoteProtocolError("unknown-flags", `flags 0x${flags.toString(16)}`);
  let start = HEADER_SIZE;
  let end = side.length;
  if ((flags & FEC) !== 0) {
    if (side.length < HEADER_SIZE + 2) throw new RemoteProtocolError("too-short", "frame length is cut off");
    start = HEADER_SIZE + 2;
    end = start + view.getUint16(HEADER_SIZE);
    if (end >= side.length) throw new RemoteProtocolError("bad-length", "FEC must follow the frame");
  }
  return {
    epoch: view.getUint16(3),
    sequenceNumber: view.getUint16(5),
    flags: flags & KNOWN,
    state: (flags & 3) as FaceStateCode,
    frame: side.subarray(start, end),
    fec: side.subarray(end),
  };
}

/** One Opus packet that plays `opusPacket` and carries `unit`. @throws LocalProtocolError, RemoteProtocolError */
export function encodeAccessUnit(unit: AccessUnit, opusPacket: Uint8Array): Bytes {
  if ((unit.flags & ~KNOWN) !== 0) throw new LocalProtocolError(`flags ${unit.flags} are not all known`);
  if (unit.epoch >>> 16 !== 0 || unit.sequenceNumber >>> 16 !== 0) {
    throw new LocalProtocolError("epoch and sequence number have 16 bits");
  }
  const hasFec = unit.fec.length > 0;
  const start = hasFec ? HEADER_SIZE + 2 : HEADER_SIZE;
  const side = new Uint8Array(start + unit.frame.length + unit.fec.length);
  const view = new DataView(side.buffer);
  view.setUint8(0, (KIND << 4) | VERSION);
  view.setUint16(1, unit.flags | unit.state | (hasFec ? FEC : 0));
  view.setUint16(3, unit.epoch);
  view.setUint16(5, unit.sequenceNumber);
  if (hasFec) view.setUint16(HEADER_SIZE, unit.frame.length);
  side.set(unit.frame, start);
  side.set(unit.fec, start + unit.frame.length);
  return embed(opusPacket, side);
}

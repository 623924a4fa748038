import { ACCESS_UNIT_SIZE_BYTES_MAX, type Bytes } from "../../wire/opusPadding";

/** Datagrams of a WebTransport session. Mirrors core/wire/webtransport.py; SPEC.md section 10. */
const UNIT = 0x41;
const MICROPHONE = 0x31;
const UNIT_HEADER_SIZE = 5;
const MICROPHONE_HEADER_SIZE = 8;
const VOICE = 0x80;

/** The most bytes a datagram or a keyframe stream from the POP has. */
export const UNIT_DATAGRAM_SIZE_BYTES_MAX = UNIT_HEADER_SIZE + ACCESS_UNIT_SIZE_BYTES_MAX;

/** An access unit as it came. */
export interface UnitDatagram {
  /** 32-bit media time of the packet's first sample. */
  readonly timestamp: number;
  /** The Opus packet with its padding; a view. */
  readonly packet: Uint8Array;
}

/** An access unit out of a datagram or a keyframe stream; null when it is none. */
export function decodeUnit(datagram: Uint8Array): UnitDatagram | null {
  const size = datagram.length;
  if (datagram[0] !== UNIT || size <= UNIT_HEADER_SIZE || size > UNIT_DATAGRAM_SIZE_BYTES_MAX) return null;
  const timestamp = new DataView(datagram.buffer, datagram.byteOffset, size).getUint32(1);
  return { timestamp, packet: datagram.subarray(UNIT_HEADER_SIZE) };
}

/** A microphone packet on its way. */
export interface MicrophoneDatagram {
  /** Opus, feedback in its padding or not. */
  readonly packet: Uint8Array;
  /** 48 kHz media time of its first sample; sent modulo 2³². */
  readonly timestamp: number;
  /** Sent modulo 2¹⁶. */
  readonly sequenceNumber: number;
  /** RFC 6464: 0 (loudest) to 127 (silence). */
  readonly levelDbov: number;
  /** RFC 6464's V bit: somebody speaks. */
  readonly voice: boolean;
}

export function encodeMicrophone(unit: MicrophoneDatagram): Bytes {
  const bytes = new Uint8Array(MICROPHONE_HEADER_SIZE + unit.packet.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, MICROPHONE);
  view.setUint8(1, (unit.voice ? VOICE : 0) | (unit.levelDbov & 0x7f));
  view.setUint16(2, unit.sequenceNumber & 0xffff);
  view.setUint32(4, unit.timestamp >>> 0);
  bytes.set(unit.packet, MICROPHONE_HEADER_SIZE);
  return bytes;
}

import { LocalProtocolError, RemoteProtocolError } from "./errors";

/**
 * Side data in the padding of an Opus packet: the packet stays valid and sounds the same. Mirrors
 * core/wire/opus_padding.py; SPEC.md section 2. Needs nothing of a page: it runs in workers, worklets and tests alike.
 */
export const ACCESS_UNIT_SIZE_BYTES_MAX = 1_150;
export const MICROPHONE_PACKET_SIZE_BYTES_MAX = 1_388;
/** Marks padding as ours: "vv". */
export const MAGIC: readonly [number, number] = [0x76, 0x76];

const PREFIX = Uint8Array.of(0, 0, ...MAGIC);
const EXTENSION_ID = 122;
const FRAME_SIZE_BYTES_MAX = 1275;
const DURATION_SAMPLES_MAX = 5760;
const SILENT_TOC = 0xf8;
const SILK_SAMPLES = [480, 960, 1920, 2880] as const;

export type Bytes = Uint8Array<ArrayBuffer>;

interface Layout {
  readonly toc: number;
  /** The frame count byte of code 3 without its padding bit. */
  readonly frames: number;
  readonly body: Uint8Array;
  readonly padding: Uint8Array;
}

/**
 * The same voice with `side` in its padding. Padding that is there already, ours or not, is replaced.
 *
 * @param packet one Opus packet of any code; a lone TOC byte (DTX) is a packet.
 * @throws RemoteProtocolError code `bad-opus`; LocalProtocolError when the result would be too large.
 */
export function embed(packet: Uint8Array, side: Uint8Array, sizeBytesMax = ACCESS_UNIT_SIZE_BYTES_MAX): Bytes {
  const { toc, frames, body } = parse(packet);
  const padding = PREFIX.length + side.length;
  const full = Math.ceil(padding / 254) - 1;
  const size = 3 + full + body.length + padding;
  if (size > sizeBytesMax) {
    throw new LocalProtocolError(`packet of ${size} bytes, at most ${sizeBytesMax} can travel`);
  }
  const result = new Uint8Array(size);
  result[0] = toc;
  result[1] = frames | 0x40;
  result.fill(255, 2, 2 + full);
  result[2 + full] = padding - 254 * full;
  result.set(body, 3 + full);
  result.set(PREFIX, 3 + full + body.length);
  result.set(side, 3 + full + body.length + PREFIX.length);
  return result;
}

/** The side data of a packet, null when it carries none of ours. @throws RemoteProtocolError code `bad-opus`. */
export function extract(packet: Uint8Array): Uint8Array | null {
  const { padding } = parse(packet);
  if (startsWith(padding, 0, PREFIX)) return padding.subarray(PREFIX.length);
  return findExtension(padding);
}

/** The packet without padding, in its shortest form. @throws RemoteProtocolError code `bad-opus`. */
export function strip(packet: Uint8Array): Bytes {
  const { toc, frames, body } = parse(packet);
  if (frames === 1 || frames === 0x81) return join([toc & 0xfc], body);
  if (frames === 2) return join([(toc & 0xfc) | 1], body);
  if (frames === 0x82) return join([(toc & 0xfc) | 2], body);
  return join([toc, frames], body);
}

/** Digital silence: `frames` (1 to 6) CELT frames of 20 ms in one mono packet. @throws LocalProtocolError */
export function silence(frames = 1): Bytes {
  if (!Number.isInteger(frames) || frames < 1 || frames > 6) {
    throw new LocalProtocolError(`an Opus packet holds 1 to 6 frames of 20 ms, not ${frames}`);
  }
  const body = new Uint8Array(2 * frames).map((_, index) => (index % 2 === 0 ? 0xff : 0xfe));
  return join(frames === 1 ? [SILENT_TOC] : [SILENT_TOC | 3, frames], body);
}

/** Length of a packet in 48 kHz samples. @throws RemoteProtocolError code `bad-opus`. */
export function durationSamples(packet: Uint8Array): number {
  const { toc, frames } = parse(packet);
  return frameSamples(toc) * (frames & 0x3f);
}

function join(head: readonly number[], body: Uint8Array): Bytes {
  const result = new Uint8Array(head.length + body.length);
  result.set(head);
  result.set(body, head.length);
  return result;
}

function startsWith(bytes: Uint8Array, at: number, prefix: ArrayLike<number>): boolean {
  for (let index = 0; index < prefix.length; index++) if (bytes[at + index] !== prefix[index]) return false;
  return true;
}

function frameSamples(toc: number): number {
  const config = toc >> 3;
  if (config < 12) return SILK_SAMPLES[config & 3]!;
  if (config < 16) return 480 << (config & 1);
  return 120 << (config & 3);
}

function bad(message: string): RemoteProtocolError {
  return new RemoteProtocolError("bad-opus", message);
}

function parse(packet: Uint8Array): Layout {
  const first = packet[0];
  if (first === undefined) throw bad("empty packet");
  const toc = first | 3;
  const body = packet.subarray(1);
  const padding = packet.subarray(packet.length);
  switch (first & 3) {
    case 0:
      if (body.length > FRAME_SIZE_BYTES_MAX) throw bad("frame too long");
      return { toc, frames: 1, body, padding };
    case 1:
      checkConstant(body, 2);
      return { toc, frames: 2, body, padding };
    case 2:
      checkVariable(body, 2);
      return { toc, frames: 0x82, body, padding };
    default:
      return parseCode3(toc, body);
  }
}

function parseCode3(toc: number, rest: Uint8Array): Layout {
  const count = rest[0];
  if (count === undefined) throw bad("code 3 without a frame count");
  const frames = count & 0x3f;
  if (frames === 0 || frames * frameSamples(toc) > DURATION_SAMPLES_MAX) throw bad(`${frames} frames`);
  let start = 1;
  let paddingSize = 0;
  if ((count & 0x40) !== 0) {
    for (;;) {
      const byte = rest[start++];
      if (byte === undefined) throw bad("padding length is cut off");
      if (byte !== 255) {
        paddingSize += byte;
        break;
      }
      paddingSize += 254;
    }
  }
  const end = rest.length - paddingSize;
  if (end < start) throw bad("more padding than packet");
  const body = rest.subarray(start, end);
  if ((count & 0x80) !== 0) checkVariable(body, frames);
  else checkConstant(body, frames);
  return { toc, frames: count & 0xbf, body, padding: rest.subarray(end) };
}

function checkConstant(body: Uint8Array, frames: number): void {
  if (body.length % frames !== 0 || body.length / frames > FRAME_SIZE_BYTES_MAX) {
    throw bad(`${body.length} bytes are not ${frames} equal frames`);
  }
}

function checkVariable(body: Uint8Array, frames: number): void {
  let position = 0;
  let total = 0;
  for (let frame = 1; frame < frames; frame++) {
    const first = body[position++];
    if (first === undefined) throw bad("frame length is cut off");
    total += first;
    if (first >= 252) {
      const second = body[position++];
      if (second === undefined) throw bad("frame length is cut off");
      total += 4 * second;
    }
  }
  const last = body.length - position - total;
  if (last < 0 || last > FRAME_SIZE_BYTES_MAX) throw bad("frame lengths do not fit the packet");
}

/** Our data as an extension of draft-ietf-mlcodec-opus-extension-05: byte `id << 1 | L`, length after it. */
function findExtension(padding: Uint8Array): Uint8Array | null {
  let position = 0;
  while (position < padding.length) {
    const byte = padding[position++]!;
    const extension = byte >> 1;
    const hasLength = (byte & 1) === 1;
    if (extension === 0 && hasLength) continue;
    if (extension === 0 || extension === 2) return null;
    if (extension < 32) {
      position += hasLength ? 1 : 0;
      continue;
    }
    let size = padding.length - position;
    if (hasLength) {
      size = 0;
      let part: number | undefined;
      do {
        part = padding[position++];
        if (part === undefined) return null;
        size += part;
      } while (part === 255);
    }
    const content = padding.subarray(position, position + size);
    if (extension === EXTENSION_ID && startsWith(content, 0, MAGIC)) {
      return content.length === size ? content.subarray(MAGIC.length) : null;
    }
    position += size;
  }
  return null;
}

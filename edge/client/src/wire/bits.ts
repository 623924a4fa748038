import { RemoteProtocolError } from "./errors";

/** Takes bits off the front of bytes, most significant first. Running out of them is a RemoteProtocolError `bad-frame`. */
export class BitReader {
  readonly #data: Uint8Array;
  #position = 0;

  constructor(data: Uint8Array) {
    this.#data = data;
  }

  /** The next `size` (at most 24) bits. */
  read(size: number): number {
    let value = 0;
    for (let left = size; left > 0;) {
      const byte = this.#data[this.#position >> 3];
      if (byte === undefined) throw new RemoteProtocolError("bad-frame", "frame is cut off");
      const available = 8 - (this.#position & 7);
      const taken = Math.min(available, left);
      value = (value << taken) | ((byte >> (available - taken)) & ((1 << taken) - 1));
      this.#position += taken;
      left -= taken;
    }
    return value;
  }

  /** The next Rice code: zeros, a one, then `parameter` low bits. */
  readRice(parameter: number): number {
    let zeros = 0;
    while (this.read(1) === 0) zeros++;
    return (zeros << parameter) | this.read(parameter);
  }

  /** Nothing but fill bits may be left. */
  finish(): void {
    const left = 8 * this.#data.length - this.#position;
    if (left >= 8 || this.read(left) !== 0) throw new RemoteProtocolError("bad-frame", "bytes behind the frame");
  }
}

import { CONTROL_MESSAGE_SIZE_BYTES_MAX } from "../../wire/control";
import { LocalProtocolError, RemoteProtocolError } from "../../wire/errors";
import type { Bytes } from "../../wire/opusPadding";

/** The control stream of a WebTransport session. Mirrors core/wire/webtransport.py; SPEC.md section 10. */
export const VERSION = 1;
const HEADER_SIZE = 4;

/** What a message is; others are skipped. */
export const ControlKind = { HELLO: 0, TEXT: 1, FEEDBACK: 2 } as const;

export interface StreamMessage {
  readonly kind: number;
  readonly content: Uint8Array;
}

/** kind u8, length u24, content. @throws LocalProtocolError when it is too large. */
export function encodeMessage(kind: number, content: Uint8Array): Bytes {
  if (content.length > CONTROL_MESSAGE_SIZE_BYTES_MAX) {
    throw new LocalProtocolError(
      `message of ${content.length} bytes, at most ${CONTROL_MESSAGE_SIZE_BYTES_MAX} can travel`,
    );
  }
  const bytes = new Uint8Array(HEADER_SIZE + content.length);
  new DataView(bytes.buffer).setUint32(0, ((kind & 0xff) << 24) | content.length);
  bytes.set(content, HEADER_SIZE);
  return bytes;
}

/**
 * The viewer's first message.
 *
 * @param token of the ticket, or a resume token.
 * @param proof of the key that it is bound to; "" where it is bound to none.
 */
export function encodeHello(token: string, proof = ""): Bytes {
  const hello = { version: VERSION, token, ...(proof === "" ? {} : { proof }) };
  return encodeMessage(ControlKind.HELLO, new TextEncoder().encode(JSON.stringify(hello)));
}

/** The POP's answer to an admitted hello. @throws RemoteProtocolError `bad-hello`, `unknown-version`. */
export function checkWelcome(content: Uint8Array): void {
  let welcome: unknown;
  try {
    welcome = JSON.parse(new TextDecoder().decode(content));
  } catch {
    throw new RemoteProtocolError("bad-hello", "the POP's hello is not JSON");
  }
  const version = (welcome as { version?: unknown } | null)?.version;
  if (typeof version !== "number") throw new RemoteProtocolError("bad-hello", "the POP's hello has no version");
  if (version !== VERSION) throw new RemoteProtocolError("unknown-version", `the POP speaks version ${version}`);
}

/** Finds the messages in the bytes of the stream, however they were cut. Keeps at most one message. */
export class ControlReader {
  #buffer = new Uint8Array(0);

  /** The messages that are complete now. @throws RemoteProtocolError `control-too-large`: nothing more can be read. */
  receive(data: Uint8Array): StreamMessage[] {
    const bytes = new Uint8Array(this.#buffer.length + data.length);
    bytes.set(this.#buffer);
    bytes.set(data, this.#buffer.length);
    const view = new DataView(bytes.buffer);
    const messages: StreamMessage[] = [];
    let start = 0;
    while (bytes.length - start >= HEADER_SIZE) {
      const size = view.getUint32(start) & 0xffffff;
      if (size > CONTROL_MESSAGE_SIZE_BYTES_MAX) {
        throw new RemoteProtocolError("control-too-large", `control message of ${size} bytes`);
      }
      const end = start + HEADER_SIZE + size;
      if (end > bytes.length) break;
      messages.push({ kind: bytes[start]!, content: bytes.subarray(start + HEADER_SIZE, end) });
      start = end;
    }
    this.#buffer = bytes.slice(start);
    return messages;
  }
}

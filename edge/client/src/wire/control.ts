import { LocalProtocolError, RemoteProtocolError } from "./errors";

/** Control messages: RTVI's envelope and words, as text. Mirrors core/wire/control.py; SPEC.md section 6. */
export const CONTROL_MESSAGE_SIZE_BYTES_MAX = 16_384;
const LABEL = "rtvi-ai";
const ID_CHARS_MAX = 128;

/** The words both sides know. */
export const CONTROL_TYPES = [
  "client-ready",
  "send-text",
  "client-message",
  "disconnect-bot",
  "bot-ready",
  "user-started-speaking",
  "user-stopped-speaking",
  "user-transcription",
  "bot-started-speaking",
  "bot-stopped-speaking",
  "bot-transcription",
  "bot-tts-text",
  "bot-output",
  "error",
  "error-response",
  "metrics",
  "server-message",
] as const;

export type ControlType = (typeof CONTROL_TYPES)[number];

const KNOWN: ReadonlySet<string> = new Set(CONTROL_TYPES);

export interface ControlMessage {
  /** A word of RTVI; callers ignore those that are not `known`. */
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** Correlates a request and its answer; "" when absent. */
  readonly id: string;
  /** False: a word of another RTVI version. */
  readonly known: boolean;
}

/** One message as JSON text. @throws LocalProtocolError when it is too large. */
export function encodeControl(type: ControlType, data: Readonly<Record<string, unknown>> = {}, id = ""): string {
  const text = JSON.stringify(id === "" ? { label: LABEL, type, data } : { label: LABEL, type, id, data });
  const size = sizeBytes(text);
  if (size > CONTROL_MESSAGE_SIZE_BYTES_MAX) {
    throw new LocalProtocolError(`${type} of ${size} bytes, at most ${CONTROL_MESSAGE_SIZE_BYTES_MAX} can travel`);
  }
  return text;
}

/**
 * One message; words of other RTVI versions come with `known: false`.
 *
 * @throws RemoteProtocolError codes `control-too-large`, `bad-control`, `unknown-label`.
 */
export function decodeControl(text: string): ControlMessage {
  if (sizeBytes(text) > CONTROL_MESSAGE_SIZE_BYTES_MAX) {
    throw new RemoteProtocolError("control-too-large", `control message of ${sizeBytes(text)} bytes`);
  }
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch (error) {
    throw new RemoteProtocolError("bad-control", String(error));
  }
  if (!isRecord(message) || typeof message["label"] !== "string" || typeof message["type"] !== "string") {
    throw new RemoteProtocolError("bad-control", "label and type must be text");
  }
  const { type, id = null, data = null } = message as { type: string; id?: unknown; data?: unknown };
  if ((id !== null && typeof id !== "string") || (data !== null && !isRecord(data))) {
    throw new RemoteProtocolError("bad-control", "id must be text and data an object");
  }
  if (message["label"] !== LABEL) throw new RemoteProtocolError("unknown-label", `label ${message["label"]}`);
  if (id !== null && id.length > ID_CHARS_MAX) throw new RemoteProtocolError("bad-control", "id is too long");
  return { type, data: data ?? {}, id: id ?? "", known: KNOWN.has(type) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function sizeBytes(text: string): number {
  // Every UTF-16 unit is at most three bytes: most messages need no encoding to know.
  return text.length * 3 <= CONTROL_MESSAGE_SIZE_BYTES_MAX ? text.length : new TextEncoder().encode(text).length;
}

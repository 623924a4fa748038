/** What can go wrong between a page and a character: one code per thing a page may want to say differently. */
export type VisavisErrorCode =
  | "browser-unsupported"
  | "origin-unreachable"
  | "origin-refused"
  | "origin-busy"
  | "pop-unreachable"
  | "pop-refused"
  | "pop-busy"
  | "connection-timeout"
  | "connection-lost"
  | "session-ended"
  | "kicked"
  | "microphone-missing"
  | "microphone-denied"
  | "microphone-busy"
  | "microphone-failed"
  | "text-empty"
  | "text-too-long"
  | "closed";

/** Trying again by itself makes no sense after these: a person or a developer has to change something. */
const FINAL_CODES: ReadonlySet<VisavisErrorCode> = new Set([
  "browser-unsupported",
  "origin-refused",
  "kicked",
  "microphone-missing",
  "microphone-denied",
  "microphone-busy",
  "microphone-failed",
  "text-empty",
  "text-too-long",
  "closed",
]);

/** Every error the SDK throws or reports. `message` is for people: what happened and what to do about it. */
export class VisavisError extends Error {
  override readonly name = "VisavisError";
  /** What the server asked for, in milliseconds; 0 when it did not say. */
  readonly retryAfterMs: number;

  constructor(
    readonly code: VisavisErrorCode,
    message: string,
    options: ErrorOptions & { retryAfterMs?: number } = {},
  ) {
    super(message, options);
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }

  /** Whether the session tries again by itself. */
  get retryable(): boolean {
    return !FINAL_CODES.has(this.code);
  }
}

/** What can go wrong between a page and a character, one code per thing the page may want to say differently. */
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
  | "microphone-missing"
  | "microphone-denied"
  | "microphone-busy"
  | "microphone-failed"
  | "text-too-long"
  | "closed";

/** Every error the SDK throws or reports. `message` is a sentence for people: what happened and what to do. */
export class VisavisError extends Error {
  override readonly name = "VisavisError";

  constructor(
    readonly code: VisavisErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The peer sent bytes or messages that are not the protocol. Codes: core/wire/SPEC.md section 7. */
export class RemoteProtocolError extends Error {
  override name = "RemoteProtocolError";
  readonly code: string;

  constructor(code: string, message = code) {
    super(message);
    this.code = code;
  }
}

/** Our own side asked for something the protocol forbids. */
export class LocalProtocolError extends Error {
  override name = "LocalProtocolError";
}

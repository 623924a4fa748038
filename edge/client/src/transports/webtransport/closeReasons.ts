import { VisavisError } from "../../sdk/errors";

/** Codes of a POP that is full, leaving or not ready yet: another one, or a moment later, is better. */
const BUSY: ReadonlySet<string> = new Set(["overloaded", "draining", "pop-stopping", "keys-unavailable", "flood"]);
const FAULTS: ReadonlySet<string> = new Set(["internal-error"]);

/** Why a POP let nobody in, for people. @param reason its error code; "" when the path was gone. */
export function refusal(reason: string): VisavisError {
  if (reason === "" || reason === "connection-lost") {
    return new VisavisError("connection-lost", "The connection to the media server could not be made.");
  }
  if (BUSY.has(reason)) {
    return new VisavisError("pop-busy", "The media server is full just now. It is tried again by itself.");
  }
  if (FAULTS.has(reason)) {
    return new VisavisError(
      "pop-unreachable",
      "The media server has an internal problem. It is tried again by itself.",
    );
  }
  return new VisavisError("pop-refused", `The media server refused the connection (${reason}).`);
}

import { VisavisError } from "../sdk/errors";
import { readProblem, type Problem } from "../sdk/problem";
import type { ProofKey } from "../sdk/proofKey";
import { joinUrl, type TicketPop } from "../sdk/ticket";
import { trickleFragment, type TrickleCandidate } from "./sdp";

const TIMEOUT_MS = 8_000;
/** Candidates that come within this time of each other share one PATCH. */
const TRICKLE_BATCH_MS = 20;

/** What the POP answered to the offer. */
export interface WhipAnswer {
  readonly answer: string;
  /** Where this connection is patched and deleted; null when the POP did not say or hid it (CORS). */
  readonly location: string | null;
}

/**
 * Send the offer. WHIP-like (RFC 9725), but the POP speaks and we listen as well.
 *
 * @param key what the token is bound to; null: to nothing.
 * @throws VisavisError "pop-unreachable", "pop-busy" or "pop-refused".
 */
export async function postOffer(
  pop: TicketPop,
  sessionId: string,
  offer: string,
  signal: AbortSignal,
  key: ProofKey | null = null,
): Promise<WhipAnswer> {
  const url = joinUrl(pop.url, `/v1/sessions/${encodeURIComponent(sessionId)}/webrtc`);
  let response: Response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", ...(await leave("POST", url, pop.token, key)) },
      body: offer,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
  } catch (cause) {
    signal.throwIfAborted();
    throw new VisavisError(
      "pop-unreachable",
      `The nearest media server (${pop.name}) cannot be reached. It is tried again by itself.`,
      { cause },
    );
  }
  if (response.status !== 201) throw offerError(await readProblem(response));
  const location = response.headers.get("Location");
  return { answer: await response.text(), location: location === null ? null : new URL(location, url).href };
}

/** The headers that give leave. */
async function leave(
  method: "POST" | "PATCH",
  url: string,
  token: string,
  key: ProofKey | null,
): Promise<Record<string, string>> {
  if (key === null) return { Authorization: `Bearer ${token}` };
  return { Authorization: `DPoP ${token}`, DPoP: await key.prove(method, url, token) };
}

function offerError(problem: Problem): VisavisError {
  if (problem.status === 429 || problem.status === 503) {
    return new VisavisError("pop-busy", "The media server is full just now. It is tried again by itself.", {
      retryAfterMs: problem.retryAfterMs,
    });
  }
  if (problem.status >= 500) {
    return new VisavisError(
      "pop-unreachable",
      "The media server has an internal problem. It is tried again by itself.",
    );
  }
  return new VisavisError("pop-refused", `The media server refused the connection: ${problem.sentence}`);
}

/** Sends ICE candidates as they are found, a few at a time, once the POP has said where to. */
export class Trickle {
  readonly #waiting: TrickleCandidate[] = [];
  #finished = false;
  #sentFinished = false;
  #target: { location: string; token: string; offer: string; key: ProofKey | null } | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #closed = false;

  /** @param candidate null when gathering is over. */
  add(candidate: TrickleCandidate | null): void {
    if (candidate === null || candidate.candidate === "") this.#finished = true;
    else this.#waiting.push(candidate);
    this.#schedule();
  }

  /** The POP has answered; send what is waiting. */
  open(location: string, token: string, offer: string, key: ProofKey | null = null): void {
    this.#target = { location, token, offer, key };
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#closed || this.#timer !== null || this.#target === null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#flush();
    }, TRICKLE_BATCH_MS);
  }

  async #flush(): Promise<void> {
    const target = this.#target;
    if (target === null || (this.#waiting.length === 0 && (!this.#finished || this.#sentFinished))) return;
    const candidates = this.#waiting.splice(0);
    this.#sentFinished = this.#finished;
    try {
      const response = await fetch(target.location, {
        method: "PATCH",
        headers: {
          "Content-Type": "application/trickle-ice-sdpfrag",
          ...(await leave("PATCH", target.location, target.token, target.key)),
        },
        body: trickleFragment(target.offer, candidates, this.#finished),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (!response.ok)
        console.warn(`visavis: the POP did not take ${candidates.length} ICE candidates (${response.status})`);
    } catch (error) {
      // Connectivity checks reach the POP without our candidates being known to it, so this is not the end.
      if (!this.#closed) console.warn("visavis: ICE candidates could not be sent", error);
    }
  }
}

/** Tell the POP that this viewer has left; survives the page being closed, never fails. */
export function deleteConnection(location: string, token: string): void {
  void fetch(location, { method: "DELETE", keepalive: true, headers: { Authorization: `Bearer ${token}` } }).catch(
    () => undefined,
  );
}

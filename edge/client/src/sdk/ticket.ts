import { VisavisError } from "./errors";
import { readProblem, type Problem } from "./problem";
import type { ProofKey } from "./proofKey";

/** Where a POP takes WebTransport sessions. */
export interface TicketWebTransport {
  readonly url: string;
  /** base64 of the SHA-256 of certificates to accept; none: one of a certificate authority. */
  readonly certificateHashes: readonly string[];
}

/** One POP that will take the session, with the token that opens it. */
export interface TicketPop {
  readonly name: string;
  readonly url: string;
  readonly token: string;
  /** null when this POP speaks WebRTC only. */
  readonly webtransport: TicketWebTransport | null;
}

/** What the origin answers to `POST /v1/sessions` (ARCHITECTURE.md, Tickets). */
export interface Ticket {
  readonly sessionId: string;
  readonly character: { readonly id: string; readonly name: string; readonly puppet: string | null };
  readonly pops: readonly TicketPop[];
  readonly iceServers: readonly RTCIceServer[];
  /** What its tokens are bound to; null: to nothing. */
  readonly key: ProofKey | null;
}

/** What is asked for. */
export interface TicketWishes {
  readonly character?: string | undefined;
  readonly mode?: "conversation" | "mirror" | undefined;
  readonly key?: ProofKey | null;
  /** The same one gets the same session: for asking again when no answer was heard. */
  readonly requestId?: string;
}

const TIMEOUT_MS = 8_000;

/**
 * Ask the origin for a session.
 *
 * @throws VisavisError "origin-unreachable", "origin-busy" or "origin-refused".
 */
export async function requestTicket(originUrl: string, wishes: TicketWishes, signal: AbortSignal): Promise<Ticket> {
  const { character, mode = "conversation", key = null, requestId } = wishes;
  const body = {
    character,
    ...(mode === "conversation" ? {} : { mode }),
    ...(key === null ? {} : { key: key.jwk }),
    ...(requestId === undefined ? {} : { request_id: requestId }),
  };
  const response = await ask(joinUrl(originUrl, "/v1/sessions"), {}, body, signal);
  if (!response.ok) throw ticketError(await readProblem(response));
  return readTicket(response, key);
}

/**
 * Ask for new tickets of a session: its POP is gone, and the page proves that the session is its own.
 *
 * @param avoid names of POPs that have just failed.
 * @throws VisavisError "session-ended" when there is no such session any more; else as `requestTicket`.
 */
export async function renewTicket(
  originUrl: string,
  ticket: Ticket,
  avoid: readonly string[],
  signal: AbortSignal,
): Promise<Ticket> {
  const url = joinUrl(originUrl, `/v1/sessions/${encodeURIComponent(ticket.sessionId)}/tickets`);
  const proof = (await ticket.key?.prove("POST", url, "")) ?? "";
  const response = await ask(url, { DPoP: proof }, { avoid }, signal);
  if (!response.ok) {
    const problem = await readProblem(response);
    if (problem.status >= 500 || problem.status === 429) throw ticketError(problem);
    throw new VisavisError("session-ended", `The conversation cannot go on: ${problem.sentence}`);
  }
  return readTicket(response, ticket.key);
}

async function readTicket(response: Response, key: ProofKey | null): Promise<Ticket> {
  const body: unknown = await response.json().catch(() => null);
  const { issued_at: issuedAtS } = (body ?? {}) as { issued_at?: unknown };
  if (typeof issuedAtS === "number") key?.setClock(issuedAtS);
  return { ...parseTicket(body), key };
}

async function ask(
  url: string,
  headers: Record<string, string>,
  body: unknown,
  signal: AbortSignal,
): Promise<Response> {
  try {
    return await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify(body),
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
  } catch (cause) {
    signal.throwIfAborted();
    throw new VisavisError(
      "origin-unreachable",
      "The service cannot be reached. Check your internet connection; if it works, the service is down.",
      { cause },
    );
  }
}

/** Join a base URL, with or without a path or slash, and an absolute path. */
export function joinUrl(base: string, path: string): string {
  return base.replace(/\/+$/, "") + path;
}

function ticketError(problem: Problem): VisavisError {
  if (problem.status === 429 || problem.status === 503) {
    return new VisavisError("origin-busy", "All places are taken just now. It is tried again by itself.", {
      retryAfterMs: problem.retryAfterMs,
    });
  }
  if (problem.status >= 500) {
    return new VisavisError("origin-unreachable", "The service has an internal problem. It is tried again by itself.");
  }
  return new VisavisError("origin-refused", `The service refused to start a conversation: ${problem.sentence}`);
}

/** Check the answer's shape. @throws VisavisError "origin-refused" when it is not a ticket. */
export function parseTicket(body: unknown): Ticket {
  const ticket = body as {
    session_id?: unknown;
    character?: { id?: unknown; name?: unknown; puppet?: unknown };
    pops?: unknown;
    ice_servers?: unknown;
  } | null;
  const pops = Array.isArray(ticket?.pops) ? ticket.pops.map(parsePop).filter((pop) => pop !== null) : [];
  if (typeof ticket?.session_id !== "string" || pops.length === 0) {
    throw new VisavisError(
      "origin-refused",
      "The service answered, but named no place to connect to. It may still be starting; try again in a moment.",
    );
  }
  const character = ticket.character ?? {};
  const id = typeof character.id === "string" ? character.id : "";
  return {
    sessionId: ticket.session_id,
    character: {
      id,
      name: typeof character.name === "string" ? character.name : id,
      puppet: typeof character.puppet === "string" && character.puppet !== "" ? character.puppet : null,
    },
    pops,
    iceServers: Array.isArray(ticket.ice_servers) ? (ticket.ice_servers as RTCIceServer[]) : [],
    key: null,
  };
}

/** null when it is none. */
function parsePop(value: unknown): TicketPop | null {
  const pop = value as Partial<Record<keyof TicketPop, unknown>> | null;
  if (typeof pop?.url !== "string" || typeof pop.token !== "string" || typeof pop.name !== "string") return null;
  return { name: pop.name, url: pop.url, token: pop.token, webtransport: parseWebTransport(pop.webtransport) };
}

/** null when it is none: WebRTC is there all the same. */
function parseWebTransport(value: unknown): TicketWebTransport | null {
  const given = value as { url?: unknown; certificate_hashes?: unknown } | null | undefined;
  if (typeof given?.url !== "string" || !given.url.startsWith("https://")) return null;
  const hashes: unknown[] = Array.isArray(given.certificate_hashes) ? given.certificate_hashes : [];
  return { url: given.url, certificateHashes: hashes.filter((hash) => typeof hash === "string") };
}

import { VisavisError } from "./errors";
import { readProblem, type Problem } from "./problem";

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
}

const TIMEOUT_MS = 8_000;

/**
 * Ask the origin for a session.
 *
 * @throws VisavisError "origin-unreachable", "origin-busy" or "origin-refused".
 */
export async function requestTicket(
  originUrl: string,
  character: string | undefined,
  signal: AbortSignal,
  mode: "conversation" | "mirror" = "conversation",
): Promise<Ticket> {
  let response: Response;
  try {
    response = await fetch(joinUrl(originUrl, "/v1/sessions"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ character, ...(mode === "conversation" ? {} : { mode }) }),
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
  if (!response.ok) throw ticketError(await readProblem(response));
  return parseTicket(await response.json().catch(() => null));
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

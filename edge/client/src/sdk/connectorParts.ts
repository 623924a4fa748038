import type { Link, LinkEvents, LinkOptions } from "../transports/link";
import type { UnitReport } from "../transports/messages";
import { VisavisError } from "./errors";
import type { ConnectionState } from "./events";
import type { LinkHealth } from "./linkHealth";
import type { Ticket, TicketPop } from "./ticket";

/** What a connector tells its session. */
export interface ConnectorEvents {
  readonly onTicket: (ticket: Ticket) => void;
  /** Media time is about to count anew. `kept`: at another POP, the conversation is the same; else it is a new one. */
  readonly onFresh: (kept: boolean) => void;
  /** This link carries the session from now on. `resumed`: it is the same conversation as before. */
  readonly onLink: (link: Link, resumed: boolean) => void;
  /** No link carries it. */
  readonly onNoLink: () => void;
  readonly onUnit: (unit: UnitReport) => void;
  readonly onControl: (data: string) => void;
  readonly onState: (state: ConnectionState, error: VisavisError | null, retryInMs: number | null) => void;
}

/** What a connector works with; tests give others. */
export interface ConnectorParts {
  readonly requestTicket: (signal: AbortSignal) => Promise<Ticket>;
  /** New tickets for the same session, at other POPs than these if there are any. */
  readonly renewTicket: (ticket: Ticket, avoid: readonly string[], signal: AbortSignal) => Promise<Ticket>;
  /** Whether this POP answers at all; quick to say no where its machine refuses. */
  readonly answers: (pop: TicketPop, signal: AbortSignal) => Promise<boolean>;
  readonly openLink: (options: LinkOptions, events: LinkEvents) => Promise<Link>;
  /** How links are to be opened now. */
  readonly wishes: () => Pick<LinkOptions, "transport" | "microphone" | "direction">;
  /** The POPs to try, in order. */
  readonly pops: (ticket: Ticket, signal: AbortSignal) => readonly TicketPop[] | Promise<readonly TicketPop[]>;
  /** A number in [0, 1). */
  readonly random: () => number;
}

/** A link with what is known of it. */
export interface Source {
  readonly health: LinkHealth;
  /** null until it is open. */
  link: Link | null;
  /** It has brought something: the POP has moved the session to it. */
  heard: boolean;
  /** Links of one POP carry one track; at another POP a new track begins. */
  readonly track: number;
}

/** A second link that is being opened beside the first. */
export interface Race {
  source: Source;
  abort: AbortController;
  readonly startedMs: number;
  /** The first link was merely silent: when it recovers, the race is off. */
  readonly bySilence: boolean;
}

/** How long a link has brought nothing; 0 where motion cannot be read, so that nobody knows. */
export function silenceOf({ health, link }: Source, nowMs: number): number {
  return link === null || link.motion === "none" ? 0 : health.silentMs(nowMs);
}

export function asVisavisError(cause: unknown): VisavisError {
  if (cause instanceof VisavisError) return cause;
  return new VisavisError("connection-lost", "The connection could not be made. It is tried again by itself.", {
    cause,
  });
}

import type { Link } from "../transports/link";
import { backoffMs } from "./backoff";
import {
  asVisavisError,
  silenceOf,
  type ConnectorEvents,
  type ConnectorParts,
  type Race,
  type Source,
} from "./connectorParts";
import { VisavisError } from "./errors";
import type { ConnectionState } from "./events";
import { LinkHealth } from "./linkHealth";
import { RESUME_GRACE_MS, ResumeToken } from "./resumeToken";
import type { Ticket, TicketPop } from "./ticket";

/** Units come at least every 80 ms; after this long without one, a second link is tried beside the first. */
export const TROUBLE_MS = 700;
/** After this long the POP is asked whether it is there at all: a machine that refuses says so at once. */
const SUSPICION_MS = 350;
/** After this long without a unit the link is dead, whatever it says of itself. */
const SILENCE_MS_MAX = 3_000;
/** An attempt to move to a second link is given up after this: the network may have changed once more meanwhile. */
const RACE_MS_MAX = 4_000;
/** A switch is told when it lasts longer than this. */
const SWITCHING_MS_MIN = 1_000;
/** So long after the last attempt to switch, the next one need not wait. */
const RACES_FORGOTTEN_MS = 30_000;
const TICK_MS = 100;
/** A connection that lived shorter than this counts as a failed attempt: a POP that takes and drops is not hammered. */
const LIVED_MS_MIN = 5_000;

const POP_GONE = new VisavisError("pop-unreachable", "The media server is gone.");

/**
 * Keeps a session connected: asks for tickets, opens links, repeats that with growing delays, and moves to another link
 * when the network changes.
 *
 * Moving is a race. When the link goes silent or the network changes, a second link is opened with the resume token
 * while the first may still live; whichever brings units first stays. The POP moves the session to whoever connected
 * last, so a race is never abandoned once its link has brought anything. When both are lost the conversation is resumed
 * as long as the POP keeps it. Where the POP itself is gone the origin gives new tickets for the same session, and the
 * conversation goes on at another POP. Only where there is no such session any more it begins anew.
 */
export class Connector {
  readonly #events: ConnectorEvents;
  readonly #parts: ConnectorParts;
  readonly #abort = new AbortController();
  readonly #resume = new ResumeToken();
  #state: ConnectionState = "connecting";
  #attempt = 0;
  #attemptsMax = Infinity;
  #ticket: Ticket | null = null;
  #pop: TicketPop | null = null;
  #track = 0;
  /** POPs that failed since the last success. */
  readonly #failed = new Set<string>();
  #source: Source | null = null;
  /** Why the current link is gone; a race may still save the session. */
  #lost: VisavisError | null = null;
  #connectedMs = 0;
  #lastUnitMs = -Infinity;
  #race: Race | null = null;
  #races = 0;
  #raceEndedMs = -Infinity;
  #raceAllowedMs = -Infinity;
  /** The last attempt to resume failed: the next attempt asks for a ticket first. */
  #resumeFailed = false;
  #wake: (() => void) | null = null;
  #ticking: ReturnType<typeof setInterval> | null = null;
  #silentTicks = 0;
  #suspected: Source | null = null;

  constructor(parts: ConnectorParts, events: ConnectorEvents) {
    this.#parts = parts;
    this.#events = events;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Attempts since the last success. */
  get attempt(): number {
    return this.#attempt;
  }

  /** The link that carries the session; null while none does. */
  get link(): Link | null {
    return this.#source?.link ?? null;
  }

  /** Connect; repeats attempts until connected or closed. @throws VisavisError when trying again makes no sense. */
  async start(attemptsMax: number): Promise<void> {
    this.#attemptsMax = attemptsMax;
    await this.#connectLoop("connecting");
    this.#attemptsMax = Infinity;
  }

  /** Send a control message; false when there is no link, or one that went silent and would swallow it. */
  sendControl(data: string): boolean {
    const source = this.#source;
    if (source === null || silenceOf(source, performance.now()) > TROUBLE_MS) return false;
    return source.link?.sendControl(data) ?? false;
  }

  /** The POP sent a resume token. */
  noteResume(data: unknown): void {
    this.#resume.note(data, performance.now());
  }

  /** The device changed its network, or has one again: move there, and do not wait for the rest of any delay. */
  networkChanged(): void {
    this.retryNow();
    const race = this.#race;
    if (race === null) {
      this.#tryOther(false);
      return;
    }
    // The race may hang on the network that is gone; the next one begins with the next tick.
    if (race.source.heard || performance.now() - race.startedMs < TROUBLE_MS) return;
    race.abort.abort(new VisavisError("connection-timeout", "The network changed once more."));
    this.#raceAllowedMs = -Infinity;
  }

  /** Try again at once instead of waiting for the rest of the delay. */
  retryNow(): void {
    this.#wake?.();
  }

  /** The server wants the session gone from there: begin anew with another ticket. */
  startOver(error: VisavisError): void {
    this.#resume.forget();
    void this.#reconnect(error, true);
  }

  /** End for good, with a farewell. Idempotent. */
  close(error: VisavisError | null): void {
    if (this.#state === "closed") return;
    this.#dropLink(true);
    this.#abort.abort(new VisavisError("closed", "The conversation was closed."));
    this.#wake?.();
    this.#setState("closed", error, null);
  }

  // --- from nothing --------------------------------------------------------------------------------------------

  async #connectLoop(state: "connecting" | "reconnecting"): Promise<void> {
    const { signal } = this.#abort;
    let error: VisavisError | null = null;
    for (;;) {
      signal.throwIfAborted();
      this.#setState(state, error, null);
      try {
        await this.#connectOnce();
        this.#setState("connected", null, null);
        return;
      } catch (cause) {
        signal.throwIfAborted();
        error = asVisavisError(cause);
        if (!error.retryable || this.#attempt + 1 >= this.#attemptsMax) {
          this.close(error);
          throw error;
        }
        this.#attempt += 1;
        const delayMs = backoffMs(this.#attempt, this.#parts.random(), error.retryAfterMs);
        this.#setState(state, error, delayMs);
        await this.#sleep(delayMs);
      }
    }
  }

  /** Resume the conversation while the POP keeps it, or begin another one. */
  async #connectOnce(): Promise<void> {
    const { signal } = this.#abort;
    if (this.#mayResume() && !this.#resumeFailed) {
      if ((await this.#resumeWith(this.#newSource(0), new AbortController())) === null) return;
      signal.throwIfAborted();
    }
    this.#resumeFailed = false;
    if (this.#mayGoElsewhere()) {
      const error = await this.#renew(signal).then(
        (ticket) => this.#openElsewhere(ticket, null, signal),
        (cause: unknown) => asVisavisError(cause),
      );
      if (error === null) return;
      signal.throwIfAborted();
      if (error.code !== "session-ended") throw error;
    }
    if (!this.#mayResume()) this.#events.onFresh(false);
    const ticket = await this.#parts.requestTicket(signal);
    this.#resume.forget();
    this.#ticket = ticket;
    this.#events.onTicket(ticket);
    let lastError: unknown = null;
    for (const pop of await this.#parts.pops(ticket, signal)) {
      this.#events.onFresh(false);
      const source = this.#newSource(1);
      this.#track = source.track;
      this.#pop = pop;
      try {
        await this.#open(source, ticket, pop, false, signal);
        this.#adopt(source, false);
        return;
      } catch (error) {
        signal.throwIfAborted();
        lastError = error;
      }
    }
    throw lastError;
  }

  async #open(source: Source, ticket: Ticket, pop: TicketPop, resuming: boolean, signal: AbortSignal): Promise<void> {
    const options = { ticket, pop, resuming, signal, ...this.#parts.wishes() };
    const link = await this.#parts.openLink(options, {
      onUnit: (unit) => {
        if (!this.#onTrack(source)) return;
        source.heard = true;
        source.health.unit(performance.now());
        this.#events.onUnit(unit);
      },
      onControl: (data) => {
        if (!this.#onTrack(source)) return;
        source.heard = true;
        this.#events.onControl(data);
      },
      onUnsteady: () => {
        if (source === this.#source) this.#tryOther(false);
      },
      onDegraded: () => {
        if (source === this.#source) this.#tryOther(false);
      },
      onLost: (error) => {
        if (source !== this.#source) return;
        this.#lost = error;
        if (this.#race === null && !this.#tryOther(false)) void this.#reconnect(error, false);
      },
    });
    if (signal.aborted) link.close(!resuming);
    signal.throwIfAborted();
    source.link = link;
  }

  /** Whether this link's track is the one that counts; the first that is heard of a new one makes it that. */
  #onTrack(source: Source): boolean {
    if (source.track > this.#track) {
      this.#track = source.track;
      this.#events.onFresh(true);
    }
    return source.track === this.#track;
  }

  /** @param ahead 0: the track goes on; 1: it will be another one. */
  #newSource(ahead: 0 | 1): Source {
    return { health: new LinkHealth(performance.now()), link: null, heard: false, track: this.#track + ahead };
  }

  #adopt(source: Source, resumed: boolean): void {
    this.#onTrack(source);
    this.#failed.clear();
    const before = this.#source;
    this.#source = source;
    this.#lost = null;
    this.#resumeFailed = false;
    this.#silentTicks = 0;
    this.#connectedMs = performance.now();
    source.health.unit(this.#connectedMs);
    this.#events.onLink(source.link!, resumed);
    before?.link?.close(false);
    this.#ticking ??= setInterval(this.#tick, TICK_MS);
  }

  async #reconnect(error: VisavisError, farewell: boolean): Promise<void> {
    if (this.#source === null) return;
    this.#race?.abort.abort(error);
    this.#dropLink(farewell);
    if (performance.now() - this.#connectedMs >= LIVED_MS_MIN) {
      this.#attempt = 0;
      this.#setState("reconnecting", error, null);
    } else {
      this.#attempt += 1;
      const delayMs = backoffMs(this.#attempt, this.#parts.random());
      this.#setState("reconnecting", error, delayMs);
      await this.#sleep(delayMs);
    }
    await this.#connectLoop("reconnecting").catch(() => undefined);
  }

  #dropLink(farewell: boolean): void {
    if (this.#ticking !== null) clearInterval(this.#ticking);
    this.#ticking = null;
    this.#lost = null;
    const source = this.#source;
    if (source === null) return;
    this.#source = null;
    this.#lastUnitMs = source.health.lastMs;
    source.link?.close(farewell);
    this.#events.onNoLink();
  }

  #setState(state: ConnectionState, error: VisavisError | null, retryInMs: number | null): void {
    this.#state = state;
    this.#events.onState(state, error, retryInMs);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wake = null;
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#wake = done;
    });
  }

  // --- from one link to another --------------------------------------------------------------------------------

  #mayResume(): boolean {
    const nowMs = performance.now();
    return this.#resume.usable(nowMs) && nowMs - this.#lastUnitMs < RESUME_GRACE_MS;
  }

  /** Open another link to the same session and move there. @returns null, or why that failed. */
  async #resumeWith(source: Source, attempt: AbortController): Promise<VisavisError | null> {
    const token = this.#resume.take(performance.now());
    const timer = setTimeout(() => {
      if (!source.heard) attempt.abort(new VisavisError("connection-timeout", "The media server did not answer."));
    }, RACE_MS_MAX);
    const signal = AbortSignal.any([this.#abort.signal, attempt.signal]);
    try {
      await this.#open(source, this.#ticket!, { ...this.#pop!, token: token! }, true, signal);
      this.#adopt(source, true);
      return null;
    } catch (cause) {
      const error = asVisavisError(cause);
      // Nobody knows whether a token that was not refused reached the POP. Trying it again costs one request.
      if (error.code !== "pop-refused") this.#resume.putBack(token!);
      return error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Race a second link against the one that may be dying. @returns false when it is not the time for that. */
  #tryOther(bySilence: boolean): boolean {
    const nowMs = performance.now();
    if (this.#source === null || this.#race !== null || nowMs < this.#raceAllowedMs) return false;
    if (!this.#resume.usable(nowMs) && !this.#mayGoElsewhere()) return false;
    void this.#runRace(bySilence);
    return true;
  }

  async #runRace(bySilence: boolean): Promise<void> {
    const startedMs = performance.now();
    if (startedMs - this.#raceEndedMs > RACES_FORGOTTEN_MS) this.#races = 0;
    const race: Race = { source: this.#newSource(0), abort: new AbortController(), startedMs, bySilence };
    this.#race = race;
    const error = await this.#moveOn(race);
    this.#race = null;
    this.#races += 1;
    this.#raceEndedMs = performance.now();
    this.#raceAllowedMs = this.#raceEndedMs + backoffMs(this.#races, this.#parts.random());
    if (this.#state === "closed") return;
    if (error === null) {
      if (this.#state === "switching") this.#setState("connected", null, null);
      return;
    }
    this.#resumeFailed = true;
    if (this.#lost !== null) void this.#reconnect(this.#lost, false);
  }

  /** Open another link at this POP, or at another one where this one is gone. @returns null, or why that failed. */
  async #moveOn(race: Race): Promise<VisavisError | null> {
    const { abort } = race;
    const here = this.#resume.usable(performance.now())
      ? this.#resumeWith(race.source, abort)
      : Promise.resolve(new VisavisError("connection-lost", "There is no way back to this media server."));
    if (!this.#mayGoElsewhere()) return here;
    const gone = this.#parts.answers(this.#pop!, AbortSignal.any([this.#abort.signal, abort.signal]));
    const noAnswer = gone.then<VisavisError | null>((answers) => (answers ? here : POP_GONE));
    if ((await Promise.race([here, noAnswer])) === null || isAborted(abort)) return here;
    this.#failed.add(this.#pop!.name);
    // Without a network the origin is as far away as the POP is, and the other link may still come up.
    const ticket = await this.#renew(abort.signal).catch(() => null);
    if (ticket === null || isAborted(abort) || race.source.heard) return here;
    race.abort = new AbortController();
    abort.abort(POP_GONE);
    if ((await here) === null) return null;
    return this.#openElsewhere(ticket, race, race.abort.signal);
  }

  /** Whether this page can prove that the session is its own. */
  #mayGoElsewhere(): boolean {
    return this.#pop !== null && (this.#ticket?.key ?? null) !== null;
  }

  #renew(signal: AbortSignal): Promise<Ticket> {
    if (this.#pop !== null) this.#failed.add(this.#pop.name);
    return this.#parts.renewTicket(this.#ticket!, [...this.#failed], AbortSignal.any([this.#abort.signal, signal]));
  }

  /** Go on at another POP: a new track, the same conversation. @returns null, or why that failed. */
  async #openElsewhere(ticket: Ticket, race: Race | null, signal: AbortSignal): Promise<VisavisError | null> {
    const both = AbortSignal.any([this.#abort.signal, signal]);
    let last: VisavisError | null = null;
    try {
      for (const pop of await this.#parts.pops(ticket, both)) {
        const source = this.#newSource(1);
        if (race !== null) race.source = source;
        try {
          await this.#open(source, ticket, pop, true, both);
        } catch (cause) {
          both.throwIfAborted();
          this.#failed.add(pop.name);
          last = asVisavisError(cause);
          continue;
        }
        this.#resume.forget();
        this.#ticket = ticket;
        this.#pop = pop;
        this.#events.onTicket(ticket);
        this.#adopt(source, false);
        return null;
      }
    } catch (cause) {
      return asVisavisError(cause);
    }
    return last;
  }

  /** Look after the link. Silence counts when two ticks in a row see it: a page that was busy hears of units late. */
  readonly #tick = (): void => {
    const source = this.#source;
    if (source === null) return;
    const nowMs = performance.now();
    const silentMs = silenceOf(source, nowMs);
    this.#silentTicks = silentMs > TROUBLE_MS ? this.#silentTicks + 1 : 0;
    const silent = this.#silentTicks > 1 || this.#lost !== null;
    const race = this.#race;
    if (race === null && !silent && silentMs > SUSPICION_MS) void this.#suspect(source);
    if (race !== null) {
      const recovered = race.bySilence && !race.source.heard && source.health.steady(nowMs);
      if (recovered) race.abort.abort(new VisavisError("connection-timeout", "The first link recovered."));
      else if (silent && nowMs - race.startedMs > SWITCHING_MS_MIN) this.#tell("switching");
    } else if (silent && silentMs > SILENCE_MS_MAX) {
      const message = "Nothing comes from the media server any more. It is connected again by itself.";
      void this.#reconnect(new VisavisError("connection-lost", message), false);
      return;
    } else if (silent) {
      this.#tryOther(true);
    }
    if (!silent) this.#tell("connected");
  };

  /** Ask a POP that went silent whether it is there; when it is not, do not wait for more silence. */
  async #suspect(source: Source): Promise<void> {
    if (this.#suspected === source || !this.#mayGoElsewhere()) return;
    this.#suspected = source;
    const answers = await this.#parts.answers(this.#pop!, this.#abort.signal);
    this.#suspected = null;
    if (!answers && this.#source === source && silenceOf(source, performance.now()) > SUSPICION_MS)
      this.#tryOther(true);
  }

  /** Tell a state that is not told yet. */
  #tell(state: "connected" | "switching"): void {
    if (this.#state !== state) this.#setState(state, null, null);
  }
}

function isAborted({ signal }: AbortController): boolean {
  return signal.aborted;
}

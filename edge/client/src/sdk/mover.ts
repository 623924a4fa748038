import { Succession } from "../stream/succession";
import type { Link, LinkEvents, SoundSource } from "../transports/link";
import type { UnitReport } from "../transports/messages";
import { decodeControl, encodeControl } from "../wire/control";
import type { Source } from "./connectorParts";
import { parsePop, type TicketPop } from "./ticket";

/** How often the POP is told that its preview can be decoded, until it says that it counts. */
const SAY_MS = 100;
/** The new link's sound should be running by then; the face does not wait for it any longer. */
const SOUND_MS_MAX = 1_500;

/** What a mover moves. */
export interface MoverParts {
  /** Open a link to another POP beside the one that carries the session. @throws VisavisError */
  readonly openBeside: (pop: TicketPop, events: LinkEvents, onSound: (sound: SoundSource) => void) => Promise<Source>;
  /** That link carries the session from now on. @returns the one that did. */
  readonly goTo: (source: Source, pop: TicketPop) => Link | null;
  /** Let a sound run where nobody hears it. */
  readonly prepare: (sound: SoundSource) => void;
  /** It comes from this link. */
  readonly await: (link: Link) => void;
  /** It will not be heard. */
  readonly discard: () => void;
  /** Draw these units, and hear that link from a media time on at which both are. Resolves when that is so. */
  readonly switchTo: (link: Link, units: readonly UnitReport[]) => Promise<void>;
}

interface Standby {
  readonly epoch: number;
  readonly pop: TicketPop;
  readonly succession: Succession;
  source: Source | null;
  preparedMs: number;
  saidMs: number;
}

/**
 * Moves the session to another POP when the one that has it says so: both send for a moment, and the page changes over
 * when the other one says that its epoch counts. Until then nothing has happened, whatever fails.
 */
export class Mover {
  readonly #parts: MoverParts;
  #standby: Standby | null = null;

  constructor(parts: MoverParts) {
    this.#parts = parts;
  }

  /** The POP says where the session is about to go. @param data of its `goaway`; anything is accepted. */
  async follow(data: unknown): Promise<void> {
    const { epoch, pop: offered } = (data ?? {}) as { epoch?: unknown; pop?: unknown };
    const pop = parsePop(offered);
    if (pop === null || typeof epoch !== "number" || this.#standby !== null) return;
    const standby: Standby = {
      epoch,
      pop,
      succession: new Succession(),
      source: null,
      preparedMs: Infinity,
      saidMs: -Infinity,
    };
    this.#standby = standby;
    const give = (): void => {
      this.#drop(standby);
    };
    try {
      standby.source = await this.#parts.openBeside(
        pop,
        {
          onUnit: (unit) => {
            this.#unit(standby, unit);
          },
          onControl: (text) => {
            this.#control(standby, text);
          },
          onUnsteady: () => undefined,
          onDegraded: () => undefined,
          onLost: give,
        },
        this.#parts.prepare,
      );
    } catch {
      give();
      return;
    }
    if (this.#standby !== standby) {
      standby.source.link?.close(false);
      return;
    }
    standby.preparedMs = performance.now();
    this.#parts.await(standby.source.link!);
  }

  /** The session stays where it is. @param data of the POP's `stay`. */
  stay(data: unknown): void {
    const { epoch } = (data ?? {}) as { epoch?: unknown };
    if (this.#standby !== null && this.#standby.epoch === epoch) this.#drop(this.#standby);
  }

  /** A unit of the POP that has the session. */
  owned(unit: UnitReport): void {
    this.#standby?.succession.owned(unit);
  }

  close(): void {
    if (this.#standby !== null) this.#drop(this.#standby);
  }

  #drop(standby: Standby): void {
    if (this.#standby !== standby) return;
    this.#standby = null;
    this.#parts.discard();
    standby.source?.link?.close(false);
  }

  #unit(standby: Standby, unit: UnitReport): void {
    if (this.#standby !== standby) return;
    standby.succession.previewed(unit);
    if (!unit.preview) this.#succeed(standby);
    else this.#say(standby);
  }

  /** Tell the POP that the viewer is ready: it can decode its motion, and its sound is running. */
  #say(standby: Standby): void {
    const link = standby.source?.link ?? null;
    const nowMs = performance.now();
    if (link === null || !standby.succession.decodable || nowMs - standby.saidMs < SAY_MS) return;
    if (link.playout() === null && nowMs - standby.preparedMs < SOUND_MS_MAX) return;
    standby.saidMs = nowMs;
    const behindMs = Math.round(standby.succession.behindMs * 10) / 10;
    const d = { epoch: standby.epoch, behind_ms: behindMs };
    link.sendControl(encodeControl("client-message", { t: "preview", d }));
  }

  /** All that a POP may say before the session is its own is that it now is. */
  #control(standby: Standby, text: string): void {
    if (this.#standby !== standby) return;
    try {
      const { data } = decodeControl(text);
      const { epoch } = (data["d"] ?? {}) as { epoch?: unknown };
      if (data["t"] === "commit" && epoch === standby.epoch) this.#succeed(standby);
    } catch {
      // Of no use; the POP's next unit says the same.
    }
  }

  #succeed(standby: Standby): void {
    const source = standby.source;
    const link = source?.link ?? null;
    if (source === null || link === null) return;
    this.#standby = null;
    const units = standby.succession.commit();
    const former = this.#parts.goTo(source, standby.pop);
    void this.#parts.switchTo(link, units).then(() => {
      link.sendControl(encodeControl("client-message", { t: "committed", d: { epoch: standby.epoch } }));
      former?.close(false);
    });
  }
}

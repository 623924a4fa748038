import type { UnitReport } from "../transports/messages";
import { TICKS_PER_MS } from "./timestamps";

/** Units of the successor that are remembered while the session moves: five seconds. */
const KEPT_MAX = 256;
/** One unit may have been late by chance. */
const DECODED_MIN = 4;

/**
 * Which units are drawn while a session moves to another POP. Pure. The same as core/stream/succession.py, but that the
 * sound is played where the link is.
 *
 * The successor sends the same media times as the owner, marked as a preview: they are kept, and drawn only when its
 * epoch counts.
 */
export class Succession {
  readonly #kept: UnitReport[] = [];
  #decoded = 0;
  /** Media times count from the first unit that is seen. */
  #zero: number | null = null;
  #newestOwned = -Infinity;
  #ownerMs = Infinity;
  #successorMs = Infinity;

  /** Faces of the successor could be decoded, enough of them to compare the two. */
  get decodable(): boolean {
    return this.#decoded >= DECODED_MIN;
  }

  /** How much later a media time comes from the successor than from the owner, in milliseconds; 0 while unknown. */
  get behindMs(): number {
    const behindMs = this.#successorMs - this.#ownerMs;
    return Number.isFinite(behindMs) ? behindMs : 0;
  }

  /** A unit of the owner came. */
  owned(unit: UnitReport): void {
    const ticks = this.#ticksOf(unit);
    this.#newestOwned = Math.max(this.#newestOwned, ticks);
    if (!unit.repaired) this.#ownerMs = Math.min(this.#ownerMs, unit.absoluteMs - ticks / TICKS_PER_MS);
  }

  /** A unit of the successor came. */
  previewed(unit: UnitReport): void {
    const ticks = this.#ticksOf(unit);
    if (unit.values !== null) this.#decoded += 1;
    if (!unit.repaired) this.#successorMs = Math.min(this.#successorMs, unit.absoluteMs - ticks / TICKS_PER_MS);
    this.#kept.push(unit);
    if (this.#kept.length > KEPT_MAX) this.#kept.shift();
  }

  /** The successor's epoch counts. @returns its units that the owner had not brought, in the order of their times. */
  commit(): UnitReport[] {
    const newer = this.#kept.filter((unit) => this.#ticksOf(unit) > this.#newestOwned);
    return newer.sort((one, other) => this.#ticksOf(one) - this.#ticksOf(other));
  }

  #ticksOf({ rtpTimestamp }: UnitReport): number {
    this.#zero ??= rtpTimestamp;
    return (rtpTimestamp - this.#zero) | 0;
  }
}

import { TICKS_PER_MS } from "./timestamps";

const WINDOW_MS = 1_500;
const JITTER_MS_MIN = 4;
const JITTER_MS_MAX = 70;
const INTERVAL_MS_MAX = 100;
/** Bounds the window against a flood; at 50 packets a second it holds 75. */
const ARRIVALS_MAX = 512;

interface Arrival {
  readonly atMs: number;
  readonly offsetMs: number;
}

/**
 * When a frame may be drawn if nobody listens to it: as soon as it is there, plus just enough delay that the next one
 * usually arrives before it is needed.
 *
 * The delay is one frame interval (20 ms, or 80 ms on an idle track) plus the lateness that was seen lately.
 */
export class ArrivalClock {
  #arrivals: Arrival[] = [];
  #intervalMs = 20;
  #newestTicks: number | null = null;

  observe(ticks: number, atMs: number): void {
    if (this.#newestTicks !== null && ticks > this.#newestTicks) {
      this.#intervalMs = Math.min(INTERVAL_MS_MAX, (ticks - this.#newestTicks) / TICKS_PER_MS);
    }
    if (this.#newestTicks === null || ticks > this.#newestTicks) this.#newestTicks = ticks;
    this.#arrivals.push({ atMs, offsetMs: ticks / TICKS_PER_MS - atMs });
    while (this.#arrivals[0]!.atMs < atMs - WINDOW_MS || this.#arrivals.length > ARRIVALS_MAX) this.#arrivals.shift();
  }

  /** How much later than the quickest frame lately this one comes, in milliseconds; 0 before the first. */
  latenessMs(ticks: number, atMs: number): number {
    if (this.#arrivals.length === 0) return 0;
    let earliest = -Infinity;
    for (const arrival of this.#arrivals) earliest = Math.max(earliest, arrival.offsetMs);
    return earliest - (ticks / TICKS_PER_MS - atMs);
  }

  /** How far behind the quickest arrival motion is drawn, in milliseconds. */
  get delayMs(): number {
    if (this.#arrivals.length === 0) return 0;
    let earliest = -Infinity;
    let latest = Infinity;
    for (const arrival of this.#arrivals) {
      earliest = Math.max(earliest, arrival.offsetMs);
      latest = Math.min(latest, arrival.offsetMs);
    }
    return this.#intervalMs + Math.min(JITTER_MS_MAX, Math.max(JITTER_MS_MIN, earliest - latest));
  }

  /** Unwrapped media ticks to draw at `nowMs`; null before the first frame. */
  ticksAt(nowMs: number): number | null {
    if (this.#arrivals.length === 0) return null;
    let earliest = -Infinity;
    for (const arrival of this.#arrivals) earliest = Math.max(earliest, arrival.offsetMs);
    return (nowMs + earliest - this.delayMs) * TICKS_PER_MS;
  }

  reset(): void {
    this.#arrivals = [];
    this.#newestTicks = null;
    this.#intervalMs = 20;
  }
}

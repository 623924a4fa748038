import { TICKS_PER_MS } from "./timestamps";

/** Observations older than this no longer count: NetEQ may have stretched or shrunk its delay since. */
const WINDOW_MS = 260;
/** The estimate follows a changed delay at this rate, so that the mouth does not jump. */
const SLEW = 0.12;
/** A change beyond this is a new situation (a pause, another track), not drift. */
const STEP_MS = 120;

interface Observation {
  readonly atMs: number;
  readonly offsetMs: number;
}

/**
 * Which media time leaves the jitter buffer now.
 *
 * A browser reports, for the block it has just handed to the sound card, the RTP timestamp **of the packet** the block
 * came from. A 20 ms packet gives two 10 ms blocks, so half of the observations are 10 ms too early in media time (an
 * 80 ms packet: up to 70). The largest media-minus-local offset of a short window is the one that saw a packet's first
 * block; it is followed with a limited slew.
 */
export class PlayoutClock {
  #observations: Observation[] = [];
  #offsetMs: number | null = null;
  #updatedMs = 0;

  /**
   * @param ticks unwrapped media time of the packet being played.
   * @param atMs local monotonic time at which its block was handed over.
   */
  observe(ticks: number, atMs: number): void {
    const last = this.#observations.at(-1);
    if (last && atMs <= last.atMs) return;
    this.#observations.push({ atMs, offsetMs: ticks / TICKS_PER_MS - atMs });
    while (this.#observations[0]!.atMs < atMs - WINDOW_MS) this.#observations.shift();
    const target = Math.max(...this.#observations.map((observation) => observation.offsetMs));
    if (this.#offsetMs === null || Math.abs(target - this.#offsetMs) > STEP_MS) {
      this.#offsetMs = target;
    } else {
      const limit = (atMs - this.#updatedMs) * SLEW;
      this.#offsetMs += Math.min(limit, Math.max(-limit, target - this.#offsetMs));
    }
    this.#updatedMs = atMs;
  }

  /** Unwrapped media ticks handed over at `nowMs`; null before the first observation or when the last one is stale. */
  ticksAt(nowMs: number): number | null {
    const last = this.#observations.at(-1);
    if (!last || this.#offsetMs === null || nowMs - last.atMs > 1_000) return null;
    return (nowMs + this.#offsetMs) * TICKS_PER_MS;
  }

  reset(): void {
    this.#observations = [];
    this.#offsetMs = null;
  }
}

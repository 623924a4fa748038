/** A longer pause between units is a gap: they come at least every 80 ms. */
const GAP_MS = 250;
/** Units without a gap for so long, and a link that was silent has recovered. A burst out of a queue is none. */
const STEADY_MS = 300;

/** Whether a link still brings units. Pure; times in milliseconds on one steady clock. */
export class LinkHealth {
  #lastMs: number;
  #steadySinceMs: number;

  /** @param nowMs when the link was opened; it is taken to be well. */
  constructor(nowMs: number) {
    this.#lastMs = this.#steadySinceMs = nowMs;
  }

  /** A unit came. */
  unit(nowMs: number): void {
    if (nowMs - this.#lastMs > GAP_MS) this.#steadySinceMs = nowMs;
    this.#lastMs = nowMs;
  }

  /** When the newest unit came. */
  get lastMs(): number {
    return this.#lastMs;
  }

  /** How long nothing has come. */
  silentMs(nowMs: number): number {
    return nowMs - this.#lastMs;
  }

  /** Units come, and have come for a while. */
  steady(nowMs: number): boolean {
    return this.silentMs(nowMs) <= GAP_MS && nowMs - this.#steadySinceMs >= STEADY_MS;
  }
}

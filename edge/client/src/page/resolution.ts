const LEVELS = [1, 0.75, 0.58, 0.45] as const;
/** Slower than this is seen as stutter; quicker than that leaves room for more pixels. */
const SLOW_MS = 27;
const QUICK_MS = 19;
const JUDGE_MS = 1_200;
const PATIENCE_MS = 10_000;
/** A longer step is a hidden page, not a slow one. */
const PAUSE_MS = 600;

/**
 * Trades pixels for smoothness: when display frames take too long, the canvas gets fewer pixels; when they are quick
 * for a while, it gets more again. Each failed attempt to go back doubles the patience. Pure.
 */
export class ResolutionControl {
  #level = 0;
  #elapsedMs = 0;
  #intervals: number[] = [];
  #quickMs = 0;
  #patienceMs = PATIENCE_MS;
  #raised = false;

  /** Share of the full resolution, 0…1, per side. */
  get scale(): number {
    return LEVELS[this.#level]!;
  }

  /** A display frame took so long. @returns true when `scale` changed. */
  observe(intervalMs: number): boolean {
    if (intervalMs > PAUSE_MS) return false;
    this.#intervals.push(intervalMs);
    this.#elapsedMs += intervalMs;
    if (this.#elapsedMs < JUDGE_MS) return false;
    const usual = this.#intervals.sort((a, b) => a - b)[Math.floor(this.#intervals.length / 2)]!;
    const judgedMs = this.#elapsedMs;
    this.#intervals = [];
    this.#elapsedMs = 0;
    return usual > SLOW_MS ? this.#lower() : this.#consider(usual, judgedMs);
  }

  #lower(): boolean {
    this.#quickMs = 0;
    if (this.#raised) this.#patienceMs *= 2;
    this.#raised = false;
    if (this.#level === LEVELS.length - 1) return false;
    this.#level += 1;
    return true;
  }

  #consider(usualMs: number, judgedMs: number): boolean {
    this.#quickMs = usualMs < QUICK_MS ? this.#quickMs + judgedMs : 0;
    if (this.#level === 0 || this.#quickMs < this.#patienceMs) return false;
    this.#quickMs = 0;
    this.#level -= 1;
    this.#raised = true;
    return true;
  }
}

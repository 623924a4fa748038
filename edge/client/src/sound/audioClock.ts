/** Render quanta run in bursts and messages wait for threads; the quickest of this long says where the card is. */
const WINDOW_MS = 2_000;
const SLOT_MS = 250;
/** Without a word for this long the sound card stands still (a suspended context). */
const SILENCE_MS_MAX = 400;
/** A card that is this far from where it was thought to be has stood still in between, or its clock was set. */
const STEP_MS = 150;

/**
 * Where the sound card is, as seen from another thread: which sample it renders at a given local time.
 *
 * It may be wrong in one direction only: no sample is rendered before the time this says. So what is handed over in
 * time by this clock is in time.
 */
export class AudioClock {
  readonly #slots: { readonly startMs: number; offsetMs: number }[] = [];
  #observedMs = -Infinity;

  /** The card rendered the sample at `audioMs` no later than `nowMs`. */
  observe(audioMs: number, nowMs: number): void {
    const offsetMs = nowMs - audioMs;
    const known = this.#offsetMs;
    const stood = nowMs - this.#observedMs > SILENCE_MS_MAX;
    if (stood || (known !== null && known - offsetMs > STEP_MS)) this.#slots.length = 0;
    this.#observedMs = nowMs;
    const last = this.#slots.at(-1);
    if (last !== undefined && nowMs - last.startMs < SLOT_MS) last.offsetMs = Math.min(last.offsetMs, offsetMs);
    else this.#slots.push({ startMs: nowMs, offsetMs });
    while (this.#slots[0]!.startMs < nowMs - WINDOW_MS) this.#slots.shift();
  }

  /** The sample rendered at `nowMs`, in milliseconds of sound; null while the card stands still. */
  audioMs(nowMs: number): number | null {
    const offsetMs = this.#offsetMs;
    if (offsetMs === null || nowMs - this.#observedMs > SILENCE_MS_MAX) return null;
    return nowMs - offsetMs;
  }

  get #offsetMs(): number | null {
    let least: number | null = null;
    for (const { offsetMs } of this.#slots) least = least === null ? offsetMs : Math.min(least, offsetMs);
    return least;
  }
}

/** Loss is judged over this stretch. */
const WINDOW_MS = 5_000;
/** Share of lost units from which repairs need more time than the browser's own jitter buffer gives them. */
const LOSS_MIN = 0.01;
/** A single lost unit is no loss rate, however few units there were. */
const LOST_UNITS_MIN = 2;
/** So long without loss and the browser may go back to its own, shorter delay. */
const CALM_MS = 10_000;
/** Four to five packets of 20 ms: as many as the redundancy of later packets reaches back. */
const TARGET_MS_MAX = 100;
/** About what browsers take by themselves: asking for this little moves nothing. */
const TARGET_MS_MIN = 60;
/** One step each second: the browser stretches or shrinks the voice by 2 %, which nobody hears. */
const STEP_MS = 20;
const STEP_INTERVAL_MS = 1_000;

/** Units since the link was opened. */
export interface UnitCount {
  /** Came by themselves. */
  readonly units: number;
  /** Did not, whether they were repaired or not. */
  readonly lost: number;
}

interface Observation extends UnitCount {
  readonly atMs: number;
}

/**
 * How long a browser should keep sound back (RTCRtpReceiver.jitterBufferTarget). A clean link is left to the browser,
 * whose delay is shorter; under loss, sound waits until later packets can have repaired the motion that goes with it.
 */
export class JitterTarget {
  readonly #observations: Observation[] = [];
  #targetMs: number | null = null;
  #steppedMs = -Infinity;
  #lossMs = -Infinity;

  /**
   * Look at the newest counts; about every second, at any pace.
   *
   * @returns the target in milliseconds; null: the browser's own choice.
   */
  update(count: UnitCount, nowMs: number): number | null {
    this.#observations.push({ ...count, atMs: nowMs });
    while (this.#observations[0]!.atMs < nowMs - WINDOW_MS) this.#observations.shift();
    const before = this.#observations[0]!;
    const lost = count.lost - before.lost;
    const total = count.units - before.units + lost;
    if (lost >= LOST_UNITS_MIN && lost >= total * LOSS_MIN) this.#lossMs = nowMs;
    if (nowMs - this.#steppedMs >= STEP_INTERVAL_MS) {
      const next = this.#next(nowMs - this.#lossMs <= CALM_MS);
      if (next !== this.#targetMs) this.#steppedMs = nowMs;
      this.#targetMs = next;
    }
    return this.#targetMs;
  }

  #next(lossy: boolean): number | null {
    if (lossy) return this.#targetMs === null ? TARGET_MS_MIN : Math.min(TARGET_MS_MAX, this.#targetMs + STEP_MS);
    return this.#targetMs === null || this.#targetMs <= TARGET_MS_MIN ? null : this.#targetMs - STEP_MS;
  }
}

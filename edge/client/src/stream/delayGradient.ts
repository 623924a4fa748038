import { TICKS_PER_MS } from "./timestamps";

/** How the one-way delay of a track grows. Mirrors core/stream/delay_gradient.py; SPEC.md section 5. */
const WINDOW_MS = 1_000;
const GROUP_MS = 200;
const GROUPS_MIN = 3;
/** Shorter stretches say more about jitter than about a queue. */
const SPAN_MS_MIN = 400;
const SAMPLES_MIN = 6;
const SAMPLES_MAX = 64;

interface Arrival {
  readonly mediaMs: number;
  readonly arrivalMs: number;
}

/**
 * Slope of arrival time over media time by least squares over the quickest packets of each fifth of the last second: no
 * synchronous clocks are needed, and a stall that hands packets over together is no queue. Count packets that came by
 * themselves, never units that were restored. Any order and any values are accepted.
 */
export class DelayGradient {
  readonly #arrivals: Arrival[] = [];

  /** A packet came. @param mediaTicks its unwrapped 48 kHz media time. @param arrivalMs on any steady local clock. */
  add(mediaTicks: number, arrivalMs: number): void {
    const mediaMs = mediaTicks / TICKS_PER_MS;
    const arrivals = this.#arrivals;
    const last = arrivals.at(-1);
    if (last !== undefined && (arrivalMs < last.arrivalMs || Math.abs(mediaMs - last.mediaMs) > 2 * WINDOW_MS)) {
      arrivals.length = 0; // a clock was set, or the track began anew
    }
    arrivals.push({ mediaMs, arrivalMs });
    while (arrivals.length > SAMPLES_MAX || arrivalMs - arrivals[0]!.arrivalMs > WINDOW_MS) arrivals.shift();
  }

  /** Seconds of delay per second of media; null while too little is known. */
  get slope(): number | null {
    const arrivals = this.#arrivals;
    if (arrivals.length < SAMPLES_MIN) return null;
    const media = arrivals.map(({ mediaMs }) => mediaMs);
    const newestMs = Math.max(...media);
    if (newestMs - Math.min(...media) < SPAN_MS_MIN) return null;
    const quickest = new Map<number, { readonly x: number; readonly y: number }>();
    for (const { mediaMs, arrivalMs } of arrivals) {
      const group = Math.floor((newestMs - mediaMs) / GROUP_MS);
      const delayMs = Math.round((arrivalMs - mediaMs) * 1_000) / 1_000;
      const known = quickest.get(group);
      if (known === undefined || delayMs < known.y) quickest.set(group, { x: mediaMs, y: delayMs });
    }
    if (quickest.size < GROUPS_MIN) return null;
    const points = [...quickest.values()];
    const meanX = points.reduce((sum, { x }) => sum + x, 0) / points.length;
    const meanY = points.reduce((sum, { y }) => sum + y, 0) / points.length;
    const variance = points.reduce((sum, { x }) => sum + (x - meanX) ** 2, 0);
    return points.reduce((sum, { x, y }) => sum + (x - meanX) * (y - meanY), 0) / variance;
  }

  /** The same as feedback carries it: tenths of a millisecond per second, saturated to 16 bits. */
  get wire(): number | null {
    const slope = this.slope;
    return slope === null ? null : Math.round(Math.min(Math.max(slope * 10_000, -0x8000), 0x7fff));
  }
}

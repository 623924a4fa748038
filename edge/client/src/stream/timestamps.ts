/** Ticks of the media clock per millisecond: Opus over RTP always counts 48 kHz (RFC 7587 section 4.1). */
export const TICKS_PER_MS = 48;

const SPAN = 2 ** 32;

/** Turns 32-bit RTP timestamps into a continuous count. Each is taken as the value nearest to the newest one seen. */
export class TimestampUnwrapper {
  #newest: number | null = null;

  /** The newest unwrapped time, null before the first. */
  get newest(): number | null {
    return this.#newest;
  }

  /** Unwrap and remember. @param timestamp 32-bit RTP timestamp. */
  unwrap(timestamp: number): number {
    const ticks = this.peek(timestamp);
    if (this.#newest === null || ticks > this.#newest) this.#newest = ticks;
    return ticks;
  }

  /** Unwrap without remembering, for timestamps that may be stale. */
  peek(timestamp: number): number {
    return unwrapNear(timestamp, this.#newest ?? timestamp >>> 0);
  }

  reset(): void {
    this.#newest = null;
  }
}

/** The 32-bit RTP timestamp of an unwrapped media time. */
export function wrapTimestamp(ticks: number): number {
  return (((Math.round(ticks) % SPAN) + SPAN) % SPAN) >>> 0;
}

/** The media time closest to `near` whose low 32 bits are `timestamp` (RFC 3550 section 5.1). */
export function unwrapNear(timestamp: number, near: number): number {
  let delta = ((timestamp >>> 0) - near) % SPAN;
  if (delta >= SPAN / 2) delta -= SPAN;
  else if (delta < -SPAN / 2) delta += SPAN;
  return near + delta;
}

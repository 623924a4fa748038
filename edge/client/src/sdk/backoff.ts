const FIRST_MS = 400;
const FACTOR = 1.8;
const LONGEST_MS = 12_000;

/**
 * How long to wait before an attempt: exponential, with full jitter over its upper half, so that the viewers of a POP
 * that died do not come back at the same instant.
 *
 * @param attempt 1 for the first attempt after a loss.
 * @param random a number in [0, 1).
 * @param atLeastMs what the server asked for (Retry-After).
 */
export function backoffMs(attempt: number, random: number, atLeastMs = 0): number {
  const span = Math.min(LONGEST_MS, FIRST_MS * FACTOR ** Math.max(0, attempt - 1));
  return Math.max(atLeastMs, span * (0.5 + 0.5 * random));
}

import { joinUrl, type TicketPop } from "./ticket";

/** Upper ends of the round-trip classes: within one, nobody hears a difference. Mirrors core/limits.py. */
export const RTT_CLASSES_MS: readonly number[] = [20, 40, 80, 160, 320];
/** Each POP is asked this often: the first time a connection has to be made, which is no measure of the way. */
const ROUNDS = 2;
/** Who has not answered by then comes last. */
const PROBE_TIMEOUT_MS = 600;

/** 0 is best; who did not answer is in the last class. */
export function rttClass(rttMs: number): number {
  if (!(rttMs >= 0) || rttMs === Infinity) return RTT_CLASSES_MS.length + 1;
  const found = RTT_CLASSES_MS.findIndex((end) => rttMs <= end);
  return found < 0 ? RTT_CLASSES_MS.length : found;
}

/** The round-trip time to a POP, the best of a few; Infinity when it does not answer. Never fails. */
export async function probe(popUrl: string, signal: AbortSignal, rounds = ROUNDS): Promise<number> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]);
  let best = Infinity;
  try {
    for (let round = 0; round < rounds; round += 1) {
      const startedMs = performance.now();
      const response = await fetch(joinUrl(popUrl, "/v1/probe"), { cache: "no-store", signal: limit });
      await response.arrayBuffer();
      if (!response.ok) break;
      best = Math.min(best, performance.now() - startedMs);
    }
  } catch {
    // It does not answer, or not in time: what was measured until then counts.
  }
  return best;
}

/** The POPs by round-trip class, within a class in the order given. One alone is not asked. */
export async function nearestFirst(pops: readonly TicketPop[], signal: AbortSignal): Promise<readonly TicketPop[]> {
  if (pops.length < 2) return pops;
  const times = await Promise.all(pops.map(({ url }) => probe(url, signal)));
  const classes = new Map(pops.map((pop, index) => [pop, rttClass(times[index]!)]));
  return [...pops].sort((one, other) => classes.get(one)! - classes.get(other)!); // sorting is stable
}

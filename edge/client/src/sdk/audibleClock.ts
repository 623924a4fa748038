import { PlayoutClock } from "../stream/playoutClock";
import { TICKS_PER_MS, TimestampUnwrapper } from "../stream/timestamps";
import type { PlayoutReport } from "../transports/link";
import { probeOutputLatencyMs } from "./speaker";

/** The playout delay follows at this share of its distance per unit: over about 16 units, a third of a second. */
const DELAY_SMOOTHING = 1 / 16;
/** A delay that no jitter buffer has: the clocks are not settled yet. */
const DELAY_MS_MAX = 2_000;

/** Media time at the ear: what the jitter buffer gave out, less the way to the loudspeaker. */
export class AudibleClock {
  /** Of the current connection's timestamps. */
  readonly unwrapper = new TimestampUnwrapper();
  /** null while the browser does not say. */
  outputLatencyMs: number | null = null;
  /** The last answer of `audibleTicks`. */
  lastTicks: number | null = null;
  /** From a unit's arrival until it is audible, smoothed; null while unknown. */
  playoutDelayMs: number | null = null;
  readonly #playout = new PlayoutClock();
  readonly #closed = new AbortController();
  #probing = false;

  constructor() {
    // Another loudspeaker has another latency: Bluetooth adds 100 to 250 ms.
    (navigator as { mediaDevices?: MediaDevices }).mediaDevices?.addEventListener(
      "devicechange",
      () => void this.measureOutputLatency(),
      { signal: this.#closed.signal },
    );
  }

  /** Unwrapped media ticks audible at `nowMs`; null where nobody knows. */
  audibleTicks(report: PlayoutReport | null, nowMs: number): number | null {
    if (report?.audible === true) {
      const heard = this.unwrapper.newest === null ? null : this.unwrapper.peek(report.rtpTimestamp);
      this.lastTicks = heard === null ? null : heard + (nowMs - report.atMs) * TICKS_PER_MS;
      return this.lastTicks;
    }
    if (report !== null && this.unwrapper.newest !== null) {
      this.#playout.observe(this.unwrapper.peek(report.rtpTimestamp), report.atMs);
    }
    const ticks = this.#playout.ticksAt(nowMs);
    this.lastTicks = ticks === null ? null : ticks - (this.outputLatencyMs ?? 0) * TICKS_PER_MS;
    return this.lastTicks;
  }

  /** A unit came at `arrivalMs`; call right after `audibleTicks(…, nowMs)`. @param ticks its unwrapped media time. */
  noteArrival(ticks: number, arrivalMs: number, nowMs: number): void {
    if (this.lastTicks === null) return;
    const delayMs = nowMs - arrivalMs + (ticks - this.lastTicks) / TICKS_PER_MS;
    if (delayMs < 0 || delayMs > DELAY_MS_MAX) return;
    const before = this.playoutDelayMs ?? delayMs;
    this.playoutDelayMs = before + (delayMs - before) * DELAY_SMOOTHING;
  }

  async measureOutputLatency(): Promise<void> {
    if (this.#probing) return;
    this.#probing = true;
    this.outputLatencyMs = (await probeOutputLatencyMs()) ?? this.outputLatencyMs;
    this.#probing = false;
  }

  reset(): void {
    this.unwrapper.reset();
    this.#playout.reset();
    this.lastTicks = null;
    this.playoutDelayMs = null;
  }

  close(): void {
    this.#closed.abort();
  }
}

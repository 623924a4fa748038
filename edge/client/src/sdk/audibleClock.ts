import { PlayoutClock } from "../stream/playoutClock";
import { TICKS_PER_MS, TimestampUnwrapper } from "../stream/timestamps";
import type { PlayoutReport } from "../transports/link";
import { probeOutputLatencyMs } from "./speaker";

/** Media time at the ear: what the jitter buffer gave out, less the way to the loudspeaker. */
export class AudibleClock {
  /** Of the current connection's timestamps. */
  readonly unwrapper = new TimestampUnwrapper();
  /** null while the browser does not say. */
  outputLatencyMs: number | null = null;
  /** The last answer of `audibleTicks`. */
  lastTicks: number | null = null;
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
    if (report !== null && this.unwrapper.newest !== null) {
      this.#playout.observe(this.unwrapper.peek(report.rtpTimestamp), report.atMs);
    }
    const ticks = this.#playout.ticksAt(nowMs);
    this.lastTicks = ticks === null ? null : ticks - (this.outputLatencyMs ?? 0) * TICKS_PER_MS;
    return this.lastTicks;
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
  }

  close(): void {
    this.#closed.abort();
  }
}

/** What the gate needs to know of an access unit. */
export interface GateUnit {
  /** Unwrapped 48 kHz media time of the packet. */
  readonly ticks: number;
  readonly speech: boolean;
  readonly duck: boolean;
  readonly cut: boolean;
}

/** How loud the voice stays while somebody talks over it. */
export const DUCKED_GAIN = 0.22;
/** Ramps: quick enough to react at once, long enough not to click. */
export const DUCK_RAMP_MS = 40;
export const CUT_RAMP_MS = 15;
export const RELEASE_RAMP_MS = 90;
/** A cut lasts at least this long: after an underrun nobody knows exactly what is audible, and no answer is quicker. */
export const CUT_MS_MIN = 120;

/** The loudness to move to, and how fast. */
export interface GateTarget {
  readonly gain: number;
  readonly rampMs: number;
}

/**
 * Barge-in at the ear: an access unit is seen before the jitter buffer plays it, so ducking and cutting act on what is
 * still buffered instead of waiting for it to play out.
 *
 * A cut mutes everything before its own media time; the gate opens again when that time is audible.
 */
export class VoiceGate {
  #newestTicks = -Infinity;
  #ducked = false;
  #muteUntilTicks = -Infinity;
  #muteUntilMs = -Infinity;

  /** @returns true when a cut began that was not known yet. */
  receive(unit: GateUnit, nowMs: number): boolean {
    if (unit.ticks < this.#newestTicks) return false;
    this.#newestTicks = unit.ticks;
    this.#ducked = unit.duck;
    if (!unit.cut || unit.speech) return false;
    const fresh = this.#muteUntilTicks === -Infinity;
    this.#muteUntilTicks = unit.ticks;
    if (fresh) this.#muteUntilMs = nowMs + CUT_MS_MIN;
    return fresh;
  }

  /** Silence what is buffered now, without waiting for a unit that says so. */
  silence(nowMs: number): void {
    this.#muteUntilMs = nowMs + CUT_MS_MIN;
    this.#muteUntilTicks = Math.max(this.#muteUntilTicks, this.#newestTicks + 1);
  }

  /** @param audibleTicks media time audible now; null where nobody can say (then 200 ms behind the newest unit). */
  target(audibleTicks: number | null, nowMs: number): GateTarget {
    if (this.#muteUntilTicks !== -Infinity) {
      const heard = audibleTicks ?? this.#newestTicks - 9_600;
      if (heard < this.#muteUntilTicks || nowMs < this.#muteUntilMs) return { gain: 0, rampMs: CUT_RAMP_MS };
      this.#muteUntilTicks = -Infinity;
    }
    if (this.#ducked) return { gain: DUCKED_GAIN, rampMs: DUCK_RAMP_MS };
    return { gain: 1, rampMs: RELEASE_RAMP_MS };
  }

  reset(): void {
    this.#newestTicks = -Infinity;
    this.#muteUntilTicks = -Infinity;
    this.#ducked = false;
  }
}

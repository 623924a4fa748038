/** Which media time sounds when: a second of pieces, longer than any loudspeaker's latency. */
const MARKS_MAX = 64;

/** Media time of a piece of sound on the sound card's clock. */
export interface MediaMark {
  readonly startFrame: number;
  readonly frames: number;
  /** Unwrapped 48 kHz media time of its first sample. */
  readonly ticks: number;
  readonly durationTicks: number;
}

/** Says which media time a sample of the sound card is. Pure. */
export class MediaMarks {
  readonly #marks: MediaMark[] = [];

  add(mark: MediaMark): void {
    this.#marks.push(mark);
    if (this.#marks.length > MARKS_MAX) this.#marks.shift();
  }

  /** Media ticks of the sample; null where nothing was placed. */
  ticksAt(frame: number): number | null {
    for (let place = this.#marks.length - 1; place >= 0; place -= 1) {
      const { startFrame, frames, ticks, durationTicks } = this.#marks[place]!;
      if (frame < startFrame) continue;
      if (frame >= startFrame + frames) return null;
      return ticks + ((frame - startFrame) / frames) * durationTicks;
    }
    return null;
  }
}

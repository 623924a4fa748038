/** Sound that waits in the audio thread: 1.4 s, longer than anything that is handed over ahead of its time. */
const SIZE = 65_536;
/** Where sound ends without having been continued it fades away (2 ms), and comes back the same way: no clicks. */
const FADE = 96;

/** Samples by their number on the sound card's clock: written ahead of their time, read at it. Allocates nothing. */
export class SampleRing {
  /** Samples that were wanted and not there, once sound had begun. */
  missed = 0;
  readonly #samples = new Float32Array(SIZE);
  /** One past the last sample that was written; 0: none. */
  #end = 0;
  #last = 0;
  #gain = 0;

  /** Place sound; what is late or too far ahead is left out. @returns by how many samples it came before its time. */
  write(startFrame: number, sound: Float32Array, nowFrame: number): number {
    const end = Math.min(startFrame + sound.length, nowFrame + SIZE);
    for (let frame = Math.max(this.#end, nowFrame); frame < Math.min(startFrame, end); frame += 1) {
      this.#samples[frame % SIZE] = 0;
    }
    for (let frame = Math.max(startFrame, nowFrame); frame < end; frame += 1) {
      this.#samples[frame % SIZE] = sound[frame - startFrame]!;
    }
    this.#end = Math.max(this.#end, end);
    return startFrame - nowFrame;
  }

  /** The sound from `frame` on. */
  read(frame: number, into: Float32Array): void {
    for (let index = 0; index < into.length; index += 1) {
      const there = frame + index < this.#end;
      if (there) this.#last = this.#samples[(frame + index) % SIZE]!;
      else if (this.#end > 0) this.missed += 1;
      this.#gain = Math.min(1, Math.max(0, this.#gain + (there ? 1 : -1) / FADE));
      into[index] = this.#last * this.#gain;
    }
  }
}

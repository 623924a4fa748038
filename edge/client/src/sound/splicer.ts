import { changeByPeriod, findPeriod, PERIOD_MAX, PERIOD_MIN, resample } from "./pitch";

/** What was played last is kept this long (40 ms): four periods of a deep voice. */
const HISTORY = 1_920;
/** How much of it is compared to find a period (5 ms), and how much fades over at a join. */
const COMPARED = 240;
const JOIN = 240;
/** A concealed voice fades to silence within this (60 ms): longer repetitions sound like a robot. */
const FADE = 2_880;
/** Beyond this distance between plan and sound (25 ms) the sound is not bent any more, but cut or filled. */
const JUMP = 1_200;
/** A voice is bent by whole periods; where none fits for so long (20 ms) it is resampled, whatever that does to its pitch. */
const BENT_MAX = 960;
/** A period that fits worse than this is not taken, as long as a better one may fit later. */
const ALIKE = 0.7;
/** Quieter sound (−60 dBFS) is bent by resampling: nobody hears its pitch. */
const QUIET = 1e-3;

/** One block's turn, in samples of the sound card. */
export interface PlannedBlock {
  readonly startFrame: number;
  readonly endFrame: number;
  /** Its sound at 48 kHz; null where it is missing. */
  readonly sound: Float32Array | null;
}

/** A stretch of sound that follows the one before without a gap, or after silence. */
export interface Piece {
  readonly startFrame: number;
  readonly sound: Float32Array<ArrayBuffer>;
}

/**
 * Makes one continuous sound of blocks that are missing, too long or too short: repeats the voice's last period where
 * nothing is there, fades over at the joins, and gets longer or shorter by whole periods so that the pitch stays. The
 * sound may be half a period off the plan. Pure.
 */
export class Splicer {
  readonly #history = new Float32Array(HISTORY);
  /** Where the sound ends that was made so far; null before the first. */
  #frame: number | null = null;
  /** The period that is repeated while blocks are missing, and how many samples of it were given out. */
  #loop: Float32Array | null = null;
  #given = 0;

  /** @returns the sound of the next block, in order. */
  splice(block: PlannedBlock): Piece {
    const frame = this.#frame ?? block.startFrame;
    const aheadBy = block.startFrame - frame;
    if (aheadBy > 4 * JUMP) {
      // The plan leaps: fade out where the sound is, and begin anew where it goes on.
      const sound = this.#conceal(FADE);
      this.#frame = block.startFrame;
      return { startFrame: frame, sound };
    }
    const made =
      block.sound === null
        ? this.#conceal(Math.max(0, block.endFrame - frame))
        : this.#play(block.sound, aheadBy, block.endFrame - frame);
    this.#frame = frame + made.length;
    return { startFrame: frame, sound: made };
  }

  /** @param aheadBy where the block belongs, from here. @param size how long all of it should be. */
  #play(sound: Float32Array, aheadBy: number, size: number): Float32Array<ArrayBuffer> {
    let filling = new Float32Array(0);
    let rest = sound;
    if (aheadBy > JUMP) filling = this.#conceal(aheadBy);
    else if (aheadBy < -JUMP) {
      rest = sound.subarray(-aheadBy);
      this.#loop ??= this.#lastPeriod();
    }
    const joined = this.#loop !== null || this.#frame === null ? this.#join(rest) : rest;
    this.#loop = null;
    const made = bend(joined, size - filling.length - joined.length);
    this.#remember(made);
    return concatenate(filling, made);
  }

  /** Fade from what was repeated (or from nothing) into real sound. */
  #join(sound: Float32Array): Float32Array {
    const size = Math.min(JOIN, sound.length);
    const before = this.#repeat(size);
    const result = sound.slice();
    for (let index = 0; index < size; index += 1) {
      const share = (index + 1) / (size + 1);
      result[index] = before[index]! * (1 - share) + result[index]! * share;
    }
    return result;
  }

  #conceal(size: number): Float32Array<ArrayBuffer> {
    this.#loop ??= this.#lastPeriod();
    const sound = this.#repeat(size);
    this.#remember(sound);
    return sound;
  }

  /** The next samples of the repeated period, quieter and quieter. */
  #repeat(size: number): Float32Array<ArrayBuffer> {
    const result = new Float32Array(size);
    const loop = this.#loop;
    if (loop === null) return result;
    for (let index = 0; index < size && this.#given < FADE; index += 1) {
      const share = 1 - this.#given / FADE;
      result[index] = loop[this.#given % loop.length]! * share * share;
      this.#given += 1;
    }
    return result;
  }

  /** The last period of what was played; its end fades into what came before it, so that repeating it does not click. */
  #lastPeriod(): Float32Array {
    this.#given = 0;
    const backwards = this.#history.slice().reverse();
    const { lag } = findPeriod(backwards, 0, COMPARED, PERIOD_MAX);
    const end = HISTORY;
    const loop = this.#history.slice(end - lag, end);
    const fade = lag >> 2;
    for (let index = 0; index < fade; index += 1) {
      const share = (index + 1) / fade;
      const place = lag - fade + index;
      loop[place] = loop[place]! * (1 - share) + this.#history[end - 2 * lag + place]! * share;
    }
    return loop;
  }

  #remember(sound: Float32Array): void {
    if (sound.length >= HISTORY) {
      this.#history.set(sound.subarray(sound.length - HISTORY));
      return;
    }
    this.#history.copyWithin(0, sound.length);
    this.#history.set(sound, HISTORY - sound.length);
  }
}

/** The sound, about `by` samples longer; exactly where nobody hears how. */
function bend(sound: Float32Array, by: number): Float32Array {
  const size = sound.length;
  if (by === 0 || size === 0) return sound;
  if (Math.abs(by) > BENT_MAX || peak(sound) < QUIET) return resample(sound, Math.max(0, size + by));
  // At most twice what is wanted, so that the sound gets nearer to the plan; and two periods must fit.
  const lagMax = Math.min(PERIOD_MAX, 2 * Math.abs(by), size >> 1);
  if (lagMax < PERIOD_MIN) return sound;
  const { lag, likeness } = findPeriod(sound, 0, Math.min(2 * COMPARED, size - lagMax), lagMax);
  if (likeness < ALIKE && Math.abs(by) < PERIOD_MAX) return sound;
  return changeByPeriod(sound, lag, by > 0);
}

function peak(sound: Float32Array): number {
  let most = 0;
  for (const sample of sound) most = Math.max(most, Math.abs(sample));
  return most;
}

function concatenate(first: Float32Array, second: Float32Array): Float32Array<ArrayBuffer> {
  const result = new Float32Array(first.length + second.length);
  result.set(first);
  result.set(second, first.length);
  return result;
}

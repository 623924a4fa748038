import type { PipeCounters } from "../messages";
import type { SoundFigures } from "./messages";

/** Judged over this many reports (10 s): a stall of a second is no reason to change ways. */
const REPORTS = 10;
const UNITS_MIN = 100;
/** More of the sound than this share is invented … */
const CONCEALED_MAX = 0.1;
/**
 * … though the link lost less than this share: the delays are to blame, or we are. What was repaired counts as lost, as
 * a buffer that has yet to learn to wait for repairs plays without them.
 */
const LOST_MAX = 0.02;
/** This share of samples was not there in time: decoding does not keep up with the sound card. */
const MISSED_MAX = 0.02;
const FRAMES_PER_REPORT = 48_000;

interface Totals {
  readonly units: number;
  readonly lost: number;
  readonly played: number;
  readonly concealed: number;
  readonly missedFrames: number;
}

/**
 * Whether our own playout does worse here than the browser's would: sound is concealed that the network delivered, or
 * the audio thread runs dry. Pure.
 */
export class Degradation {
  readonly #reports: Totals[] = [];
  #told = false;

  /** The next second's counters. @returns true once: another way should be taken. */
  observe(counters: PipeCounters, sound: SoundFigures): boolean {
    const { played, concealed, missedFrames } = sound;
    this.#reports.push({ units: counters.units, lost: counters.lost, played, concealed, missedFrames });
    if (this.#reports.length <= REPORTS) return false;
    const before = this.#reports.shift()!;
    if (this.#told) return false;
    const units = counters.units - before.units;
    if (units < UNITS_MIN) return false;
    const invented = concealed - before.concealed;
    const total = invented + played - before.played;
    const gone = Math.max(0, counters.lost - before.lost);
    const lost = gone / (units + gone);
    const missed = (missedFrames - before.missedFrames) / (REPORTS * FRAMES_PER_REPORT);
    this.#told = missed > MISSED_MAX || (lost < LOST_MAX && invented > CONCEALED_MAX * total);
    return this.#told;
  }
}
